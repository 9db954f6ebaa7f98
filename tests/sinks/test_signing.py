"""Signatures of webhooks: as published, and refused when anything about them is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario.sinks import WebhookRefusedError, verify_webhook
from canario.sinks.signing import key_of, signed_headers

# The example that the Standard Webhooks libraries test themselves with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
BODY = b'{"test": 2432232314}'
AT = 1614265330.0


def test_the_published_example() -> None:
    made = signed_headers(key_of(SECRET), HEADERS["webhook-id"], AT + 0.9, BODY)
    assert made == HEADERS
    assert verify_webhook(SECRET, HEADERS, BODY, AT) == "msg_p5jXN8AQM9LWM0D4loKWxJek"


def test_headers_in_any_case_and_several_signatures_are_taken() -> None:
    shouting = {name.upper(): value for name, value in HEADERS.items()}
    assert verify_webhook(SECRET, shouting, BODY, AT + 299)
    rotated = HEADERS | {"webhook-signature": f"v1,AAAA v2,x {HEADERS['webhook-signature']}"}
    assert verify_webhook(SECRET, rotated, BODY, AT - 299)


@pytest.mark.parametrize(
    ("headers", "body", "now", "why"),
    [
        ({}, BODY + b" ", AT, "no signature is right"),
        ({"webhook-id": "msg_other"}, BODY, AT, "no signature is right"),
        ({"webhook-timestamp": "1614265331"}, BODY, AT, "no signature is right"),
        ({"webhook-signature": "v1,\udcff"}, BODY, AT, "no signature is right"),
        ({"webhook-signature": "é"}, BODY, AT, "no signature is right"),
        ({}, BODY, AT + 301, "more than 300 s away"),
        ({}, BODY, AT - 301, "more than 300 s away"),
        ({"webhook-timestamp": "١٦"}, BODY, AT, "no number of seconds"),
        ({"webhook-timestamp": "-1"}, BODY, AT, "no number of seconds"),
        ({"webhook-timestamp": "9" * 5000}, BODY, AT, "no number of seconds"),
        ({"webhook-signature": ""}, BODY, AT, "webhook-signature is missing"),
        ({"webhook-id": ""}, BODY, AT, "webhook-id is missing"),
    ],
)
def test_a_webhook_that_is_not_genuine_or_not_recent_is_refused(
    headers: dict[str, str], body: bytes, now: float, why: str
) -> None:
    with pytest.raises(WebhookRefusedError, match=why):
        verify_webhook(SECRET, HEADERS | headers, body, now)


def test_it_is_judged_by_the_present_instant_unless_another_is_given() -> None:
    with pytest.raises(WebhookRefusedError, match="away from now"):
        verify_webhook(SECRET, HEADERS, BODY)


@pytest.mark.parametrize("secret", ["", "whsec_", b"", "whsec_no base64!"])
def test_a_secret_that_is_none_is_refused(secret: str | bytes) -> None:
    with pytest.raises(ValueError, match="secret"):
        key_of(secret)


@given(st.text(min_size=1, max_size=50), st.binary(max_size=200), st.floats(0, 4e9))
def test_what_is_signed_verifies_with_the_same_secret_and_with_no_other(
    text: str, body: bytes, now: float
) -> None:
    secret = f"s{text}"
    headers = signed_headers(key_of(secret.encode("utf-8", "replace")), "msg_1", now, body)
    assert verify_webhook(secret.encode("utf-8", "replace"), headers, body, now) == "msg_1"
    with pytest.raises(WebhookRefusedError):
        verify_webhook(secret.encode("utf-8", "replace") + b"x", headers, body, now)
