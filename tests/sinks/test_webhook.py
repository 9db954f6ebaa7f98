"""Webhooks against real servers: signed, retried with patience, bounded, and discreet."""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import json
from tests.sinks.receivers import ALERT, OVER, Answer, hang_up, receiver
from tests.waiting import PATIENCE, until

from canario import CanaryDeploymentController, ConfigError
from canario.sinks import WebhookRefusedError, WebhookSink, verify_webhook
from canario.sinks.delivery import LONGEST_BACKOFF, backoff
from canario.testing import ManualClock

OK: Answer = (200, {})


def sink(url: str, **options: Any) -> WebhookSink:
    return WebhookSink(url, **{"backoff_seconds": 0.01, "exit_seconds": 0.0, **options})


def counts(webhook: WebhookSink) -> tuple[int, int, int]:
    return webhook.delivered, webhook.failed, webhook.dropped


# -- what is sent


def test_an_alert_arrives_as_json_signed_with_its_own_id() -> None:
    with receiver() as told:
        webhook = sink(told.url, secret="hush", headers={"Authorization": "Bearer abc"})
        webhook(ALERT)
        webhook(OVER)
        assert webhook.drain(PATIENCE)
    ids = [
        verify_webhook("hush", headers, body, tolerance_seconds=60)
        for headers, body in zip(told.headers, told.bodies, strict=True)
    ]
    assert len(set(ids)) == 2
    with pytest.raises(WebhookRefusedError):
        verify_webhook("hush", told.headers[0], told.bodies[1])
    assert told.headers[0]["content-type"] == "application/json"
    assert told.headers[0]["authorization"] == "Bearer abc"
    assert told.headers[0]["user-agent"].startswith("canario/")
    fired, over = (json.decode(body) for body in told.bodies)
    assert fired["type"] == "canario.alert.firing"
    assert fired["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert fired["data"]["severity"] == "CRITICAL"
    assert fired["data"]["alert"]["look_at"] == list(ALERT.look_at)
    assert fired["data"]["alert"]["trace_id"] == ALERT.trace_id
    assert over["type"] == "canario.alert.resolved"
    assert over["data"]["alert"]["resolution"] == "cleared"
    assert counts(webhook) == (2, 0, 0)


def test_the_events_of_a_rollout_arrive_in_order_and_name_it() -> None:
    with receiver() as told:
        webhook = sink(told.url)
        controller = CanaryDeploymentController(
            deployment_id="v2", clock=ManualClock(1_700_000_000), sinks=[webhook]
        )
        controller.start()
        controller.report_violation("canary", "no score")
        assert webhook.drain(PATIENCE)
    bodies = [json.decode(body) for body in told.bodies]
    assert [body["type"] for body in bodies] == [
        "canario.rollout.started",
        "canario.rollout.stage_entered",
        "canario.rollout.checked",
        "canario.rollout.rolled_back",
    ]
    assert {body["data"]["deployment_id"] for body in bodies} == {"v2"}
    assert bodies[3]["data"]["event"]["violation"]["message"] == "no score"
    assert bodies[3]["data"]["message"].startswith("v2: rolled back, contract_violation")
    assert all("webhook-signature" not in headers for headers in told.headers)


# -- trying again


@pytest.mark.parametrize(
    ("answers", "attempts", "expected"),
    [
        ([(500, {}), OK], 2, (1, 0, 0)),
        ([(503, {}), (502, {}), (429, {}), OK], 4, (1, 0, 0)),
        ([hang_up, OK], 2, (1, 0, 0)),
        ([(500, {})], 3, (0, 1, 0)),
        ([hang_up], 3, (0, 1, 0)),
        ([(204, {})], 1, (1, 0, 0)),
        ([(400, {})], 1, (0, 1, 0)),
        ([(404, {"retry-after": "0"})], 1, (0, 1, 0)),
        ([(410, {})], 1, (0, 1, 0)),
        ([(302, {"location": "/elsewhere"})], 1, (0, 1, 0)),
        ([(307, {"location": "/elsewhere"})], 1, (0, 1, 0)),
        (["drip"], 1, (1, 0, 0)),  # its status has come; nobody waits for the body
    ],
)
def test_what_may_pass_is_tried_again_and_what_is_final_is_not(
    answers: Any, attempts: int, expected: tuple[int, int, int]
) -> None:
    with receiver(*answers) as told:
        webhook = sink(told.url, secret="hush", attempts=max(attempts, 3), timeout=5)
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
        assert counts(webhook) == expected
        assert len(told.bodies) == attempts
        assert len(set(told.bodies)) == 1
        # The same id, so that a receiver may know it; a signature of its own for each attempt.
        assert len({headers["webhook-id"] for headers in told.headers}) == 1
        for headers in told.headers:
            verify_webhook("hush", headers, told.bodies[0], tolerance_seconds=60)
        assert set(told.paths) == {"/hooks/T0PSECRET"}


def test_a_failure_does_not_keep_the_next_message() -> None:
    with receiver((400, {}), OK) as told:
        webhook = sink(told.url)
        webhook(ALERT)
        webhook(OVER)
        assert webhook.drain(PATIENCE)
    assert counts(webhook) == (1, 1, 0)


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(as_date: bool) -> None:
    arrived: list[float] = []

    def busy(handler: Any) -> None:
        arrived.append(time.time())
        after = formatdate(time.time() + 2, usegmt=True) if as_date else "1"
        handler.send_response(429)
        handler.send_header("retry-after", after)
        handler.send_header("content-length", "0")
        handler.end_headers()

    def fine(handler: Any) -> None:
        arrived.append(time.time())
        handler.send_response(200)
        handler.send_header("content-length", "0")
        handler.end_headers()

    with receiver(busy, fine) as told:
        webhook = sink(told.url)
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
        assert counts(webhook) == (1, 0, 0)
    assert arrived[1] - arrived[0] >= 0.99  # a date is exact to the second


def test_who_asks_for_too_much_patience_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    with receiver((429, {"retry-after": "86400"})) as told:
        webhook = sink(told.url)
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
    assert counts(webhook) == (0, 1, 0)
    assert "it answered 429, asking for " in caplog.text
    assert "which is too long to wait" in caplog.text


def test_a_retry_after_that_is_nonsense_is_no_reason_to_fail() -> None:
    with receiver((503, {"retry-after": "soon"}), OK) as told:
        webhook = sink(told.url)
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
    assert counts(webhook) == (1, 0, 0)


def test_a_receiver_that_hangs_is_left_after_the_timeout() -> None:
    with receiver("hang", OK) as told:
        webhook = sink(told.url, timeout=2)
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
    assert counts(webhook) == (1, 0, 0)
    assert len(told.bodies) == 2


def test_nobody_listening_is_given_up_in_the_end(caplog: pytest.LogCaptureFixture) -> None:
    with receiver() as gone:
        pass
    webhook = sink(gone.url, attempts=3)
    webhook(ALERT)
    assert webhook.drain(PATIENCE)
    assert counts(webhook) == (0, 1, 0)
    assert "NewConnectionError; 3 attempts were made" in caplog.text
    assert "T0PSECRET" not in caplog.text


@given(st.integers(0, 5000), st.floats(0.001, 100), st.floats(0, 1, exclude_max=True))
def test_the_wait_grows_is_jittered_and_bounded(attempt: int, first: float, draw: float) -> None:
    whole = min(first * 2 ** min(attempt, 60), LONGEST_BACKOFF)
    wait = backoff(attempt, first, draw)
    assert whole / 2 <= wait <= whole
    assert backoff(attempt, first, 0) <= wait


# -- never in the way


def test_a_full_queue_drops_counts_and_says_so_once(caplog: pytest.LogCaptureFixture) -> None:
    with receiver("hang") as told:
        webhook = sink(told.url, capacity=2, timeout=PATIENCE)
        webhook(ALERT)
        until(lambda: told.bodies)
        for _ in range(100):
            webhook(OVER)  # returns, although the receiver answers nobody before this test says so
        assert webhook.dropped == 98
        assert caplog.text.count("has no room for more") == 1
        told.going.set()
        webhook.close(0)


def test_closing_delivers_what_waits_and_is_bounded_in_time() -> None:
    with receiver() as told:
        webhook = sink(told.url)
        for _ in range(5):
            webhook(ALERT)
        assert webhook.close(PATIENCE)
        webhook(OVER)
        assert counts(webhook) == (5, 0, 1)
    with receiver((500, {})) as told:
        webhook = sink(told.url, backoff_seconds=60)
        webhook(ALERT)
        until(lambda: told.bodies)
        assert not webhook.close(0.05)
        until(lambda: webhook.failed == 1)  # the wait of a minute was broken off


def test_the_end_of_the_process_delivers_what_waits(tmp_path: Path) -> None:
    code = """
import sys
from canario import CanaryDeploymentController
from canario.sinks import WebhookSink
sink = WebhookSink(sys.argv[1], exit_seconds=600)
controller = CanaryDeploymentController(deployment_id="x", sinks=[sink])
controller.start()
controller.abort()
"""
    with receiver((500, {}), OK) as told:
        subprocess.run(
            [sys.executable, "-W", "error", "-c", code, told.url], timeout=PATIENCE, check=True
        )
        assert len(told.bodies) == 4  # three events, one of them tried twice


SERVED = """
import os, sys
import uvicorn
from canario import CanaryDeploymentController, Plan, Deployment, Stage
from canario.asgi import CanaryMiddleware
from canario.sinks import WebhookSink

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

controller = CanaryDeploymentController(
    Plan(deployment=Deployment(canary_stages=(Stage(100, 1000),))), deployment_id="x",
    sinks=[WebhookSink(sys.argv[2], exit_seconds=30)],
)
guarded = CanaryMiddleware(app, controller, contract=lambda *_: "broken")
server = uvicorn.Config(guarded, fd=int(sys.argv[1]), ws="websockets-sansio", log_level="error")
uvicorn.Server(server).run()
"""


def test_a_server_that_is_stopped_by_a_signal_delivers_what_waits() -> None:
    """Uvicorn ends by the very signal, so that nothing at Python's own exit is run."""
    with receiver((500, {}), OK) as told, socket.create_server(("127.0.0.1", 0)) as listener:
        arguments = [sys.executable, "-c", SERVED, str(listener.fileno()), told.url]
        with subprocess.Popen(arguments, pass_fds=[listener.fileno()]) as server:
            url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
            assert httpx.get(url, headers={"x-user-id": "a"}, timeout=PATIENCE).text == "hello"
            until(lambda: told.bodies)  # the first attempt fails, and the next is a while away
            server.send_signal(signal.SIGTERM)
            server.wait(PATIENCE)
        assert [json.decode(body)["type"].split(".")[-1] for body in told.bodies] == [
            "started",
            "started",
            "stage_entered",
            "checked",
            "rolled_back",
        ]


# -- discretion


def test_secrets_are_in_no_repr_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "canario")
    with receiver((400, {})) as told:
        url = told.url.replace("http://", "http://user:passw0rd@")
        webhook = sink(url, secret="hush-hush", headers={"authorization": "Bearer abc"})
        webhook(ALERT)
        webhook.payload = lambda message: 1 // 0  # type: ignore[method-assign]
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
    assert webhook.failed == 2
    shown = repr(webhook) + caplog.text + repr(webhook.__dict__["_poster"])
    for secret in ("hush-hush", "T0PSECRET", "passw0rd", "Bearer"):
        assert secret not in shown
    assert "http://127.0.0.1:" in repr(webhook)


