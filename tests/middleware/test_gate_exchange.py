"""One request at the gate, from its arrival to its end: what is kept of it, counted and told."""

from __future__ import annotations

import logging
import os
import threading
from array import array
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracerProvider
from tests.middleware.asgi_tools import BAD, GOOD, NEUTRAL, BrokenController, Controller
from tests.middleware.test_gate_keys import Request
from tests.waiting import PATIENCE

from canario import CanaryDeploymentController, Phase, Plan, Routing
from canario.alerts import AlertType
from canario.config import ConfigError
from canario.exchange import Exchange, Finished
from canario.gate.gate import Gate
from canario.gate.options import HEALTH_PATHS
from canario.plan import Objectives, Tracing
from canario.slo import SLOMonitor
from canario.tape import TapeRecorder

KEYS = Routing(key_sources=("header:x-user-id",))


def gate(share: float = 50, **options: Any) -> tuple[Gate, Controller]:
    controller = Controller(share, routing=KEYS)
    return Gate(controller, **options), controller


def admitted(here: Gate, method: str = "GET", path: str = "/", key: bytes = b"ann") -> Exchange:
    exchange = Exchange()
    assert here.admit(exchange, Request([(b"x-user-id", key)], below=path), method, path, False)
    return exchange


def ended(here: Gate, route: str | None = None, status: int | None = 200, **parts: Any) -> Exchange:
    exchange = admitted(here)
    exchange.status, exchange.complete = status, True
    for name, value in parts.items():
        setattr(exchange, name, value)
    here.finish(exchange, route)
    return exchange


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


# -- an exchange by itself


def test_time_that_nobody_watched_is_none_that_a_request_has_taken() -> None:
    exchange = Exchange()
    exchange.started_at = 10.0
    assert exchange.arrived_at == 10.0
    exchange.unwatched(100.0)
    assert (exchange.started_at, exchange.arrived_at) == (110.0, 10.0)
    assert exchange.first_at is None
    assert exchange.silent_since(115.0) == 110.0
    exchange.first_at = 112.0
    exchange.pieces += 1
    assert exchange.silent_since(120.0) == 120.0
    exchange.unwatched(1000.0)
    assert (exchange.started_at, exchange.first_at) == (1110.0, 1112.0)
    assert exchange.silent_since(1200.0) == 1120.0
    assert exchange.arrived_at == 10.0


def test_a_body_that_goes_on_is_a_sign_of_life_at_the_look_that_sees_it() -> None:
    exchange = Exchange()
    exchange.started_at = 10.0
    assert exchange.silent_since(12.0) == 10.0
    exchange.pieces += 3
    assert [exchange.silent_since(at) for at in (13.0, 14.0)] == [13.0, 13.0]
    exchange.pieces += 1
    assert exchange.silent_since(15.0) == 15.0


def test_before_it_is_admitted_nothing_is_known_of_a_request() -> None:
    exchange = Exchange()
    assert exchange.still_timed()
    assert (exchange.path(), exchange.find_route(), exchange.tape_mark()) == ("", None, None)
    assert (exchange.trace_id, exchange.span_context) == (None, None)
    exchange.given_up()
    exchange.collect(b"abc", 10)
    assert (exchange.body, exchange.body_bytes) == (None, 0)
    exchange.body = []
    exchange.collect("text", 10)  # what is not bytes no contract can be shown
    assert exchange.body is None
    exchange.body = []
    exchange.see_head(200, [(b"a", b"b")])
    assert (exchange.body, list(exchange.response_headers)) == (None, [])


def test_a_body_is_kept_as_long_as_the_whole_fits() -> None:
    exchange = Exchange()
    exchange.body = []
    for piece in (b"ab", bytearray(b"c"), memoryview(b"d"), array("H", [0x6565])):
        exchange.collect(piece, 6)
    assert (exchange.body, exchange.body_bytes) == ([b"ab", b"c", b"d", b"ee"], 6)
    exchange.collect(b"f", 6)
    exchange.collect(b"g", 6)
    assert (exchange.body, exchange.body_bytes) == ([], 8)


def test_a_body_that_is_not_bytes_is_counted_as_not_checked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    here, controller = gate(contract=lambda *_: None)
    exchange = admitted(here)
    exchange.collect(3.5, 10)
    assert controller.counters["contract_not_checked"] == 1
    assert "its body is not bytes but float" in " ".join(warned(caplog))
    exchange.collect(b"more", 10)
    assert (exchange.body, exchange.body_bytes) == (None, 0)


