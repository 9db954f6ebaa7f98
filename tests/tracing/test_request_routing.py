"""How routing appears on a request's span, and how what is told later is linked to it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.semconv._incubating.attributes import feature_flag_attributes as names
from tests.middleware.asgi_tools import (
    Controller,
    Receive,
    Scope,
    Send,
    ask,
    forced,
    hello,
    http_scope,
    respond,
    user,
)
from tests.middleware.wsgi_tools import answers
from tests.tracing.request_tools import TRACE_ID, TRACEPARENT, Provider, attributes, ids
from tests.waiting import PATIENCE

from canario import Plan, Stage
from canario.asgi import CanaryMiddleware
from canario.config import ConfigError, load_plan
from canario.control.violation import Violation
from canario.exchange import Exchange
from canario.plan import Routing, Tracing
from canario.sinks import inline
from canario.slo import SLOMonitor
from canario.tracing.feature_flag import plan_digest
from canario.wsgi import CanaryMiddleware as WSGIMiddleware

REASONS = {value.value for value in names.FeatureFlagResultReasonValues}


def flags(controller: Controller, scope: Scope) -> dict[str, Any]:
    """The feature flag on the span of a request."""
    provider = Provider()
    ask(CanaryMiddleware(hello, controller, tracer_provider=provider), scope)
    told = attributes(provider.server)
    found = {k: v for k, v in told.items() if k.startswith("feature_flag.")}
    assert found[names.FEATURE_FLAG_RESULT_REASON] in REASONS
    return found


def test_a_decision_has_all_attributes_of_a_feature_flag() -> None:
    controller = Controller(routing=Routing(salt="salt-of-the-season"))
    scope = user(controller.a_key("canary"))
    digest = plan_digest(controller.deployment)
    assert flags(controller, scope) == {
        names.FEATURE_FLAG_KEY: "release-1",
        names.FEATURE_FLAG_RESULT_VARIANT: "canary",
        names.FEATURE_FLAG_RESULT_REASON: "split",
        names.FEATURE_FLAG_SET_ID: "salt-of-the-season",
        names.FEATURE_FLAG_VERSION: f"{digest}/canary_50",
        names.FEATURE_FLAG_PROVIDER_NAME: "canario",
    }


def test_without_a_salt_the_release_names_the_set() -> None:
    assert flags(Controller(), user("x"))["feature_flag.set.id"] == "release-1"


def reason(controller: Controller, scope: Scope) -> tuple[str, str]:
    found = flags(controller, scope)
    return found["feature_flag.result.variant"], found["feature_flag.result.reason"]


def test_a_forced_arm_is_a_target() -> None:
    controller = Controller(routing=forced(trusted_peers=("203.0.113.0/24",)))
    scope = http_scope(headers=[("x-canary", "always")])
    assert reason(controller, scope) == ("canary", "targeting_match")


def test_a_request_without_a_key_has_the_default() -> None:
    assert reason(Controller(), http_scope()) == ("baseline", "default")


def test_a_refused_key_is_an_error() -> None:
    assert reason(Controller(), user("x" * 600)) == ("baseline", "error")


def test_after_a_rollback_the_flag_is_disabled() -> None:
    controller = Controller()
    controller.start()
    controller.abort()
    found = flags(controller, user("x"))
    assert found["feature_flag.result.reason"] == "disabled"
    assert found["feature_flag.version"].endswith("/aborted")


def test_after_the_promotion_the_flag_is_static() -> None:
    controller = Controller()
    controller.start()
    controller.promote()
    found = flags(controller, user("x"))
    assert (found["feature_flag.result.variant"], found["feature_flag.result.reason"]) == (
        "canary",
        "static",
    )
    assert found["feature_flag.version"].endswith("/completed")


def test_the_version_changes_with_the_stage_and_with_the_plan() -> None:
    stages = (Stage(5, 100), Stage(25, 100))
    controller = Controller(stages=stages)
    first = flags(controller, user("x"))["feature_flag.version"]
    controller.skip()
    second = flags(controller, user("x"))["feature_flag.version"]
    assert first.split("/") == [first.split("/")[0], "canary_5"]
    assert second == first.replace("canary_5", "canary_25")
    other = flags(Controller(stages=stages, max_error_rate=7), user("x"))["feature_flag.version"]
    assert other != first
    again = flags(Controller(stages=stages), user("x"))["feature_flag.version"]
    assert again == first


# -- users' keys


def with_secret(variable: str = "KEY_SECRET") -> Controller:
    controller = Controller()
    controller.plan = replace(controller.plan, tracing=Tracing(user_key_secret_env=variable))
    return controller


def test_a_user_s_key_is_on_a_span_as_a_keyed_hash_or_not_at_all() -> None:
    key = "ana@example.org"
    expected = hmac.new(b"pepper", key.encode(), hashlib.sha256).hexdigest()[:32]
    for options, told in (({"KEY_SECRET": "pepper"}, expected), ({}, None)):
        provider = Provider()
        controller = with_secret() if told else Controller()
        app = CanaryMiddleware(hello, controller, tracer_provider=provider, environ=options)
        ask(app, user(key))
        assert attributes(provider.server).get(names.FEATURE_FLAG_CONTEXT_ID) == told
        assert not any(key in str(value) for value in attributes(provider.server).values())


def test_a_host_s_span_has_the_keyed_hash_too() -> None:
    provider = Provider()
    app = CanaryMiddleware(hello, with_secret(), environ={"KEY_SECRET": "pepper"})
    with provider.get_tracer("host").start_as_current_span("host", kind=trace.SpanKind.SERVER):
        ask(app, user("x"))
    assert len(str(attributes(provider.server)[names.FEATURE_FLAG_CONTEXT_ID])) == 32


@pytest.mark.parametrize("kind", [CanaryMiddleware, WSGIMiddleware])
def test_a_secret_that_is_missing_is_refused(kind: Any) -> None:
    app = hello if kind is CanaryMiddleware else answers()
    for environ in ({}, {"KEY_SECRET": ""}):
        with pytest.raises(ConfigError, match=r"KEY_SECRET.*user_key_secret_env"):
            kind(app, with_secret(), environ=environ)
    kind(app, with_secret(), environ={}, spans=False)  # where nothing is traced, none is needed


def test_the_name_of_the_secret_comes_from_the_plan_s_file(tmp_path: Any) -> None:
    path = tmp_path / "plan.toml"
    path.write_text('[tracing]\nuser_key_secret_env = "KEY_SECRET"\n')
    assert load_plan(path, environ={}).tracing.user_key_secret_env == "KEY_SECRET"
    path.write_text('[tracing]\nuser_key_secret_env = ""\n')
    with pytest.raises(ConfigError, match="user_key_secret_env"):
        load_plan(path, environ={})
    assert Plan().tracing.user_key_secret_env is None


# -- links


class Told:
    """A sink that notes the span in whose context it was called."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, int]] = []

    def __call__(self, event: object) -> None:
        span = trace.get_current_span().get_span_context()
        self.heard.append((type(event).__name__, span.span_id))


