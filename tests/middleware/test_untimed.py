"""What is not timed fails all the same: HEAD, OPTIONS and health checks, over both protocols."""

from __future__ import annotations

from typing import Any

import pytest
from tests.middleware import wsgi_tools
from tests.middleware.asgi_tools import (
    BAD,
    GOOD,
    Controller,
    Receive,
    Scope,
    Send,
    ask,
    respond,
    user,
)

from canario import Outcome
from canario.asgi import CanaryMiddleware
from canario.control.rollout import Rollout
from canario.plan import Deployment
from canario.wsgi import CanaryMiddleware as OverWSGI

UNTIMED = [("HEAD", "/"), ("OPTIONS", "/"), ("GET", "/healthz"), ("POST", "/ping")]
ENDINGS = {"503": BAD, "raises": BAD, "200": GOOD}


def served(protocol: str, controller: Controller, ending: str) -> Any:
    if protocol == "wsgi":

        def over_wsgi(environ: Any, start_response: Any) -> Any:
            if ending == "raises":
                raise LookupError
            start_response(f"{ending} As It Is", [("Content-Type", "text/plain")])
            return [b""]

        return OverWSGI(over_wsgi, controller)

    async def over_asgi(scope: Scope, receive: Receive, send: Send) -> None:
        if ending == "raises":
            raise LookupError
        await respond(send, status=int(ending))

    return CanaryMiddleware(over_asgi, controller)


def request(protocol: str, app: Any, method: str, path: str, key: str) -> None:
    if protocol == "wsgi":
        wsgi_tools.ask(app, wsgi_tools.user(key, path, method=method))
    else:
        ask(app, user(key, path, method=method))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize(("method", "path"), UNTIMED)
@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_a_failed_request_that_is_not_timed_is_an_error(
    protocol: str, method: str, path: str, ending: str
) -> None:
    controller = Controller()
    key = controller.a_key("canary")
    request(protocol, served(protocol, controller, ending), method, path, key)
    assert controller.only.outcome is ENDINGS[ending]
    assert controller.only.latency_ms is None
    counts = controller.totals("canary").counts
    assert (counts.requests, counts.errors) == (1, ENDINGS[ending] is BAD)
    assert (counts.timed, counts.slow, counts.neutral) == (0, 0, 0)
    assert controller.counts("canary") == counts


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize(("method", "path"), UNTIMED)
def test_a_canary_that_fails_on_these_alone_is_rolled_back(
    method: str, path: str, protocol: str
) -> None:
    controller = Controller(max_error_rate=10)
    app = served(protocol, controller, "503")
    for number in range(100):
        controller.time.advance(0.1)
        request(protocol, app, method, path, str(number))
    assert controller.state.phase == "rolled_back"
    assert controller.result().rollback_reason == "error_rate"


@pytest.mark.parametrize("outcome", list(Outcome))
@pytest.mark.parametrize("latency_ms", [None, 10.0, 501.0])
def test_what_an_observation_adds(outcome: Outcome, latency_ms: float | None) -> None:
    """Latency and outcome are two things: the one says nothing of the other."""
    rollout = Rollout(Deployment(deployment_id="x"))
    rollout.start(0)
    rollout.observe(1, "canary", outcome, latency_ms)
    counts = rollout.recorder.canary.total()
    worth = outcome is not Outcome.NEUTRAL
    timed = worth and latency_ms is not None
    assert counts.requests == worth
    assert counts.errors == (outcome is Outcome.BAD)
    assert counts.neutral == (not worth)
    assert counts.timed == timed
    assert counts.slow == (timed and latency_ms is not None and latency_ms > 500)