def test_a_request_that_is_traced_says_by_what() -> None:
    exchange = Exchange()
    context: Any = "context"
    span: Any = SimpleNamespace(
        trace_id="ab" * 16, span=SimpleNamespace(get_span_context=lambda: context)
    )
    exchange.span = span
    assert exchange.trace_id == "ab" * 16
    assert exchange.span_context is context


# -- what is kept for a contract


def test_only_where_a_contract_is_asked_a_body_and_headers_are_kept() -> None:
    bare, _ = gate()
    assert admitted(bare).body is None
    assert not bare.may_check(200, [])
    here, _ = gate(contract=lambda *_: None)
    assert admitted(here, "HEAD").body is None
    exchange = admitted(here, "POST")
    assert (exchange.body, exchange.method) == ([], "POST")
    exchange.see_head(200, [(b"a", b"b")])
    assert (exchange.body, list(exchange.response_headers)) == ([], [(b"a", b"b")])
    by_route, controller = gate(contract={"/a": {"type": "object"}})
    json = [(b"content-type", b"application/json")]
    for status, kept in ((200, json), (404, []), (None, [])):
        other = admitted(by_route)
        other.see_head(status, json)
        assert (other.body, list(other.response_headers)) == ([] if kept else None, kept)
    assert "faults" not in controller.counters


def test_a_contract_is_shown_what_has_ended_whole() -> None:
    shown: list[tuple[Any, ...]] = []
    here, controller = gate(contract=lambda *response: shown.append(response), contract_max_body=4)
    ended(here, "/a", body=[b"ab", b"cd"], body_bytes=4, response_headers=[(b"a", b"b")])
    ended(here, None, body=[], body_bytes=0, status=404)
    ended(here, "/a", body=[b"ab"], body_bytes=2, complete=False)
    ended(here, "/a", body=None)
    ended(here, "/a", body=[b"x"], body_bytes=1, status=None)
    ended(here, "/a", body=[b"x"], body_bytes=1, abandoned_at=1.0)
    assert here.drain(PATIENCE)
    assert shown == [("/a", 200, [(b"a", b"b")], b"abcd"), ("", 404, (), b"")]
    assert controller.counters["contract_checked"] == 2
    ended(here, "/a", body=[], body_bytes=5)
    assert here.drain(PATIENCE)
    assert controller.counters["contract_not_checked"] == 1


def test_a_contract_is_about_its_routes_alone() -> None:
    shown: list[str] = []
    routes = ["/plans/{id}"]
    here, _ = gate(contract=lambda route, *_: shown.append(route), contract_routes=routes)
    for route in ("/plans/{plan}", "/other", None):
        ended(here, route, body=[])
    assert here.drain(PATIENCE)
    assert shown == ["/plans/{plan}"]


def test_whoever_waits_is_told_when_a_contract_has_not_seen_all() -> None:
    go = threading.Event()
    here, _ = gate(contract=lambda *_: go.wait(PATIENCE) and None)
    assert here.drain(0.0)
    ended(here, "/a", body=[])
    assert not here.drain(0.0)
    go.set()
    assert here.drain(PATIENCE)
    bare, _ = gate()
    assert bare.drain(0.0)


def test_a_broken_contract_is_told_with_its_trace_and_to_all_who_listen() -> None:
    monitor = SLOMonitor()
    here, controller = gate(monitor=monitor, flows={"/a": "evaluation"}, contract=lambda *_: "no")
    ended(here, "/a", body=[], arm="baseline")
    assert here.drain(PATIENCE)
    assert controller.totals("baseline").counts.violations == 1
    assert monitor.totals("evaluation").violations == 1
    assert here._objectives is not None
    assert here._objectives.alerts.drain(PATIENCE)
    alerts = {(alert.alert_type, alert.flow_name) for alert in monitor.get_active_alerts()}
    assert (AlertType.CONTRACT_VIOLATION, "evaluation") in alerts


# -- when it ends


def test_a_request_is_observed_once() -> None:
    here, controller = gate()
    exchange = ended(here, "/a")
    here.finish(exchange, "/a")
    assert controller.only.outcome is GOOD