def broken(route: str, status: int, headers: Sequence[Any], body: bytes) -> str:
    return "not a plan"


def test_a_broken_contract_is_linked_to_the_request_that_broke_it() -> None:
    told, provider, seen = Told(), Provider(), []

    class Watched(Controller):
        def report_violation(self, arm: Any, violation: Any, **more: Any) -> None:
            seen.append(violation)
            super().report_violation(arm, violation, **more)

    controller = Watched(sinks=[inline(told)])
    app = CanaryMiddleware(hello, controller, contract=broken, tracer_provider=provider)
    scope = http_scope(headers=[("x-user-id", controller.a_key("canary")), TRACEPARENT])
    ask(app, scope)
    assert app.gate.drain(PATIENCE)
    (violation,) = seen
    assert isinstance(violation, Violation)
    assert violation.trace_id == TRACE_ID
    assert told.heard[-1] == ("RolledBack", ids(provider.server)[1])


def test_without_a_span_a_broken_contract_has_no_trace() -> None:
    controller: Any = Controller()
    seen: list[Any] = []
    app = CanaryMiddleware(hello, controller, contract=broken, spans=False)
    controller.report_violation = lambda arm, violation, **more: seen.append(violation)
    ask(app, user("x"))
    assert app.gate.drain(PATIENCE)
    assert seen[0].trace_id is None


def test_a_decision_is_linked_to_the_request_at_whose_end_it_is_made() -> None:
    for status, raises in ((500, False), (200, True)):
        told, provider = Told(), Provider()
        controller = Controller(
            max_error_rate=1, max_p95_latency_ms=60_000, min_samples=1, sinks=[inline(told)]
        )

        async def app(
            scope: Scope,
            receive: Receive,
            send: Send,
            status: int = status,
            raises: bool = raises,
            controller: Controller = controller,
        ) -> None:
            controller.time.advance(6)  # a check is due when the request ends
            if raises:
                raise LookupError
            await respond(send, status=status)

        guarded = CanaryMiddleware(app, controller, tracer_provider=provider)
        key = controller.a_key("canary")
        for _ in range(2):
            ask(guarded, user(key))
        spans = [ids(span)[1] for span in provider.spans]
        decided = [span for kind, span in told.heard if kind == "RolledBack"]
        assert decided == [spans[1]]


class Monitor(SLOMonitor):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[bool, str | None]] = []

    def record_request(
        self,
        flow_name: str,
        success: bool,
        latency_ms: float | None,
        contract_valid: bool = True,
        *,
        trace_id: str | None = None,
    ) -> None:
        self.told.append((success, trace_id))


def test_the_monitor_is_given_an_example_of_what_is_bad_or_slow_and_of_nothing_else() -> None:
    controller, monitor = Controller(max_p95_latency_ms=500), Monitor()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        controller.time.advance(0.6 if scope["path"] == "/slow" else 0)
        await respond(send, status=500 if scope["path"] == "/bad" else 200)

    provider = Provider()
    options: Any = {"monitor": monitor, "tracer_provider": provider}
    guarded = CanaryMiddleware(app, controller, **options)
    for path in ("/good", "/bad", "/slow"):
        ask(guarded, http_scope(path, headers=[TRACEPARENT]))
    assert monitor.told == [(True, None), (False, TRACE_ID), (True, TRACE_ID)]


def test_a_trace_that_nobody_can_look_up_is_no_example() -> None:
    monitor = Monitor()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await respond(send, status=500)

    options: Any = {"monitor": monitor, "tracer_provider": Provider(ALWAYS_OFF)}
    ask(CanaryMiddleware(app, Controller(), **options), http_scope())
    assert monitor.told == [(False, None)]


def test_an_exchange_without_a_span_has_no_trace() -> None:
    exchange = Exchange()
    assert exchange.span is None
    assert exchange.trace_id is None
    assert exchange.span_context is None