def test_a_certificate_that_nobody_signed_is_refused_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1"
    )
    subprocess.run(
        [*make.split(), "-keyout", str(key), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )
    with receiver(tls=(certificate, key)) as told:
        webhook = sink(told.url)
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
        assert counts(webhook) == (0, 1, 0)
        assert "SSLError" in caplog.text
        assert told.bodies == []
        import urllib3

        trusting = sink(told.url, pool=urllib3.PoolManager(ca_certs=str(certificate)))
        trusting(ALERT)
        assert trusting.drain(PATIENCE)
        assert counts(trusting) == (1, 0, 0)
        trusting._poster._pool.clear()


# -- arguments


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"url": "ftp://x/y"}, "scheme 'ftp'"),
        ({"url": "hooks.example.com/T0PSECRET"}, "must be a whole http or https address"),
        ({"url": "https:///T0PSECRET"}, "host None"),
        ({"attempts": 0}, "attempts is 0"),
        ({"timeout": 0}, "timeout is 0"),
        ({"backoff_seconds": -1}, "backoff_seconds is -1"),
        ({"capacity": 0}, "capacity is 0"),
        ({"headers": {"Webhook-Id": "1"}}, "'Webhook-Id', which the sink itself sets"),
        ({"headers": {"x": "a\r\nb: c"}}, "line break in 'x'"),
        ({"secret": ""}, "secret is empty"),
        ({"secret": "a", "secret_env": "B"}, "both secret and secret_env"),
    ],
)
def test_wrong_arguments_are_refused_without_telling_a_secret(
    arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises(ValueError, match=error) as refused:
        WebhookSink(**{"url": "https://example.com/T0PSECRET", **arguments})
    assert "T0PSECRET" not in str(refused.value)


def test_the_secret_may_come_from_the_environment() -> None:
    with receiver() as told:
        webhook = sink(told.url, secret_env="HOOK", environ={"HOOK": "from there"})
        webhook(ALERT)
        assert webhook.drain(PATIENCE)
    assert verify_webhook("from there", told.headers[0], told.bodies[0])
    with pytest.raises(ConfigError, match="HOOK"):
        WebhookSink("https://example.com/", secret_env="HOOK", environ={})


def test_without_urllib3_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "urllib3", None)
    with pytest.raises(ImportError, match=r"pip install 'canario\[webhook\]'"):
        WebhookSink("https://example.com/")


def test_importing_the_sinks_imports_no_http_client_and_no_telemetry() -> None:
    code = (
        "import sys, canario, canario.sinks\n"
        "print([name for name in ('urllib3', 'opentelemetry._logs', 'opentelemetry.sdk')"
        " if name in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said.strip() == "[]"


def test_many_threads_may_tell_one_sink() -> None:
    with receiver() as told:
        webhook = sink(told.url, capacity=1000)

        def tell() -> None:
            for _ in range(10):
                webhook(ALERT)

        threads = [threading.Thread(target=tell) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert webhook.drain(PATIENCE)
    assert counts(webhook) == (80, 0, 0)
    assert len({headers["webhook-id"] for headers in told.headers}) == 80