@pytest.mark.parametrize(
    ("parts", "after", "outcome", "latency"),
    [
        ({}, 0.25, "good", 250.0),
        ({"timed": False}, 0.25, "good", None),
        ({"first_at": 0.125}, 0.25, "good", 125.0),
        ({}, -5.0, "good", 0.0),
        ({}, 86_400.0, "good", 86_400_000.0),
        ({}, 86_401.0, "good", 86_400_000.0),
        ({"complete": False}, 0.25, "bad", 250.0),
        ({"failed": True}, 0.25, "good", 250.0),
        ({"failed": True, "status": 201}, 0.25, "bad", 250.0),
        ({"status": 201}, 0.25, "good", 250.0),
        ({"status": 201, "complete": False}, 0.25, "bad", 250.0),
        ({"status": 500}, 0.25, "bad", 250.0),
        ({"status": 404}, 0.25, "neutral", None),
        ({"left": True, "complete": False}, 0.25, "neutral", None),
        ({"left": True, "complete": False}, 0.75, "good", 750.0),
        ({"left": True}, 0.25, "neutral", None),
        ({"left": True, "complete": False, "first_at": 0.125}, 0.25, "good", 125.0),
        ({"settled": NEUTRAL}, 0.25, "neutral", None),
        ({"settled": GOOD}, 0.25, "good", None),
    ],
)
def test_what_a_request_is_worth(
    parts: dict[str, Any], after: float, outcome: str, latency: float | None
) -> None:
    here, controller = gate()
    exchange = admitted(here)
    exchange.status, exchange.complete = 200, True
    for name, value in parts.items():
        setattr(exchange, name, value)
    # On a clock that counts in fractions that floats have.
    exchange.started_at = controller.time.now = 1_700_000_000.0
    if exchange.first_at is not None:
        exchange.first_at += exchange.started_at
    here.finish(exchange, None, at=exchange.started_at + after)
    assert (controller.only.outcome.value, controller.only.latency_ms) == (outcome, latency)


def test_a_route_says_what_is_an_error_of_it() -> None:
    here, controller = gate(errors={"/plans/{id}": {409}})
    for route, status in (
        ("/plans/{plan}", 409),
        ("/other", 409),
        (None, 409),
        ("/plans/{x}", 404),
    ):
        ended(here, route, status)
    ended(here, "/plans/{plan}", 200)
    assert [each.outcome.value for each in controller.seen] == [
        "bad",
        "neutral",
        "neutral",
        "neutral",
        "good",
    ]


def test_time_that_nobody_watched_is_no_latency() -> None:
    here, controller = gate()
    exchange = admitted(here)
    exchange.status, exchange.complete = 200, True
    controller.time.advance(0.25)
    controller.tick()
    lost = controller.next_look - controller.time.now
    assert lost > 0
    here.finish(exchange, None)
    assert controller.only.latency_ms == pytest.approx(250)


# -- health checks and the like


@pytest.mark.parametrize("path", HEALTH_PATHS)
def test_health_checks_are_not_timed(path: str) -> None:
    here, controller = gate()
    exchange = admitted(here, path=path)
    assert not exchange.timed
    below = Exchange()
    assert here.admit(below, Request(below=path), "GET", f"/mounted{path}", False)
    assert (below.timed, below.perhaps_health) == (False, False)
    perhaps = Exchange()
    mounted = f"/mounted{path}"
    assert here.admit(perhaps, Request(below=mounted), "GET", mounted, False)
    assert (perhaps.timed, perhaps.perhaps_health) == (True, True)
    perhaps.path = lambda: mounted  # type: ignore[method-assign]
    assert perhaps.still_timed()
    perhaps.path = lambda: path  # type: ignore[method-assign]
    assert not perhaps.still_timed()
    other = admitted(here, path="/evaluate")
    assert (other.timed, other.perhaps_health) == (True, False)
    other.path = lambda: path  # type: ignore[method-assign]
    assert other.still_timed()
    assert controller.counters == {"no_key": 2}


def test_a_path_that_cannot_be_read_is_a_fault_and_the_request_is_timed() -> None:
    here, controller = gate()
    exchange = admitted(here, path="/mounted/health")

    def path() -> str:
        raise OSError

    exchange.path = path  # type: ignore[method-assign]
    assert exchange.still_timed()
    assert controller.counters["faults"] == 1


# -- the monitor


