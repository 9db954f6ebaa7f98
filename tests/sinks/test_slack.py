"""Slack's payload: within Block Kit's limits, escaped, and posted like any webhook."""

from __future__ import annotations

import html
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from msgspec.structs import replace
from tests.sinks.receivers import ALERT, OVER, receiver
from tests.waiting import PATIENCE

from canario import CanaryDeploymentController
from canario.alerts import Alert
from canario.printable import printable_lines
from canario.sinks import SlackSink, message_of, slack_payload
from canario.sinks.slack import escape
from canario.testing import ManualClock


def texts(payload: Any) -> list[tuple[str, int, str]]:
    """Each text of a payload, with the limit of the place where it stands."""
    found = [("text", 40_000, payload["text"])]
    for block in payload["blocks"]:
        limit = 150 if block["type"] == "header" else 3000
        if "text" in block:
            found.append((block["type"], limit, block["text"]["text"]))
        fields = block.get("fields", [])
        assert len(fields) <= 10
        found += [("field", 2000, each["text"]) for each in fields]
    return found


def test_an_alert_tells_what_was_observed_and_what_to_look_at() -> None:
    payload = slack_payload(message_of(ALERT))
    shown = "\n".join(text for _, _, text in texts(payload))
    for said in (
        "CRITICAL alert.firing",
        "1 contract violation; none is allowed",
        "flow: /evaluate",
        "observed: 1 violations",
        "limit: 0 violations",
        "samples: 120",
        f"trace: {ALERT.trace_id}",
        f"1. {ALERT.look_at[0]}\n2. {ALERT.look_at[1]}",
    ):
        assert said in shown
    over = "\n".join(text for _, _, text in texts(slack_payload(message_of(OVER))))
    assert "fired for: 1 min 30 s" in over
    assert ALERT.look_at[0] not in over


@given(
    st.text(max_size=5000),
    st.text(alphabet="&<>@#*_`a\n", min_size=1, max_size=5000),
    st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
)
def test_any_text_is_escaped_and_fits(message: str, flow_name: str, observed: float | None) -> None:
    alert = replace(ALERT, message=message, flow_name=flow_name, observed=observed)
    payload = slack_payload(message_of(alert))
    assert 1 <= len(payload["blocks"]) <= 50
    for _, limit, text in texts(payload):
        assert 1 <= len(text) <= limit
        assert "<" not in text
        assert ">" not in text
        assert "&" not in text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "")
    json.encode(payload)


@given(st.text(max_size=60), st.integers(1, 80))
def test_a_text_is_whole_or_cut_between_two_characters(text: str, limit: int) -> None:
    escaped = escape(text, limit)
    text = printable_lines(text)
    assert len(escaped) <= limit
    if len(html.escape(text, quote=False)) <= limit:
        assert escaped == html.escape(text, quote=False)
    else:
        assert escaped.endswith("…")
        kept = html.escape(text, quote=False).startswith(escaped[:-1])
        assert kept
        assert not escaped[:-1].endswith(("&", "&a", "&am", "&amp", "&l", "&lt", "&g", "&gt"))


@pytest.mark.parametrize("mention", ["<!channel>", "<@U123>", "<https://evil.example|click>"])
def test_nobody_is_woken_by_the_text_of_an_app(mention: str) -> None:
    payload = slack_payload(message_of(replace(ALERT, message=mention)))
    assert mention not in json.encode(payload).decode()
    sections = [block for block in payload["blocks"] if block["type"] == "section"]
    texts = [block["text"] for block in sections if "text" in block]
    fields = [each for block in sections for each in block.get("fields", ())]
    assert all(each["verbatim"] is True for each in (*texts, *fields))


def test_it_is_posted_and_its_address_is_not_shown() -> None:
    with receiver((429, {"retry-after": "0"}), (200, {})) as told:
        sink = SlackSink(told.url, backoff_seconds=0.01)
        controller = CanaryDeploymentController(
            deployment_id="v2", clock=ManualClock(1000), sinks=[sink]
        )
        controller.start()
        assert sink.drain(PATIENCE)
        assert (sink.delivered, sink.failed) == (2, 0)
    assert json.decode(told.bodies[-1])["text"] == (
        "INFO rollout.stage_entered: v2: stage canary_5 entered: 5 % of the keys for 5 min"
    )
    assert "T0PSECRET" not in repr(sink)
    assert repr(sink).startswith("<SlackSink http://127.0.0.1:")


def test_a_resolved_alert_without_data_is_shown_too() -> None:
    alert: Alert = replace(OVER, observed=None, trace_id=None)
    shown = "\n".join(text for _, _, text in texts(slack_payload(message_of(alert))))
    assert "observed: no data" in shown
    assert "trace:" not in shown
