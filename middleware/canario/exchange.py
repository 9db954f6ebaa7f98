"""One request that is being served: its arm, what has been seen of it, and who looks after it.

It is what all rooms around a request have in common, so it knows none of them: those that it has
to call are protocols here.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from .control.rollout import Outcome
from .control.violation import Violation
from .preflight import Asked
from .routing.router import Arm

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext

    from .tape.mark import Mark

__all__ = ["Exchange", "Finished", "Overseer", "Reason", "SpanOfRequest", "current_arm", "present"]

# Why a request has its arm, in the well-known words of feature_flag.result.reason.
Reason = Literal["split", "targeting_match", "default", "error", "static", "disabled"]


class Finished(NamedTuple):
    """A request that has ended: its route, what it says of the service, its latency (ms; None
    where it is not timed) and the instant."""

    route: str | None
    outcome: Outcome
    latency_ms: float | None
    at: float


class Overseer(Protocol):
    """Who looks after a request from its arrival to its end: the middleware's gate."""

    @property
    def controller(self) -> Any:
        """Who is told what the request was worth."""

    def fault(self, where: str, error: BaseException) -> None:
        """Count an error of canario's own. Raises only an `error` that is an interrupt."""

    def know_health(self, exchange: Exchange) -> None:
        """Leave a health check out of the latency, once its path is known."""

    def give_up(self, exchange: Exchange) -> None:
        """The request has been counted as failed, since nobody was answered. Never raises."""

    def mark_of(self, exchange: Exchange) -> Mark | None:
        """What a tape will say of the request; None without a tape."""

    def may_check(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """False when no contract can say anything of a response that begins so. Never raises."""

    def pass_over(self, why: str) -> None:
        """Count a response that its contract is not shown. Never raises."""

    def report_violation(self, arm: Arm, violation: Violation, mark: Mark | None = None) -> None:
        """Tell of a broken contract. Never raises."""


class SpanOfRequest(Protocol):
    """What the request is traced by: see `canario.tracing.request_span.RequestSpan`."""

    span: Span

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hex digits."""

    @property
    def kept(self) -> bool:
        """Whether the span was sampled, so that its trace can be looked up."""

    def note_worth(self, outcome: Outcome, latency_ms: float | None) -> None:
        """Say what the controller is told of the request. Never raises."""


class Exchange:
    """One request from its arrival to the end of its response.

    The middleware that carries the request fills in what it sees: `status` and
    `response_headers` when the response starts, `first_at` for a response that is timed to its
    first message, `complete` with the last message, `left` when the client went away before it,
    `failed` when the app raised, or its status is none. `body` collects what a contract is to
    see; None when none is. `reason` says why the request has its arm, and `span` is what it is
    traced by.
    """

    # What each request reads, in slots: what is read off a class takes the interpreter's slow path.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "arm",
        "asks_both",
        "body",
        "complete",
        "failed",
        "first_at",
        "gate",
        "left",
        "observed",
        "perhaps_health",
        "reason",
        "set_cookie",
        "settled",
        "span",
        "started_at",
        "status",
        "timed",
    )

    # What few do.
    preflight: Asked | None = None  # what it asks for, if it is a preflight of CORS
    given: tuple[str, bytes] | None = None  # the cookie's name and the key in it, once given
    response_headers: Sequence[tuple[bytes, bytes]] = ()
    method = ""  # known only where a contract may ask for it
    body_bytes = 0
    key: bytes | None = None  # kept only where it is to be hashed, for the span or a tape
    outer: Exchange | None = None  # the same request's, in a release around this one
    noted_route: str | None = None  # by a framework that tells of it while it serves the request
    mark: Mark | None = None  # what a tape says of it, where one is recorded
    abandoned_at: float | None = None  # when it was counted as failed, since nobody was answered
    pieces = 0  # of a body that has more of them, to tell one that goes on from one that stalls
    _pieces_seen = 0
    _silent_since: float | None = None
    _arrived_at: float | None = None  # where that is not `started_at`

    def __init__(self) -> None:
        self.gate: Overseer | None = None  # once it is admitted
        self.arm: Arm = "baseline"
        self.started_at = 0.0
        self.timed = True
        # Its path may be a health check's once a router has shortened it.
        self.perhaps_health = False
        self.set_cookie: str | None = None
        self.asks_both = False  # whether both versions are to answer it, a preflight
        self.settled: Outcome | None = None  # what it says of the service, where that is known
        self.status: int | None = None
        self.first_at: float | None = None
        self.complete = self.left = self.failed = self.observed = False
        self.body: list[bytes] | None = None
        self.reason: Reason = "disabled"  # until a share is there to be part of
        self.span: SpanOfRequest | None = None

    @property
    def arrived_at(self) -> float:
        """See `canario.control.open_requests.Request`."""
        return self.started_at if self._arrived_at is None else self._arrived_at

    def unwatched(self, seconds: float) -> None:
        """See `canario.control.open_requests.Request`."""
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
        """See `canario.control.open_requests.Request`."""
        if self.gate is not None:
            try:
                self.gate.know_health(self)
            except BaseException as error:
                self.gate.fault("reading a path", error)
        return self.timed

    def silent_since(self, at: float) -> float:
        """See `canario.control.open_requests.Request`."""
        if self.pieces != self._pieces_seen:
            self._pieces_seen, self._silent_since = self.pieces, at
        return self.started_at if self._silent_since is None else self._silent_since

    def tape_mark(self) -> Mark | None:
        """See `canario.control.open_requests.Request`."""
        return None if self.gate is None else self.gate.mark_of(self)

    def given_up(self) -> None:
        """See `canario.control.open_requests.Request`."""
        if self.gate is not None:
            self.gate.give_up(self)

    def turn_away(self) -> None:
        """Have the baseline serve the request as if canario were not here, after a fault."""
        self.arm, self.reason = "baseline", "error"
        self.observed = True
        self.set_cookie = self.body = None
        self.asks_both = False

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


present: ContextVar[Exchange | None] = ContextVar("canario.request", default=None)


def current_arm() -> Arm:
    """`"baseline"` or `"canary"`: the arm of the request being served; baseline outside one."""
    exchange = present.get()
    return "baseline" if exchange is None else exchange.arm
