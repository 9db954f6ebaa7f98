"""What the ASGI and the WSGI middleware share: who goes where, and what a request was worth.

Nothing here knows either protocol. One `Gate` serves all requests; one `Exchange` belongs to one
request. An exception in here is counted as a fault, and the request is served by the baseline.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from canario.clock import ManualClock
from canario.control.journal import JournalError
from canario.control.rollout import GOOD, Outcome
from canario.control.state import Phase
from canario.control.violation import Violation
from canario.control.worth import worth
from canario.controller import CanaryDeploymentController
from canario.exchange import Exchange, Finished, present
from canario.host.fork import Forkable, renew_in_child
from canario.host.interrupts import pass_on
from canario.host.ticker import LONGEST_SECONDS, Ticker
from canario.limits import LONGEST_MS
from canario.preflight import asked
from canario.routing.bucket import InvalidKeyError
from canario.routing.keys import Carrier
from canario.routing.router import Arm
from canario.stores import JournalLockedError
from canario.tracing.request import RequestTracer

from .caching import adapt, varies_by
from .checking import Checking
from .chooser import Chooser
from .objectives import Objectives
from .options import (
    HEALTH_PATHS,
    KeyFunction,
    by_route,
    check_options,
    forced_arms,
    recorder_of,
    user_key_secret,
)
from .route_watch import watch_of

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from canario.slo import SLOMonitor
    from canario.tape import TapeRecorder
    from canario.tape.mark import Mark

__all__ = ["Gate"]

_outer = present.get

# Told of each request that has ended, after the controller.
Observer = Callable[[Exchange, Finished], object]

_LONGEST_MS = float(LONGEST_MS)

# These answer without doing the work that a latency limit is about.
_UNTIMED_METHODS = frozenset({"HEAD", "OPTIONS"})


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
            preflight=preflight,
            arm_header=arm_header,
        )
        self.controller = controller
        self.max_body = contract_max_body
        self.arm_header = arm_header
        names = by_route("flows", {r: str(flow) for r, flow in (flows or {}).items()})
        environ = os.environ if environ is None else environ
        forced = forced_arms(controller, environ)
        self.tracer = (
            RequestTracer(controller, tracer_provider, user_key_secret(controller, environ))
            if spans
            else None
        )
        self.tape = None if tape is None else recorder_of(tape)
        names_keys = self.tracer is not None and self.tracer.names_keys
        self._chooser = Chooser(
            controller,
            key,
            forced,
            asks_both=preflight == "both",
            keeps_keys=self.tape is not None or names_keys,
            fault=self.fault,
        )
        self._caches = caches
        self._varies = varies_by(controller.deployment.routing, key is not None)
        self._checking = (
            None
            if contract is None
            else Checking(
                contract,
                contract_routes,
                max_body=contract_max_body,
                tell=self.report_violation,
                count=controller.notices.count,
            )
        )
        self._errors = by_route("errors", {r: frozenset(c) for r, c in (errors or {}).items()})
        self._has_errors = bool(errors)
        # Only now is anything claimed: all that can be refused has been looked at.
        self._mark: type[Mark] | None = None
        if self.tape is not None:
            controller.record_to(self.tape)
            self._mark = self.tape.mark
        self._objectives = (
            None
            if monitor is None
            else Objectives(
                monitor, controller, names, partial(self._note_fault, "evaluating alerts")
            )
        )
        self._health_paths = frozenset(health_paths)
        self._health_ends = tuple(self._health_paths)
        # What few paths end with: a set tells sooner than `endswith`.
        self._tail = -min(2, *map(len, self._health_ends), 2)
        self._tails = frozenset(path[self._tail :] for path in self._health_ends)
        self._slow_ms = controller.deployment.rollback_thresholds.max_p95_latency_ms
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
        watch = watch_of(
            controller,
            contract=None if self._checking is None else self._checking.checker.contract,
            contract_routes=contract_routes,
            errors=errors,
            flows=flows,
            monitored=monitor is not None,
            taped=self.tape is not None,
        )
        # Nobody else asks for the name of a route.
        self.names_routes = watch is not None or self._checking is not None
        parts = (self._objectives, watch, self._checking)
        self._observers: tuple[Observer, ...] = tuple(
            part.observe for part in parts if part is not None
        )

    def start(self) -> None:
        """Begin the rollout if it has not begun: at the server's start-up or the first request."""
        if self._begun:
            return
        try:
            self.controller.start()  # whoever else comes first waits here, so all are counted
            self._warn_without_journal()
        except (JournalError, OSError) as error:
            self._refused = isinstance(error, JournalLockedError)
            self._say_refused(error)
        except BaseException as error:
            self.fault("starting the rollout", error)
        if self.tracer is not None:
            self.tracer.look()
        self._begun = True  # even if it failed: asking again would only repeat the error
        if self._refused or self._objectives is not None or self._drives:
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
        outer = _outer()
        if outer is not None:
            exchange.outer = outer
        try:
            if not self._begun:
                self.start()
            clock = controller.clock
            exchange.started_at = now = clock()
            # Before it is one of those in flight: whatever time was lost, it was lost before.
            if now >= controller.next_look or now >= controller.recording.due:
                controller.tick()
            if method in _UNTIMED_METHODS or path in self._health_paths:
                exchange.timed = False
                if method == "OPTIONS":
                    exchange.preflight = asked(carrier)
            elif path[self._tail :] in self._tails and path.endswith(self._health_ends):
                if carrier.path() in self._health_paths:
                    exchange.timed = False
                else:
                    exchange.perhaps_health = True
            # Looked at for each request: a worker that is stopped in a write keeps others from the
            # store, and nobody from this.
            if (
                controller.router.weight and not controller.withdrawn[0]
            ):  # else it is nobody's: an abort beats every claim
                self._chooser.choose(exchange, carrier, secure)
            elif self.tape is not None:
                with suppress(InvalidKeyError):
                    exchange.key = self._chooser.key_of(carrier)
            if self._checking is not None and method != "HEAD":
                exchange.body = []
                exchange.method = method
            take_in = self._open
            take_in(exchange)  # last: what fails before it leaves nobody in flight for ever
            if controller.presence is not None:
                controller.presence.enter(exchange.arm)
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
        exchange.observed = True  # at once: what fails below must not be counted twice instead
        try:
            controller = self.controller
            if controller.presence is not None:
                controller.presence.leave(exchange.arm)
            clock = controller.clock
            now = clock() if at is None else at
            if now >= controller.next_look:  # what nobody watched is no part of a latency
                controller.tick()
            if exchange.perhaps_health:
                self.know_health(exchange)
            ended_at = now if exchange.first_at is None else exchange.first_at
            latency_ms = None
            if exchange.timed:
                latency_ms = (ended_at - exchange.started_at) * 1000.0
                # A clock that went back, or a stream that went on for longer than a day.
                if not 0.0 <= latency_ms <= _LONGEST_MS:
                    latency_ms = min(max(latency_ms, 0.0), _LONGEST_MS)
            if (
                exchange.status == 200
                and exchange.complete
                and exchange.settled is None
                and not (exchange.left or self._has_errors)
            ):
                outcome = GOOD  # as nearly all are
            else:
                outcome, latency_ms = self._worth(exchange, route, latency_ms)
            if exchange.span is not None:
                exchange.span.note_worth(outcome, latency_ms)
            mark = None if self._mark is None else self._marked(exchange, route)
            controller.observe(
                exchange.arm, outcome, latency_ms, now=now, mark=mark, request=exchange
            )
            if self._observers:
                finished = Finished(route, outcome, latency_ms, now)
                for observe in self._observers:
                    observe(exchange, finished)
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
            self.controller.notices.count("cookie_withheld")
            self.controller.notices.warn(
                f"the cookie {self._chooser.anonymous!r} is left out of responses that shared "
                "caches may store (Cache-Control: public, max-age and the like), since they would "
                "give it to others; a user is kept in one bucket from the first other response on"
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
            if self._objectives is not None:
                self._objectives.give_up(exchange.find_route() if self.names_routes else None)
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
            return self._checking is not None and self._checking.may_check(status, headers)
        except BaseException as error:
            self.fault("asking a contract", error)
            return False

    def report_violation(self, arm: Arm, violation: Violation, mark: Mark | None = None) -> None:
        """Tell the controller and the monitor of a broken contract. Never raises."""
        try:
            self.controller.report_violation(arm, violation, mark=mark)
            if self._objectives is not None:
                self._objectives.violated(violation)
        except BaseException as error:
            self.fault("reporting a broken contract", error)

    def fault(self, where: str, error: BaseException) -> None:
        """Count an error of canario's own, or of what it has called.

        Raises nothing, whatever the controller does, but an `error` that is an interrupt.
        """
        pass_on(error)
        self._note_fault(where, error)

    def pass_over(self, why: str) -> None:
        """Count a response that its contract is not shown, and say why. Never raises."""
        try:
            if self._checking is not None:
                self._checking.checker.pass_over(why)
        except BaseException as error:
            self.fault("passing over a response", error)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until the contract has seen all responses so far, and alerts are evaluated that
        are to be; False when either took longer than `timeout` (s)."""
        checked = self._checking is None or self._checking.checker.drain(timeout)
        alerts = None if self._objectives is None else self._objectives.alerts
        return checked and (alerts is None or alerts.drain(timeout))

    def after_fork_in_child(self) -> None:
        """Begin anew: what ticks has stayed behind, and a journal may have."""
        self._begun = self._refused = False

    def _warn_without_journal(self) -> None:
        controller = self.controller
        # On a clock that somebody moves it is a test, and nothing outlives that.
        live = getattr(controller.clock, "live", False)
        if live and not controller.keeps_journal and controller.state.phase is Phase.RUNNING:
            controller.notices.warn(
                "no journal is kept, so a process that is restarted or recycled begins this "
                "release anew, even if it was rolled back; give the controller a journal=, a file "
                "that outlives the process"
            )

    def _say_refused(self, error: Exception) -> None:
        with suppress(Exception):
            self.controller.notices.count("faults")
            self.controller.notices.count("journal_refused")
            self.controller.notices.warn(
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
                controller.notices.warn("the journal is free: the rollout is taken up here")
            self._refused = False
        seconds = LONGEST_SECONDS
        if self._drives:
            seconds = controller.tick() - controller.clock()
        if self._objectives is not None:
            # For ever: alerts are about the service, which goes on when the rollout has ended.
            self._objectives.alerts.look(controller.clock())
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

    def _note_fault(self, where: str, error: BaseException) -> None:
        """`fault`, on a thread of canario's own, where an interrupt is one like the others."""
        try:
            self.controller.notices.fault(where, error)
        except BaseException as own:
            pass_on(own)

    def _worth(
        self, exchange: Exchange, route: str | None, latency_ms: float | None
    ) -> tuple[Outcome, float | None]:
        """What the request says about the service, and the latency that goes with it, in ms."""
        if exchange.settled is not None:
            return exchange.settled, None
        return worth(
            exchange.status,
            latency_ms,
            limit_ms=self._slow_ms,
            errors=(self._errors(route) or ()) if self._has_errors else (),
            left=exchange.left and exchange.first_at is None,
            failed=exchange.failed or not (exchange.complete or exchange.left),
        )
