"""What the ASGI and the WSGI middleware share: who goes where, and what a request was worth.

Nothing here knows either protocol. One `Gate` serves all requests; one `Exchange` belongs to one
request. An exception in here is counted as a fault, and the request is served by the baseline.
"""

from __future__ import annotations

import os
import secrets
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from msgspec.structs import replace
from opentelemetry.trace import format_trace_id

from canario.alerts.evaluator import AlertEvaluator
from canario.caching import adapt, varies_by
from canario.clock import ManualClock
from canario.config import ConfigError
from canario.context import present
from canario.contracts import ContractChecker, Response, contract_of
from canario.contracts.response import ResponseContract
from canario.contracts.routes import Lookup, RouteContracts, may_be_about
from canario.control.journal import JournalError
from canario.control.rollout import Outcome
from canario.control.state import Phase
from canario.control.violation import Violation
from canario.control.worth import worth
from canario.controller import CanaryDeploymentController
from canario.fork import Forkable, renew_in_child
from canario.interrupts import pass_on
from canario.limits import LONGEST_MS
from canario.options import check_options
from canario.plan import check_token
from canario.preflight import Asked, asked
from canario.route_watch import RouteWatch
from canario.routing.bucket import BUCKETS, InvalidKeyError, key_bytes
from canario.routing.forced import ClaimRefusedError, ForcedArmReader
from canario.routing.keys import Carrier, KeySource, cookie_value, key_source
from canario.routing.router import Arm
from canario.routing.template import normal_route
from canario.stores import JournalLockedError
from canario.ticker import LONGEST_SECONDS, Ticker
from canario.tracing.request import RequestSpan, RequestTracer, as_current

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext, TracerProvider

    from canario.slo import SLOMonitor
    from canario.tape import Mark, TapeRecorder
    from canario.tracing.feature_flag import Reason

__all__ = ["HEALTH_PATHS", "Exchange", "Gate", "GateOptions"]

# Given the scope or the environ.
KeyFunction = Callable[[Any], "str | bytes | None"]

HEALTH_PATHS = ("/health", "/healthz", "/livez", "/readyz", "/ping")

# These answer without doing the work that a latency limit is about.
_UNTIMED_METHODS = frozenset({"HEAD", "OPTIONS"})

# So many requests are looked at before a release to nobody is warned of.
_FIRST_KEYS = 50

# A year: an anonymous user should stay in one bucket for as long as releases go on.
_COOKIE_SECONDS = 365 * 24 * 3600


# Response headers that a server, a client or a cache acts upon: the arm's name would break it.
_TAKEN = frozenset(
    {"cache-control", "connection", "content-encoding", "content-length", "content-type", "date"}
    | {"keep-alive", "location", "set-cookie", "trailer", "transfer-encoding", "upgrade", "vary"}
)

# The flow of requests whose route has no name.
_UNNAMED = "other"


