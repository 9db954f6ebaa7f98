"""Context into threads: the span, the request's arm and every other context variable."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, update_wrapper
from typing import ParamSpec, TypeVar

__all__ = ["ContextThreadPoolExecutor", "carry_context"]

P = ParamSpec("P")
T = TypeVar("T")


def carry_context(function: Callable[P, T]) -> Callable[P, T]:
    """`function`, which runs in the context of now, wherever and however often it is called.

    Each call has a copy of its own: what it sets is not seen by another one.
    """
    context = copy_context()

    def carried(*args: P.args, **kwargs: P.kwargs) -> T:
        return context.copy().run(function, *args, **kwargs)

    return update_wrapper(carried, function)


class ContextThreadPoolExecutor(ThreadPoolExecutor):
    """A `ThreadPoolExecutor` whose tasks run in the context in which they were submitted."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have `fn` called in a thread, in a copy of the context of now."""
        return super().submit(partial(copy_context().run, fn, *args, **kwargs))