def test_the_monitor_is_told_by_flow_of_what_says_something() -> None:
    monitor = SLOMonitor()
    here, _ = gate(monitor=monitor, flows={"/plans/{id}": "evaluation"})
    objectives = here._objectives
    assert objectives is not None
    assert objectives.flow_of("/plans/{plan}") == "evaluation"
    assert (objectives.flow_of("/b"), objectives.flow_of(None)) == ("/b", "other")
    ended(here, "/plans/{plan}")
    ended(here, "/plans/{plan}", 500)
    ended(here, "/plans/{plan}", 404)
    ended(here, "/plans/{plan}", abandoned_at=1.0)
    ended(here, None)
    assert sorted(monitor.flows) == ["evaluation", "other"]
    assert (monitor.totals("evaluation").requests, monitor.totals("evaluation").errors) == (2, 1)
    assert (monitor.totals("other").requests, monitor.totals("other").errors) == (1, 0)


def test_the_monitor_is_told_of_who_was_given_up() -> None:
    monitor = SLOMonitor()
    here, controller = gate(monitor=monitor)
    exchange = admitted(here)
    exchange.find_route = lambda: "/a"  # type: ignore[method-assign]
    exchange.given_up()
    assert (monitor.totals("/a").requests, monitor.totals("/a").errors) == (1, 1)
    bare, _ = gate()
    admitted(bare).given_up()

    def fails() -> str:
        raise OSError

    exchange.find_route = fails  # type: ignore[method-assign]
    exchange.given_up()
    assert controller.counters["faults"] == 1


def test_a_route_is_asked_for_only_where_somebody_needs_its_name() -> None:
    bare, _ = gate()
    assert not bare.names_routes
    for options in (
        {"contract": lambda *_: None},
        {"contract_routes": ["/a"]},
        {"errors": {"/a": {409}}},
        {"monitor": SLOMonitor()},
    ):
        here, _ = gate(**options)
        assert here.names_routes, options
    # Flows are told to a monitor, and to nobody else.
    here, _ = gate(flows={"/a": "b"})
    assert not here.names_routes


def test_alerts_are_evaluated_when_they_are_due_and_by_requests_too() -> None:
    objectives = Objectives(evaluation_interval_seconds=10)
    controller = Controller(routing=KEYS)
    here = Gate(controller, monitor=SLOMonitor(objectives, clock=controller.time))
    assert here._objectives is not None
    alerts = here._objectives.alerts
    looks: list[float] = []

    def look(now: float) -> None:
        if threading.current_thread() is threading.main_thread():  # and not the ticker's
            looks.append(now)

    alerts.look = look  # type: ignore[method-assign]
    alerts.due = controller.time.now + 5.0
    for seconds in (4.0, 1.0, 1.0):
        controller.time.advance(seconds)
        ended(here)
    assert looks == [alerts.due, alerts.due + 1.0]
    assert Gate(Controller())._objectives is None


