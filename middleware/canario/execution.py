"""A rollout run on requests that a generator gives: the documented way without a web app."""

from __future__ import annotations

import inspect
import time
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, cast

from .clock import Clock, ManualClock
from .control.result import DeploymentResult
from .control.rollout import Outcome
from .control.state import State
from .limits import duration_ms, truth
from .routing.router import Arm, TrafficRouter

if TYPE_CHECKING:
    from .tape.mark import Mark

__all__ = ["Fields", "Requests", "execute"]

# A request that was handled: its id, its latency (ms), whether it succeeded, and whether what it
# answered was valid.
Fields = tuple[str, float, bool, bool]
Requests = Callable[[], "Fields | Iterable[Fields] | AsyncIterable[Fields] | None"]

# What a tape says of a request, by its id and the instant when it arrived.
MarkOf = Callable[[str, float], "Mark | None"]

# What an exhausted generator of requests answers.
_END: Any = object()

# How long a run waits when its generator says that there is no request.
_IDLE_SECONDS = 0.05


class Guard(Protocol):
    """Who is told of the requests: a controller."""

    @property
    def clock(self) -> Clock: ...
    @property
    def router(self) -> TrafficRouter: ...
    @property
    def state(self) -> State: ...
    def start(self) -> None: ...
    def tick(self) -> float: ...
    def result(self) -> DeploymentResult: ...
    def observe(
        self,
        arm: Arm,
        outcome: Outcome,
        latency_ms: float | None = None,
        *,
        now: float | None = None,
        mark: Mark | None = None,
    ) -> None: ...
    def report_violation(
        self, arm: Arm, violation: str, *, now: float | None = None, mark: Mark | None = None
    ) -> None: ...


def execute(
    guard: Guard, requests: Requests, mark_of: MarkOf
) -> DeploymentResult | Coroutine[Any, Any, DeploymentResult]:
    """See `CanaryDeploymentController.execute_deployment`."""
    if inspect.isasyncgenfunction(requests):
        return _execute_async(guard, requests(), mark_of)
    following = cast("Callable[[], Fields | None]", requests)
    if inspect.isgeneratorfunction(requests):
        following = partial(next, requests(), _END)
    guard.start()
    while not guard.state.phase.terminal:
        before = guard.clock()
        request = following()
        if request is _END:
            break
        if request is None:
            _idle(guard)
        else:
            _execute_one(guard, request, before, mark_of)
    return guard.result()


async def _execute_async(
    guard: Guard, requests: AsyncIterable[Fields], mark_of: MarkOf
) -> DeploymentResult:
    import asyncio  # costs 40 ms, and whoever awaits has paid them

    guard.start()
    before = guard.clock()
    if not guard.state.phase.terminal:
        async for request in requests:
            _execute_one(guard, request, before, mark_of)
            if guard.state.phase.terminal:
                break
            before = guard.clock()
            # Let others run even when the generator never waits for anything.
            await asyncio.sleep(0)
    return guard.result()


def _execute_one(guard: Guard, request: Fields, before: float, mark_of: MarkOf) -> None:
    request_id, latency_ms, success, contract_valid = request
    latency_ms = duration_ms("latency_ms", latency_ms)
    success = truth("success", success)
    contract_valid = truth("contract_valid", contract_valid)
    # The arm is what the generator was told: the share has not changed since.
    arm = guard.router.route_request(request_id)
    clock = guard.clock
    if isinstance(clock, ManualClock) and clock() == before:
        # Where requests take no time at all a stage would never end.
        clock.advance(max(latency_ms, 1.0) / 1000)
    now = clock()
    mark = mark_of(request_id, before)
    outcome = Outcome.GOOD if success else Outcome.BAD
    guard.observe(arm, outcome, latency_ms, now=now, mark=mark)
    if not contract_valid:
        # Without the id: it is what the user is routed by, and this goes into logs.
        guard.report_violation(arm, "the request broke its contract", now=now, mark=mark)


def _idle(guard: Guard) -> None:
    if isinstance(guard.clock, ManualClock):
        guard.clock.advance(_IDLE_SECONDS)
    else:
        time.sleep(_IDLE_SECONDS)
    guard.tick()
