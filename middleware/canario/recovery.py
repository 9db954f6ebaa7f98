"""Time from a fault to the recovery from it: of retries, of circuit breakers, of anything."""

from __future__ import annotations

import inspect
import logging
import sys
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from types import TracebackType
from typing import Any, Protocol, TypeVar, cast
from weakref import WeakKeyDictionary

from .clock import Clock
from .host.fork import ForkSafeLock
from .host.interrupts import pass_on

__all__ = ["FaultRecovery", "RecoveryMonitor", "breaker_listener", "on_retry"]

logger = logging.getLogger("canario")

F = TypeVar("F", bound=Callable[..., Any])


class RecoveryMonitor(Protocol):
    """What recoveries are told to: an `SLOMonitor`, or whatever takes its place."""

    def record_recovery(self, flow_name: str, success: bool, recovery_time_ms: float) -> object:
        """Record one."""


class _Operation:
    """One run of a block that is watched; its children's contexts share it."""

    __slots__ = ("__weakref__", "recovery")

    def __init__(self, recovery: FaultRecovery) -> None:
        self.recovery = recovery


# The operations that are under way here, the innermost last.
_under_way: ContextVar[tuple[_Operation, ...]] = ContextVar("canario.recovery", default=())


class FaultRecovery:
    """Measures how long a flow takes from a fault to the recovery from it.

    As a context manager, or as a decorator of a function or a coroutine function, it watches one
    operation: `fault` in it begins the measurement, leaving it in order ends it as recovered, and
    an exception that leaves it ends it as given up. Without a fault nothing is recorded. The
    first fault of an operation counts, until it is over.

    One object may watch many operations at once: each task and each thread has its own, and so
    has each `of` (a circuit breaker, say) wherever it is told of. Safe to use from many threads.
    What the monitor raises is logged, and goes no further.

    Args:
        monitor: Its `record_recovery` is called with the flow, whether it recovered, and ms.
        flow: The flow's name.
        clock: Gives the instant in seconds; steady by default.
    """

    def __init__(self, monitor: RecoveryMonitor, flow: object, clock: Clock | None = None) -> None:
        self.flow = str(flow)
        self._monitor = monitor
        self._clock = clock or time.monotonic
        # Weakly: a task that ends without a word, or a breaker that is let go, recovers no more.
        self._since: WeakKeyDictionary[Any, float] = WeakKeyDictionary()
        self._lock = ForkSafeLock()

    def __repr__(self) -> str:
        return f"<FaultRecovery {self.flow!r}>"

    def fault(self, of: object = None) -> None:
        """Something failed, and recovering begins; a second fault of an operation is the same.

        Args:
            of: What failed, where it is not the operation of this task or thread.
        """
        now = self._clock()
        with self._lock:
            self._since.setdefault(self._operation(of), now)

    def recovered(self, of: object = None) -> float | None:
        """It works again. Returns the ms since the fault; None, and nothing, without one."""
        return self._end(of, success=True)

    def gave_up(self, of: object = None) -> float | None:
        """It will not work again. Returns the ms since the fault; None, and nothing, without."""
        return self._end(of, success=False)

    def before_sleep(self, retry_state: object) -> None:  # noqa: ARG002 - as tenacity calls it
        """For tenacity's `before_sleep` or `after`: an attempt has failed."""
        self.fault()

    def retry_error(self, otherwise: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """For tenacity's `retry_error_callback`: what `otherwise` answers is no recovery."""

        def callback(retry_state: Any) -> Any:
            self.fault()
            self.gave_up()
            return otherwise(retry_state)

        return callback

    def __enter__(self) -> FaultRecovery:
        _under_way.set((*_under_way.get(), _Operation(self)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        *outer, operation = _under_way.get()
        try:
            self._end(operation, success=error is None)
        finally:
            _under_way.set(tuple(outer))

    def __call__(self, function: F) -> F:
        """Watch each call of a function, or of a coroutine function, as one operation."""
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(
                f"{function!r} is a generator function, whose call is not its run; watch the "
                "function that consumes it"
            )
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def later(*args: Any, **kwargs: Any) -> Any:
                with self:
                    return await function(*args, **kwargs)

            return cast("F", later)

        @wraps(function)
        def at_once(*args: Any, **kwargs: Any) -> Any:
            with self:
                return function(*args, **kwargs)

        return cast("F", at_once)

    def _operation(self, of: object) -> object:
        if of is not None:
            return of
        for operation in reversed(_under_way.get()):
            if operation.recovery is self:
                return operation
        asyncio = sys.modules.get("asyncio")  # without it there is no task
        try:
            task = None if asyncio is None else asyncio.current_task()
        except RuntimeError:
            task = None
        return threading.current_thread() if task is None else task

    def _end(self, of: object, *, success: bool) -> float | None:
        now = self._clock()
        with self._lock:
            since = self._since.pop(self._operation(of), None)
        if since is None:
            return None
        taken_ms = 0.0 if now < since else (now - since) * 1000
        try:
            self._monitor.record_recovery(self.flow, success, taken_ms)
        except BaseException as error:
            pass_on(error)
            logger.exception("the recovery of %s could not be recorded", self.flow)
        return taken_ms


def on_retry(details: object = None) -> None:  # noqa: ARG001 - as stamina calls it
    """For `stamina.instrumentation.set_on_retry_hooks`: an attempt has failed.

    It is a fault of the innermost operation that a `FaultRecovery` watches here, if one does.
    """
    operations = _under_way.get()
    if operations:
        operations[-1].recovery.fault(operations[-1])


def breaker_listener(recovery: FaultRecovery) -> Any:
    """A listener for pybreaker's circuit breakers: the time from opening one to closing it.

    Each breaker is measured by itself. One that opens again on trial is still not recovered.
    Raises `ImportError` when pybreaker is not installed.
    """
    try:
        from pybreaker import CircuitBreakerListener
    except ImportError as error:
        raise ImportError("listening to circuit breakers needs: pip install pybreaker") from error

    class Listener(CircuitBreakerListener):
        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:  # noqa: ARG002
            if new_state.name == "open":
                recovery.fault(cb)
            elif new_state.name == "closed":
                recovery.recovered(cb)

    return Listener()
