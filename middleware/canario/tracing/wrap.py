"""The wrappers that run a function within its span, one for each kind of function.

A context is attached for as long as the function runs, never across a yield: what consumes a
generator is not inside its span.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import ContextVar, Token
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.context import Context

from .collecting import collecting, watch
from .describe import wrapper_codes
from .run import Run, Traced

__all__ = ["wrap"]

Function = Callable[..., Any]

# In which Context a run was entered: a coroutine may be dropped in another one.
_entered: ContextVar[Context | None] = ContextVar("canario.tracing.entered", default=None)

Entered = tuple[Token[Context | None], Token[Context]]


def enter(context: Context) -> Entered:
    """Make a context the current one. `leave` undoes it."""
    return _entered.set(context), contexts.attach(context)


def leave(entered: Entered) -> None:
    """Back to the context before; nothing where another one runs, which was not changed."""
    if collecting():  # a coroutine was dropped, and with its task the context that it ran in
        return
    mark, token = entered
    try:
        _entered.reset(mark)
    except ValueError:
        return
    contexts.detach(token)


def wrap(function: Function, traced: Traced) -> Function:
    """`function`, traced; of the same kind for `inspect`."""
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its kind is what matters
    make: Callable[[Function, Traced], Function] = _plain
    for is_kind, maker in (
        (inspect.isasyncgenfunction, _async_generator),
        (inspect.iscoroutinefunction, _coroutine),
        (inspect.isgeneratorfunction, _generator),
    ):
        if is_kind(function) or is_kind(call):
            make = maker
    if make is not _plain:
        watch()  # all others may be dropped while they are suspended
    wrapper = functools.wraps(function)(make(function, traced))
    wrapper_codes.add(wrapper.__code__)  # type: ignore[attr-defined]
    return wrapper


def _plain(function: Function, traced: Traced) -> Function:
    begin = traced.begin

    def run_traced(*args: Any, **kwargs: Any) -> Any:
        run = begin(args, kwargs)
        if run is None:
            return function(*args, **kwargs)
        entered = enter(run.context)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            run.failed(error)
            raise
        else:
            run.done(result)
            return result
        finally:
            leave(entered)

    return run_traced


def _coroutine(function: Callable[..., Awaitable[Any]], traced: Traced) -> Function:
    begin = traced.begin

    async def await_traced(*args: Any, **kwargs: Any) -> Any:
        run = begin(args, kwargs)
        if run is None:
            return await function(*args, **kwargs)
        entered = enter(run.context)
        try:
            result = await function(*args, **kwargs)
        except GeneratorExit:
            run.cancelled()
            raise
        except BaseException as error:
            run.failed(error)
            raise
        else:
            run.done(result)
            return result
        finally:
            leave(entered)

    return await_traced


def _generator(function: Callable[..., Generator[Any, Any, Any]], traced: Traced) -> Function:
    begin = traced.begin

    def yield_traced(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        run = begin(args, kwargs)
        if run is None:
            return (yield from function(*args, **kwargs))
        generator = _made(run, function, args, kwargs)
        step: Callable[[Any], Any] = generator.send
        given: Any = None
        collected = False
        while True:
            run.resume()
            entered = None if collected else enter(run.context)
            try:
                item = step(given)
            except StopIteration as stop:
                run.closed()
                return stop.value
            except BaseException as error:
                run.failed(error)
                raise
            finally:
                if entered is not None:
                    leave(entered)
            run.pause()
            try:
                given = yield item
                step = generator.send
            except BaseException as error:
                # Closing is thrown too: the function may answer it as if it were not wrapped.
                given, step = error, generator.throw
                collected = collecting()

    return yield_traced


def _async_generator(function: Callable[..., AsyncGenerator[Any, Any]], traced: Traced) -> Function:
    begin = traced.begin

    async def yield_traced_async(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        run = begin(args, kwargs)
        generator = function(*args, **kwargs) if run is None else _made(run, function, args, kwargs)
        step: Callable[[Any], Awaitable[Any]] = generator.asend
        given: Any = None
        while True:
            entered = _resume(run)
            try:
                item = await step(given)
            except StopAsyncIteration:
                if run is not None:
                    run.closed()
                return
            except BaseException as error:
                if run is not None:
                    run.failed(error)
                raise
            finally:
                if entered is not None:
                    leave(entered)
            if run is not None:
                run.pause()
            try:
                given = yield item
                step = generator.asend
            except BaseException as error:
                given, step = error, generator.athrow

    return yield_traced_async


def _resume(run: Run | None) -> Entered | None:
    if run is None:
        return None
    run.resume()
    return None if collecting() else enter(run.context)


def _made(run: Run, function: Function, args: Any, kwargs: Any) -> Any:
    """The generator. A call with wrong arguments fails here, and ends the span."""
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        run.failed(error)
        raise