class Exchange:
    """One request from its arrival to the end of its response.

    The middleware that carries the request fills in what it sees: `status` and
    `response_headers` when the response starts, `first_at` for a response that is timed to its
    first message, `complete` with the last message, `left` when the client went away before it,
    `failed` when the app raised, or its status is none. `body` collects what a contract is to
    see; None when none is. `reason` says why the request has its arm, and `span` is what it is
    traced by.
    """

    # How every exchange begins; most need no more than a few of these changed.
    gate: Gate | None = None  # once it is admitted
    arm: Arm = "baseline"
    started_at = 0.0
    timed = True
    perhaps_health = False  # its path may be a health check's once a router has shortened it
    set_cookie: str | None = None
    preflight: Asked | None = None  # what it asks for, if it is a preflight of CORS
    asks_both: bool = False  # whether both versions are to answer it
    settled: Outcome | None = None  # what it says of the service, where that is known already
    given: tuple[str, bytes] | None = None  # the cookie's name and the key in it, once given
    status: int | None = None
    response_headers: Sequence[tuple[bytes, bytes]] = ()
    first_at: float | None = None
    complete = False
    left = False
    failed = False
    observed = False
    method = ""  # known only where a contract may ask for it
    body: list[bytes] | None = None
    body_bytes = 0
    reason: Reason = "disabled"  # until a share is there to be part of
    key: bytes | None = None  # kept only where it is to be hashed, for the span or a tape
    span: RequestSpan | None = None
    outer: Exchange | None = None  # the same request's, in a release around this one
    noted_route: str | None = None  # by a framework that tells of it while it serves the request
    mark: Mark | None = None  # what a tape says of it, where one is recorded
    abandoned_at: float | None = None  # when it was counted as failed, since nobody was answered
    pieces = 0  # of a body that has more of them, to tell one that goes on from one that stalls
    _pieces_seen = 0
    _silent_since: float | None = None
    _arrived_at: float | None = None  # where that is not `started_at`

    @property
    def arrived_at(self) -> float:
        """See `canario.control.in_flight.Request`."""
        return self.started_at if self._arrived_at is None else self._arrived_at

    def unwatched(self, seconds: float) -> None:
        """See `canario.control.in_flight.Request`."""
        self._arrived_at = self.arrived_at
        self.started_at += seconds
        if self.first_at is not None:
            self.first_at += seconds
        if self._silent_since is not None:
            self._silent_since += seconds

    @property
    def trace_id(self) -> str | None:
        """Id of the trace that the request belongs to, 32 hex digits; None without one."""
        return None if self.span is None else self.span.trace_id

    @property
    def span_context(self) -> SpanContext | None:
        """What links to the request's span; None without one."""
        return None if self.span is None else self.span.span.get_span_context()

    def path(self) -> str:
        """The path below where the app is mounted that serves it, as far as is known by now."""
        return ""

    def find_route(self) -> str | None:
        """Template of the route, while the request is being served; None when it has no name."""
        return None

    def still_timed(self) -> bool:
        """See `canario.control.in_flight.Request`."""
        if self.gate is not None:
            try:
                self.gate.know_health(self)
            except BaseException as error:
                self.gate.fault("reading a path", error)
        return self.timed

    def silent_since(self, at: float) -> float:
        """See `canario.control.in_flight.Request`."""
        if self.pieces != self._pieces_seen:
            self._pieces_seen, self._silent_since = self.pieces, at
        return self.started_at if self._silent_since is None else self._silent_since

    def tape_mark(self) -> Mark | None:
        """See `canario.control.in_flight.Request`."""
        return None if self.gate is None else self.gate.mark_of(self)

    def given_up(self) -> None:
        """See `canario.control.in_flight.Request`."""
        if self.gate is not None:
            self.gate.give_up(self)

    def see_head(self, status: int | None, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Keep the headers for the contract, or stop where it can say nothing of the response."""
        if self.gate is not None and self.gate.may_check(status or 0, headers):
            self.response_headers = headers
        else:
            self.body = None

    def collect(self, chunk: Any, limit: int) -> None:
        """Keep a piece of the body for the contract, as long as the whole fits in `limit`."""
        if self.body is None:
            return
        if type(chunk) is not bytes:
            try:
                chunk = memoryview(chunk).tobytes()
            except TypeError:  # what is not bytes no contract can be shown
                self.body = None
                if self.gate is not None:
                    self.gate.pass_over(f"its body is not bytes but {type(chunk).__name__}")
                return
        self.body_bytes += len(chunk)
        if self.body_bytes <= limit:
            self.body.append(chunk)
        else:
            self.body.clear()  # nobody will look at it


class GateOptions(TypedDict, total=False):
    """The options that both middlewares take; `Gate` says what they mean."""

    key: KeyFunction | None
    contract: Any
    contract_routes: Collection[str] | None
    contract_max_body: int
    errors: Mapping[str, Collection[int]] | None
    health_paths: Collection[str]
    arm_header: str | None
    monitor: SLOMonitor | None
    flows: Mapping[str, str] | None
    tape: str | os.PathLike[str] | TapeRecorder | None
    spans: bool
    tracer_provider: TracerProvider | None
    environ: Mapping[str, str] | None
    caches: bool
    preflight: Literal["key", "both"]


class Gate(Forkable):
    """Admits requests and observes what became of them, for one controller.

    Args:
        controller: Decides the share, and is told the outcomes.
        key: Called with the scope or the environ, gives the key of a request (text or bytes), or
            None where it has none; then the plan's `key_sources` are asked. What it raises is a
            fault, and the baseline serves the request.
        contract: What a valid response is: a JSON Schema, a type, what `canario.contracts`
            makes, a mapping of routes to these, or a callable, which is called with (route,
            status, headers, body) and returns or raises what is wrong. Whole responses are
            checked, after they are sent, and without their content codings.
        contract_routes: The routes that the contract is about; None for all of them.
        contract_max_body: Longer bodies (bytes) are not checked, and counted so.
        errors: Statuses below 500 that a route counts as errors: `{"/evaluate": {409, 422}}`.
            In all options what a route's parameters are called makes no difference.
        health_paths: Paths whose requests stay out of the latency, below whatever the app that
            serves them is mounted at.
        arm_header: Name of a response header that tells the arm; None for none.
        monitor: Records every request that says something about the service, by its route. Its
            alerts are evaluated beside the requests when it is time, and after a broken contract.
        flows: Names of flows for routes, to record under instead:
            `{"/evaluate": "decalogo_evaluation"}`.
        tape: Records every request, to be judged again: a file's path, or a recorder.
        spans: False opens no span for a request, and annotates none.
        tracer_provider: Where spans are opened; by default OpenTelemetry's global provider, as
            soon as the host has set one.
        environ: Where the secrets for forced arms and for users' keys are read from;
            `os.environ` by default.
        caches: False leaves what responses say to caches as it is.
        preflight: Who answers a preflight of CORS that has no key: `key`, the baseline, as all
            requests without one; `both`, whichever version allows what it asks for.

    Raises:
        ConfigError: When the plan names a secret that the environment does not hold, or a
            trusted peer that is no address, and when an option is not of its kind.
    """

    def __init__(
        self,
        controller: CanaryDeploymentController,
        *,
        key: KeyFunction | None = None,
        contract: Any = None,
        contract_routes: Collection[str] | None = None,
        contract_max_body: int = 64 * 1024,
        errors: Mapping[str, Collection[int]] | None = None,
        health_paths: Collection[str] = HEALTH_PATHS,
        arm_header: str | None = None,
        monitor: SLOMonitor | None = None,
        flows: Mapping[str, str] | None = None,
        tape: str | os.PathLike[str] | TapeRecorder | None = None,
        spans: bool = True,
        tracer_provider: TracerProvider | None = None,
        environ: Mapping[str, str] | None = None,
        caches: bool = True,
        preflight: Literal["key", "both"] = "key",
    ) -> None:
        check_options(
            controller,
            contract_routes=contract_routes,
            errors=errors,
            flows=flows,
            health_paths=health_paths,
            monitor=monitor,
        )
        if preflight not in ("key", "both"):
            raise ConfigError("middleware", "preflight", f"is {preflight!r}; valid: key, both")
        if arm_header is not None:
            _check_arm_header(arm_header)
        routing = controller.deployment.routing
        self.controller = controller
        self.max_body = contract_max_body
        self.arm_header = arm_header
        self.monitor = monitor
        if monitor is not None:
            monitor.follow(controller)  # burn rates over windows that fit the present stage
        self.alerts = None if monitor is None else self._evaluator(monitor)
        self._flows = _by_route("flows", {r: str(flow) for r, flow in (flows or {}).items()})
        self._sources = [key_source(spec) for spec in routing.key_sources]
        self._anonymous = routing.anonymous_cookie
        self._asked = routing.key_sources
        if key is not None:
            self._sources.insert(0, self._function_source(key))
            self._asked = ("key=", *self._asked)
        self._caches = caches
        self._asks_both = preflight == "both"
        self._varies = varies_by(routing, key is not None)
        self._keys_seen: list[bool] | None = []  # until they were looked at
        self._keys_refused: list[str] = []  # why, of those
        environ = os.environ if environ is None else environ
        self._forced = _forced_arms(controller, environ)
        self.tracer = (
            RequestTracer(controller, tracer_provider, _user_key_secret(controller, environ))
            if spans
            else None
        )
        self.tape = None if tape is None else _recorder(tape)
        self._mark: type[Mark] | None = None
        if self.tape is not None:
            controller.record_to(self.tape)
            self._mark = self.tape.mark
        self._keeps_keys = self.tape is not None or (
            self.tracer is not None and self.tracer.names_keys
        )
        self._checker: ContractChecker | None = None
        if contract is not None:
            self._checker = ContractChecker(
                contract_of(contract),
                self._report,
                count=controller.count,
                limit=contract_max_body,
            )
        self._contract_routes = (
            None if contract_routes is None else Lookup(dict.fromkeys(contract_routes, True))
        )
        self._errors = _by_route("errors", {r: frozenset(c) for r, c in (errors or {}).items()})
        self._health_paths = frozenset(health_paths)
        self._health_ends = tuple(self._health_paths)
        self._slow_ms = controller.deployment.rollback_thresholds.max_p95_latency_ms
        self._telling_ms = self._slow_ms
        if monitor is not None:
            self._telling_ms = min(self._slow_ms, monitor.objectives.p95_latency_ms)
        self._begun = False
        self._refused = False  # the journal is another one's; perhaps not for ever
        self._ticker = Ticker(self._look)
        clock = controller.clock
        # A live clock's controller looks after itself; what a test moves is not to be disturbed.
        self._drives = not (isinstance(clock, ManualClock) or getattr(clock, "live", False))
        renew_in_child(self)
        # Requests that the garbage collector ended, with what names their route, and when.
        self._dropped: deque[tuple[Exchange, Callable[[], str | None], float]] = deque()
        self._open = controller.admit
        self._watch = self._route_watch(errors, flows, contract_routes)
        # Nobody else asks for the name of a route.
        self.names_routes = self._watch is not None or self._checker is not None
        self._watching = self._watch is not None

    def start(self) -> None:
        """Begin the rollout if it has not begun: at the server's start-up or the first request."""
        if self._begun:
            return
        try:
            self.controller.start()  # whoever else comes first waits here, so all are counted
            self._told_to_begin()
        except (JournalError, OSError) as error:
            self._refused = isinstance(error, JournalLockedError)
            self._say_refused(error)
        except BaseException as error:
            self.fault("starting the rollout", error)
        if self.tracer is not None:
            self.tracer.look()
        self._begun = True  # even if it failed: asking again would only repeat the error
        if self._refused or self.alerts is not None or self._drives:
            self._ticker.start()

    def admit(
        self, exchange: Exchange, carrier: Carrier, method: str, path: str, secure: bool
    ) -> bool:
        """Choose the arm of a new exchange.

        False when that failed: the baseline is to serve it, and nothing to be observed.

        Args:
            exchange: What is filled in.
            carrier: Where its key is read from.
            method: The request's method.
            path: The request's path.
            secure: Whether it came over TLS.
        """
        controller = self.controller
        exchange.gate = self
        if self._dropped:
            self.sweep()
        exchange.outer = present.get()
        try:
            if not self._begun:
                self.start()
            exchange.started_at = now = controller.clock()
            # Before it is one of those in flight: whatever time was lost, it was lost before.
            if now >= controller.next_look or now >= controller.due:
                controller.tick()
            if method in _UNTIMED_METHODS or path in self._health_paths:
                exchange.timed = False
                if method == "OPTIONS":
                    exchange.preflight = asked(carrier)
            elif path.endswith(self._health_ends):
                if carrier.path() in self._health_paths:
                    exchange.timed = False
                else:
                    exchange.perhaps_health = True
            if controller.router.weight:  # else it is nobody's: an abort beats every claim
                self._route(exchange, carrier, secure)
            elif self.tape is not None:
                with suppress(InvalidKeyError):
                    exchange.key = self._key(carrier)
            if self._checker is not None and method != "HEAD":
                exchange.body = []
                exchange.method = method
            self._open(exchange)
        except BaseException as error:
            self.fault("routing", error)
            return False
        return True

    def finish(self, exchange: Exchange, route: str | None, *, at: float | None = None) -> None:
        """Observe a request that has ended, once; later calls change nothing.

        Args:
            exchange: The request; see its attributes for what must be filled in.
            route: Template of the route that served it; None when the app has none.
            at: When it ended; by default the present instant.
        """
        if exchange.observed:
            return
        exchange.observed = True
        try:
            now = self.controller.clock() if at is None else at
            if now >= self.controller.next_look:  # what nobody watched is no part of a latency
                self.controller.tick()
            if exchange.perhaps_health:
                self.know_health(exchange)
            outcome, latency_ms = self._worth(exchange, route, now)
            if exchange.span is not None:
                exchange.span.note_worth(outcome, latency_ms)
            mark = None if self._mark is None else self._marked(exchange, route)
            self.controller.observe(
                exchange.arm, outcome, latency_ms, now=now, mark=mark, request=exchange
            )
            if self.monitor is not None and exchange.abandoned_at is None:
                self._record(self.monitor, exchange, outcome, latency_ms, route)
            if self.alerts is not None and now >= self.alerts.due:
                self.alerts.look(now)
            if self._watch is not None and (self._watching or route is None):
                self._see_route(self._watch, exchange, route)
            # Whoever was given up has been counted as failed: its answer is nobody's any more.
            late = exchange.abandoned_at is not None
            if self._checker is not None and exchange.complete and not late:
                self._submit(self._checker, exchange, route or "")
        except BaseException as error:
            self.fault("observing", error)

    def headers_for(
        self,
        exchange: Exchange,
        status: int | None,
        headers: Sequence[tuple[bytes, bytes]],
        method: str,
    ) -> list[tuple[bytes, bytes]]:
        """The headers of a response with the cookie that is to be set, and with what caches need
        to know of an arm that was chosen. Asked where there is a cookie, or `concerns_caches`.
        """
        cookie = None if exchange.set_cookie is None else exchange.set_cookie.encode("latin-1")
        if not self._caches:
            return [*headers] if cookie is None else [*headers, (b"set-cookie", cookie)]
        chosen = exchange.arm == "canary" or exchange.reason == "targeting_match"
        made = adapt(
            headers,
            status=status,
            safe=method in ("GET", "HEAD"),
            varies=self._varies,
            passing=chosen and self.controller.state.phase is not Phase.COMPLETED,
            cookie=cookie,
        )
        if made.withheld:
            self.controller.count("cookie_withheld")
            self.controller.warn(
                f"the cookie {self._anonymous!r} is left out of responses that shared caches may "
                "store (Cache-Control: public, max-age and the like), since they would give it to "
                "others; a user is kept in one bucket from the first other response on"
            )
        return made.headers

    def know_health(self, exchange: Exchange) -> None:
        """Leave a health check out of the latency, once the router below has named its path."""
        if exchange.perhaps_health and exchange.path() in self._health_paths:
            exchange.timed = False

    def give_up(self, exchange: Exchange) -> None:
        """The controller has counted a request as failed while it was in flight, since nobody
        was answered; tell the monitor. Never raises."""
        try:
            if self.monitor is not None:
                flow = self.flow_of(exchange.find_route() if self.names_routes else None)
                self.monitor.record_request(flow, False, None)
        except BaseException as error:
            self.fault("observing", error)

    def drop(self, exchange: Exchange, route: Callable[[], str | None]) -> None:
        """Keep a request that the garbage collector ended for a later one to observe.

        The collector may run anywhere, even under the controller's lock, so nothing else is done
        here. `route` is called then, for the route's template.
        """
        with suppress(Exception):
            self._dropped.append((exchange, route, self.controller.clock()))

    def sweep(self) -> None:
        """Observe the requests that were dropped."""
        with suppress(IndexError):  # another thread may take them too
            while True:
                exchange, route, at = self._dropped.popleft()
                self.finish(exchange, route(), at=at)

    def mark_of(self, exchange: Exchange) -> Mark | None:
        """What the tape will say of a request that is still being served; None without a tape."""
        if self._mark is not None and exchange.mark is None:
            exchange.mark = self._mark(
                exchange.arrived_at,
                exchange.key,
                flight=self._mark.TIMED if exchange.timed else self._mark.UNTIMED,
            )
        return exchange.mark

    def may_check(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """False when the contract can say nothing of a response that begins so. Never raises."""
        try:
            return self._checker is not None and may_be_about(
                self._checker.contract, status, headers
            )
        except BaseException as error:
            self.fault("asking a contract", error)
            return False

    def report_violation(self, arm: Arm, violation: Violation, mark: Mark | None = None) -> None:
        """Tell the controller and the monitor of a broken contract. Never raises."""
        try:
            self.controller.report_violation(arm, violation, mark=mark)
            if self.monitor is not None:
                self.monitor.record_violation(self.flow_of(violation.route), violation)
            if self.alerts is not None:
                self.alerts.soon()
        except BaseException as error:
            self.fault("reporting a broken contract", error)

    def flow_of(self, route: str | None) -> str:
        """What the monitor calls the requests of a route."""
        return self._flows(route or "") or route or _UNNAMED

    def fault(self, where: str, error: BaseException) -> None:
        """Count an error of canario's own, or of what it has called.

        Raises nothing, whatever the controller does, but an `error` that is an interrupt.
        """
        pass_on(error)
        self._note_fault(where, error)

    def pass_over(self, why: str) -> None:
        """Count a response that its contract is not shown, and say why. Never raises."""
        try:
            if self._checker is not None:
                self._checker.pass_over(why)
        except BaseException as error:
            self.fault("passing over a response", error)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the contract has seen all responses so far, and alerts are evaluated that
        are to be; False when either took longer than `timeout` (s)."""
        checked = self._checker is None or self._checker.drain(timeout)
        return checked and (self.alerts is None or self.alerts.drain(timeout))

    def after_fork_in_child(self) -> None:
        """Begin anew: what ticks has stayed behind, and a journal may have."""
        self._begun = self._refused = False

    def _told_to_begin(self) -> None:
        controller = self.controller
        # On a clock that somebody moves it is a test, and nothing outlives that.
        live = getattr(controller.clock, "live", False)
        if live and not controller.keeps_journal and controller.state.phase is Phase.RUNNING:
            controller.warn(
                "no journal is kept, so a process that is restarted or recycled begins this "
                "release anew, even if it was rolled back; give the controller a journal=, a file "
                "that outlives the process"
            )

    def _say_refused(self, error: Exception) -> None:
        with suppress(Exception):
            self.controller.count("faults")
            self.controller.count("journal_refused")
            self.controller.warn(
                f"the rollout has not begun here, and the baseline serves everybody: {error}"
            )

    def _look(self) -> float | None:
        """On the ticker's thread: what no request does. Seconds until the next time."""
        controller = self.controller
        self.sweep()
        if self._refused:
            try:
                controller.start()
            except JournalLockedError:
                return LONGEST_SECONDS
            except Exception as error:
                self._say_refused(error)
            else:
                controller.warn("the journal is free: the rollout is taken up here")
            self._refused = False
        seconds = LONGEST_SECONDS
        if self._drives:
            seconds = controller.tick() - controller.clock()
        if self.alerts is not None:
            self.alerts.look(controller.clock())
            return seconds
        return None if controller.state.phase.terminal or not self._drives else seconds

    def _marked(self, exchange: Exchange, route: str | None) -> Mark | None:
        """What the tape says of a request that has ended."""
        mark = self.mark_of(exchange)
        if mark is not None:
            mark.route = route
            if exchange.first_at is not None:
                mark.flight = mark.STREAM
        return mark

    def _record(
        self,
        monitor: SLOMonitor,
        exchange: Exchange,
        outcome: Outcome,
        latency_ms: float | None,
        route: str | None,
    ) -> None:
        """Tell the monitor what the controller was told."""
        if outcome is Outcome.NEUTRAL:
            return
        good = outcome is Outcome.GOOD
        span = exchange.span
        slow = latency_ms is not None and latency_ms > self._telling_ms
        if span is not None and span.kept and (slow or not good):
            # An example for an alert: whoever is told shall find the trace.
            monitor.record_request(self.flow_of(route), good, latency_ms, trace_id=span.trace_id)
        else:
            monitor.record_request(self.flow_of(route), good, latency_ms)

    def _evaluator(self, monitor: SLOMonitor) -> AlertEvaluator:
        return AlertEvaluator(
            monitor.evaluate_alert_rules,
            interval=monitor.objectives.evaluation_interval_seconds,
            on_error=partial(self._note_fault, "evaluating alerts"),
        )

    def _note_fault(self, where: str, error: BaseException) -> None:
        """`fault`, on a thread of canario's own, where an interrupt is one like the others."""
        try:
            self.controller.fault(where, error)
        except BaseException as own:
            pass_on(own)

    def _route(self, exchange: Exchange, carrier: Carrier, secure: bool) -> None:
        controller = self.controller
        if self._forced is not None:
            try:
                forced = self._forced.read(carrier, exchange.started_at)
            except ClaimRefusedError:
                controller.count("force_refused")
            else:
                if forced is not None:
                    controller.count("forced")
                    exchange.arm = forced
                    exchange.reason = "targeting_match"
                    return
        try:
            key = self._key(carrier)
        except InvalidKeyError as error:
            self._without_key("refused_key", exchange, error)
            exchange.reason = "error"
            return
        if key is None and exchange.preflight is not None:
            self._route_preflight(exchange)
            return
        if key is None and self._anonymous is not None:
            key = self._name_anonymous(exchange, self._anonymous, secure)
        if key is None:
            self._without_key("no_key", exchange)
            exchange.reason = "default"
            return
        if self._keys_seen is not None and exchange.timed:
            self._see_key(True)
        exchange.arm = controller.router.arm_of(key)
        exchange.reason = "split"
        if self._keeps_keys:
            exchange.key = key

    def _route_preflight(self, exchange: Exchange) -> None:
        """Choose for a preflight without a key: no cookie, since its browser would not keep it."""
        controller = self.controller
        controller.count("preflight_no_key")
        exchange.reason = "default"
        if self._asks_both:
            exchange.asks_both = True
            # By lot: counted for the canary as often as its users come, whoever answers.
            if secrets.randbelow(BUCKETS) < controller.router.weight:
                exchange.arm = "canary"
        else:
            controller.warn(
                "CORS preflights have no key, so the baseline answers those of the canary's users, "
                'too; preflight="both" has both versions asked, and a key source that is in the '
                "URL (path:, query:) or client sends them where the request will go"
            )

    def _key(self, carrier: Carrier) -> bytes | None:
        for source in self._sources:
            key = source(carrier)
            if key is not None:
                return key
        if self._anonymous is not None:
            value = cookie_value(carrier, self._anonymous.encode("latin-1"))
            return key_bytes(value) if value else None
        return None

    def _route_watch(
        self,
        errors: Mapping[str, Collection[int]] | None,
        flows: Mapping[str, str] | None,
        contract_routes: Collection[str] | None,
    ) -> RouteWatch | None:
        contract = None if self._checker is None else self._checker.contract
        thresholds = self.controller.deployment.rollback_thresholds
        named = {
            "contract": contract.routes if isinstance(contract, RouteContracts) else (),
            "contract_routes": contract_routes or (),
            "abandoned_after_by_route": thresholds.abandoned_after_by_route,
            "errors": errors or (),
            "flows": (flows or ()) if self.monitor is not None else (),
        }
        needed_by = {option for option, routes in named.items() if routes}
        if isinstance(contract, ResponseContract) and contract.by_route:
            needed_by.add("contract")
        if self.monitor is not None:
            needed_by.add("monitor")
        if self.tape is not None:
            needed_by.add("tape")
        if not needed_by:
            return None
        controller = self.controller
        return RouteWatch(named, sorted(needed_by), controller.warn, controller.count)

    def _see_route(self, watch: RouteWatch, exchange: Exchange, route: str | None) -> None:
        # What nobody serves has no route, and is no sign of anything.
        if exchange.status == 404:
            return
        if route is None:
            self.controller.count("no_route")
        if self._watching and exchange.timed:
            self._watching = watch.see(route)

    def _function_source(self, function: Any) -> KeySource:
        if not callable(function) or iscoroutinefunction(function):
            problem = f"is {function!r}; it must be a function that returns text, bytes or None"
            raise ConfigError("middleware", "key", problem)

        def find(carrier: Carrier) -> bytes | None:
            try:
                key = function(carrier.request())
                if key is not None and not isinstance(key, str | bytes):
                    raise TypeError(f"key= returned {key!r}; it must be text, bytes or None")
            except BaseException as error:
                self.fault("asking key= for a key", error)
                raise _KeyFailedError(f"key= failed: {type(error).__name__}: {error}") from error
            return None if key is None else key_bytes(key)

        return find

    def _without_key(
        self, what: str, exchange: Exchange, refused: InvalidKeyError | None = None
    ) -> None:
        asked = self._asked
        if isinstance(refused, _KeyFailedError):  # no other source was asked after it
            asked = (f"key=, which failed: {type(refused.__cause__).__name__}",)
        self.controller.count_without_key(what, asked)
        if self._keys_seen is not None and exchange.timed:
            self._see_key(False, refused)

    def _see_key(self, found: bool, refused: InvalidKeyError | None = None) -> None:
        """Warn early of a release that reaches nobody. Health checks and the like need no key."""
        seen = self._keys_seen
        if seen is None:
            return
        if refused is not None:
            self._keys_refused.append(str(refused))
        seen.append(found)
        if len(seen) < _FIRST_KEYS:
            return
        self._keys_seen = None
        without = seen.count(False)
        if without <= 0.9 * len(seen):
            return
        said = (
            f"{without} of the first {len(seen)} requests had no key, so the baseline served "
            "them and the canary will see hardly anybody"
        )
        if self._keys_refused:
            said += (
                f"; what {len(self._keys_refused)} of them gave for one was refused, at first "
                f"since {self._keys_refused[0]}"
            )
        if len(self._keys_refused) < without:
            otherwise = (
                "have key= give one" if "key=" in self._asked else "give the middleware key="
            )
            said += (
                f"; asked was {', '.join(self._asked) or 'nothing'}. Name a source that these "
                "requests have in routing.key_sources (header:NAME, cookie:NAME, user, client, "
                f"client:N, query:NAME, path:/plans/{{id}}), set routing.anonymous_cookie, or "
                f"{otherwise}"
            )
        self.controller.warn(said)

    def _name_anonymous(self, exchange: Exchange, name: str, secure: bool) -> bytes:
        """Give the user a random key to come back with: it carries the bucket of every release."""
        outer = exchange.outer
        while outer is not None:  # a release around this one may have given one under that name
            if outer.given is not None and outer.given[0] == name:
                exchange.given = outer.given
                return outer.given[1]
            outer = outer.outer
        key = secrets.token_urlsafe(16)
        exchange.given = name, key.encode()
        exchange.set_cookie = (
            f"{name}={key}; Path=/; Max-Age={_COOKIE_SECONDS}; HttpOnly; SameSite=Lax"
            + ("; Secure" if secure else "")
        )
        return key.encode()

    def _worth(
        self, exchange: Exchange, route: str | None, now: float
    ) -> tuple[Outcome, float | None]:
        """What the request says about the service, and its latency in ms."""
        if exchange.settled is not None:
            return exchange.settled, None
        ended_at = now if exchange.first_at is None else exchange.first_at
        latency_ms = None
        if exchange.timed:
            latency_ms = (ended_at - exchange.started_at) * 1000
            # A clock that went back, or a stream that went on for longer than a day.
            if not 0 <= latency_ms <= LONGEST_MS:
                latency_ms = min(max(latency_ms, 0.0), LONGEST_MS)
        status = exchange.status
        if status == 200 and exchange.complete and not (exchange.left or self._errors):
            return Outcome.GOOD, latency_ms  # as nearly all are
        return worth(
            status,
            latency_ms,
            limit_ms=self._slow_ms,
            errors=(self._errors(route) or ()) if self._errors else (),
            left=exchange.left and exchange.first_at is None,
            failed=exchange.failed or not (exchange.complete or exchange.left),
        )

    def _submit(self, checker: ContractChecker, exchange: Exchange, route: str) -> None:
        if exchange.body is None or exchange.status is None:
            return
        if self._contract_routes is not None and not self._contract_routes(route):
            return
        fits = exchange.body_bytes <= self.max_body
        response = Response(
            exchange.arm,
            route,
            exchange.status,
            exchange.response_headers,
            b"".join(exchange.body),
            exchange.span_context,
            exchange.method,
            exchange.mark,
        )
        if fits:
            checker.submit(response)
        else:
            checker.pass_over(f"its body does not pass through here in {self.max_body} bytes")

    def _report(self, response: Response, violation: Violation) -> None:
        span = response.span
        if span is not None and violation.trace_id is None:
            violation = replace(violation, trace_id=format_trace_id(span.trace_id))
        with as_current(span):
            self.report_violation(response.arm, violation, response.mark)


class _KeyFailedError(InvalidKeyError):
    """What the host's own function raised, or it gave what can be no key."""


def _by_route(option: str, values: Mapping[str, Any]) -> Lookup:
    known: dict[str, str] = {}
    for route in values:
        other = known.setdefault(normal_route(route), route)
        if values[other] != values[route]:
            problem = f"{other!r} and {route!r} are one route, but for parameters' names"
            raise ConfigError("middleware", option, problem)
    return Lookup(values)


def _check_arm_header(name: str) -> None:
    try:
        check_token("arm_header", name, "header")
        if name.lower() in _TAKEN:
            raise ValueError(f"arm_header is {name!r}, which means something else already")
    except ValueError as error:
        problem = f"{error}; a name such as X-Canary-Arm is valid"
        raise ConfigError("middleware", "arm_header", problem) from error


def _recorder(tape: str | os.PathLike[str] | TapeRecorder) -> TapeRecorder:
    from canario.tape import TapeRecorder  # what brings SQLite is imported where it is used

    return tape if isinstance(tape, TapeRecorder) else TapeRecorder(tape)


def _user_key_secret(
    controller: CanaryDeploymentController, environ: Mapping[str, str]
) -> bytes | None:
    variable = controller.plan.tracing.user_key_secret_env
    if variable is None:
        return None
    secret = environ.get(variable, "").encode()
    if not secret:
        raise ConfigError(
            variable,
            "",
            "is empty or not set; tracing.user_key_secret_env names it for the HMAC secret",
        )
    return secret


def _forced_arms(
    controller: CanaryDeploymentController, environ: Mapping[str, str]
) -> ForcedArmReader | None:
    plan = controller.deployment.routing.forced_arms
    if plan is None:
        return None
    secret = None
    if plan.secret_env is not None:
        secret = environ.get(plan.secret_env, "").encode()
        if not secret:
            raise ConfigError(
                plan.secret_env, "", "is empty or not set; forced_arms names it for the HMAC secret"
            )
    try:
        return ForcedArmReader(plan, controller.deployment_id, secret)
    except ValueError as error:
        raise ConfigError(
            "plan", "deployment.routing.forced_arms.trusted_peers", str(error)
        ) from error