def test_whoever_is_told_of_a_slow_or_failed_request_finds_its_trace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Slow by either limit: the rollout's of 500 ms, or the objectives'."""
    told: list[Any] = []

    def record(_: object, flow: str, good: bool, ms: float | None, trace_id: Any = None) -> None:
        told.append((good, ms, trace_id))

    monkeypatch.setattr(SLOMonitor, "record_request", record)
    here, controller = gate(monitor=SLOMonitor(Objectives(p95_latency_ms=300)))
    assert here._objectives is not None
    traced: Any = SimpleNamespace(abandoned_at=None, span=SimpleNamespace(kept=True, trace_id="t"))
    plain: Any = SimpleNamespace(abandoned_at=None, span=None)
    for exchange in (traced, plain):
        for outcome, ms in ((GOOD, None), (GOOD, 300.0), (GOOD, 301.0), (BAD, None), (BAD, 9.0)):
            here._objectives.observe(exchange, Finished(None, outcome, ms, controller.clock()))
    trace_ids = [None, None, "t", "t", "t"] + [None] * 5
    assert [each[2] for each in told] == trace_ids
    assert [each[0] for each in told] == [True, True, True, False, False] * 2


# -- a release that has not begun, and one that is over


def test_before_and_after_a_release_nobody_is_asked_for_a_key() -> None:
    here, controller = gate(100)
    assert admitted(here).arm == "canary"
    controller.abort()
    exchange = admitted(here)
    assert (exchange.arm, exchange.reason, exchange.key) == ("baseline", "disabled", None)
    assert controller.state.phase is Phase.ABORTED


def test_a_tape_has_the_keys_of_requests_outside_a_release_too(tmp_path: Any) -> None:
    here, controller = gate(100, tape=TapeRecorder(tmp_path / "a.tape"))
    exchange = admitted(here)
    assert exchange.key == b"ann"
    mark = exchange.tape_mark()
    assert mark is not None
    assert mark is exchange.mark is exchange.tape_mark()
    health = admitted(here, path="/health").tape_mark()
    assert health is not None
    assert (mark.flight, health.flight) == (mark.TIMED, mark.UNTIMED)
    controller.abort()
    assert admitted(here).key == b"ann"
    spoilt = admitted(here, key=b"")
    assert (spoilt.arm, spoilt.key) == ("baseline", None)
    assert here.tape is not None
    with pytest.raises(ValueError, match="is recorded by"):
        controller.record_to(TapeRecorder(tmp_path / "b.tape"))
    here.tape.close(PATIENCE)


def test_in_a_forked_child_the_release_begins_anew() -> None:
    here, _ = gate()
    here.start()
    child = os.fork()
    if not child:
        os._exit(here._begun)
    assert os.waitpid(child, 0)[1] == 0
    assert here._begun


def test_a_controller_that_fails_serves_the_baseline() -> None:
    controller = BrokenController(100, routing=KEYS)
    here = Gate(controller)
    here.start()
    controller.names = frozenset({"router"})
    controller.broken = True
    exchange = Exchange()
    assert not here.admit(exchange, Request([(b"x-user-id", b"ann")]), "GET", "/", False)
    controller.broken = False
    assert exchange.arm == "baseline"
    assert controller.counters["faults"] == 1


def test_what_keeps_a_release_from_beginning_is_counted_once() -> None:
    controller = BrokenController(100, routing=KEYS)
    controller.names = frozenset({"start"})
    here = Gate(controller)
    controller.broken = True
    here.start()
    here.start()
    assert controller.counters["faults"] == 1


def test_the_provider_that_the_environment_names_is_loaded_when_the_release_begins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not at the first request, which would wait for it."""
    asked: list[None] = []
    monkeypatch.setattr("opentelemetry.trace.get_tracer_provider", lambda: asked.append(None))
    for options, times in (
        ({}, 1),
        ({"spans": False}, 0),
        ({"tracer_provider": NoOpTracerProvider()}, 0),
    ):
        here, _ = gate(**options)
        asked.clear()
        here.start()
        assert len(asked) == times


def test_a_request_that_the_collector_ends_is_observed_with_the_next_one() -> None:
    here, controller = gate()
    exchange = admitted(here)
    exchange.status, exchange.complete = 200, True
    exchange.started_at = controller.time.now = 1_700_000_000.0
    controller.time.advance(0.25)
    here.drop(exchange, lambda: "/a")
    assert controller.seen == []
    controller.time.advance(100.0)
    admitted(here)
    assert controller.only.latency_ms == 250.0
    here.sweep()
    assert len(controller.seen) == 1


# -- options


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"preflight": "all"}, "is 'all'; valid: key, both"),
        ({"arm_header": "Set-Cookie"}, "means something else already"),
        ({"arm_header": "a b"}, "X-Canary-Arm is valid"),
        ({"flows": {"/a/{x}": "b", "/a/{y}": "c"}}, "are one route, but for parameters' names"),
        ({"key": 3}, "must be a function that returns text, bytes or None"),
    ],
)
def test_an_option_that_means_nothing_is_refused(options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        gate(**options)


def test_one_route_may_be_named_twice_alike() -> None:
    here, _ = gate(monitor=SLOMonitor(), flows={"/a/{x}": "b", "/a/{y}": "b"})
    assert here._objectives is not None
    assert here._objectives.flow_of("/a/{z}") == "b"


def test_a_secret_for_users_keys_is_read_from_the_environment() -> None:
    plan = Plan(tracing=Tracing(user_key_secret_env="SECRET"))
    controller = CanaryDeploymentController(plan, deployment_id="x", telemetry=False)
    for environ in ({}, {"SECRET": ""}):
        with pytest.raises(ConfigError, match=r"empty or not set; tracing\.user_key_secret_env"):
            Gate(controller, environ=environ)
    assert Gate(controller, environ={"SECRET": "s"})._chooser._keeps_keys
    assert not Gate(controller, environ={"SECRET": "s"}, spans=False)._chooser._keeps_keys
