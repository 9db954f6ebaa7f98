"""What a finished request says of the service, case by case."""

from __future__ import annotations

import pytest

from canario.control.rollout import Outcome
from canario.control.worth import worth

GOOD, BAD, NEUTRAL = Outcome.GOOD, Outcome.BAD, Outcome.NEUTRAL


@pytest.mark.parametrize(
    ("status", "latency", "flags", "expected"),
    [
        (200, 12.0, {}, (GOOD, 12.0)),
        (200, None, {}, (GOOD, None)),
        (399, 900.0, {}, (GOOD, 900.0)),
        # What the client has done wrong says nothing of the service,
        (400, 12.0, {}, (NEUTRAL, None)),
        (499, 12.0, {}, (NEUTRAL, None)),
        # but where the route says so,
        (409, 12.0, {"errors": {409, 422}}, (BAD, 12.0)),
        (404, 12.0, {"errors": {409, 422}}, (NEUTRAL, None)),
        # and what the server has done wrong does.
        (500, 12.0, {}, (BAD, 12.0)),
        (503, None, {}, (BAD, None)),
        (599, 12.0, {"left": True}, (BAD, 12.0)),
        (409, 12.0, {"left": True, "errors": {409}}, (BAD, 12.0)),
        # Whoever leaves has had too long a wait, or says nothing.
        (None, 500.0, {"left": True}, (NEUTRAL, None)),
        (None, 500.5, {"left": True}, (GOOD, 500.5)),
        (None, None, {"left": True}, (NEUTRAL, None)),
        (None, 12.0, {"left": True, "failed": True}, (NEUTRAL, None)),
        # No answer, or half of one.
        (None, 12.0, {"failed": True}, (BAD, 12.0)),
        (200, 12.0, {"failed": True}, (BAD, 12.0)),
        (404, 12.0, {"failed": True}, (BAD, 12.0)),
        (None, 12.0, {}, (GOOD, 12.0)),
    ],
)
def test_a_request_is_worth(
    status: int | None,
    latency: float | None,
    flags: dict[str, object],
    expected: tuple[Outcome, float | None],
) -> None:
    assert worth(status, latency, limit_ms=500.0, **flags) == expected  # type: ignore[arg-type]
