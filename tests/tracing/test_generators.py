"""A generator behaves as without its decorator, and its span lasts as long as it is consumed."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import StatusCode
from tests.tracing.traces import Spans, Tree, traced
from tests.waiting import Stuck

from canario.tracing import trace_flow


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as made:
        yield made


class ToldError(Exception):
    """What consumers throw."""


def talkative(log: list[object]) -> Generator[int, object, str]:
    """Logs what it is told, and answers some of it."""
    log.append("start")
    try:
        for i in range(6):
            try:
                log.append((yield i))
            except ToldError:
                log.append("told")
                if i == 2:
                    return "enough"
                if i == 3:
                    raise LookupError(i) from None
        return "end"
    finally:
        log.append("finally")


async def talkative_async(log: list[object]) -> AsyncGenerator[int, object]:
    """The same, asynchronously."""
    log.append("start")
    try:
        for i in range(6):
            await asyncio.sleep(0)
            try:
                log.append((yield i))
            except ToldError:
                log.append("told")
                if i == 2:
                    return
                if i == 3:
                    raise LookupError(i) from None
    finally:
        await asyncio.sleep(0)
        log.append("finally")


STEPS = st.lists(st.sampled_from(["next", "send", "throw", "close"]), max_size=9)


def conversation(made: Generator[int, object, str], steps: list[str], log: list[object]) -> None:
    for step in steps:
        try:
            match step:
                case "next":
                    log.append(next(made))
                case "send":
                    log.append(made.send("word"))
                case "throw":
                    log.append(made.throw(ToldError()))
                case _:
                    made.close()
                    log.append("closed")
        except BaseException as error:
            log.append((type(error), getattr(error, "value", None), str(error)))


async def conversation_async(
    made: AsyncGenerator[int, object], steps: list[str], log: list[object]
) -> None:
    for step in steps:
        try:
            match step:
                case "next":
                    log.append(await anext(made))
                case "send":
                    log.append(await made.asend("word"))
                case "throw":
                    log.append(await made.athrow(ToldError()))
                case _:
                    await made.aclose()
                    log.append("closed")
        except BaseException as error:
            log.append((type(error), str(error)))
    await made.aclose()


@given(STEPS, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_conversation_with_a_generator_is_the_same(steps: list[str], on: bool) -> None:
    bare: list[object] = []
    conversation(talkative(bare), steps, bare)
    decorated: list[object] = []
    if on:
        with traced() as spans:
            made = trace_flow("talk")(talkative)(decorated)
            conversation(made, steps, decorated)
            started = "start" in decorated
            made.close()
            assert spans.names == ["talk"] * started
    else:
        conversation(trace_flow("talk")(talkative)(decorated), steps, decorated)
    assert [each for each in decorated if each != "finally"] == [
        each for each in bare if each != "finally"
    ]


@given(STEPS, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_conversation_with_an_async_generator_is_the_same(steps: list[str], on: bool) -> None:
    bare: list[object] = []
    asyncio.run(conversation_async(talkative_async(bare), steps, bare))
    decorated: list[object] = []
    wrapped = trace_flow("talk")(talkative_async)
    if on:
        with traced() as spans:
            asyncio.run(conversation_async(wrapped(decorated), steps, decorated))
            assert spans.names == ["talk"] * ("start" in decorated)
    else:
        asyncio.run(conversation_async(wrapped(decorated), steps, decorated))
    assert decorated == bare


def count(n: int) -> Generator[int, None, str]:
    for i in range(n):
        with trace.get_tracer("unused").start_as_current_span("x"):
            pass
        yield i
    return "end"


def test_a_span_ends_when_the_generator_is_exhausted_closed_or_dropped(spans: Spans) -> None:
    wrapped = trace_flow("count")(count)
    assert list(wrapped(3)) == [0, 1, 2]
    assert len(spans.ended) == 1
    made = wrapped(3)
    next(made)
    assert len(spans.ended) == 1
    made.close()
    assert len(spans.ended) == 2
    dropped = wrapped(3)
    next(dropped)
    del dropped
    gc.collect()
    assert len(spans.ended) == 3
    del made
    wrapped(3)
    gc.collect()
    assert len(spans.ended) == 3
    for span in spans.ended:
        assert span.status.status_code is StatusCode.UNSET
        assert span.events == ()
    sizes = [(span.attributes or {})["canario.output.size"] for span in spans.ended]
    assert sizes == [3, 1, 1]


def test_the_return_value_reaches_yield_from(spans: Spans) -> None:
    def outer() -> Generator[int, None, str]:
        return (yield from trace_flow("count")(count)(2))

    made = outer()
    assert [next(made), next(made)] == [0, 1]
    with pytest.raises(StopIteration) as stop:
        next(made)
    assert stop.value.value == "end"
    assert spans.names == ["count"]


def test_the_consumer_is_not_inside_the_generator_s_span(spans: Spans) -> None:
    @trace_flow("outer")
    def outer() -> Generator[None, None, None]:
        inner()
        yield
        inner()

    @trace_flow("inner")
    def inner() -> None: ...

    @trace_flow("consumer")
    def consumer() -> None: ...

    for _ in outer():
        assert not trace.get_current_span().is_recording()
        consumer()
    assert spans.trees() == [
        Tree("outer", (Tree("inner"), Tree("inner"))),
        Tree("consumer"),
    ]


def test_two_generators_that_take_turns_do_not_mix(spans: Spans) -> None:
    @trace_flow("work")
    def work(name: str) -> Generator[None, None, None]:
        for _ in range(3):
            trace_flow(name)(lambda: None)()
            yield

    for _ in zip(work("a"), work("b"), strict=True):
        pass
    # By the strict zip the second one is asked for its end before it is exhausted.
    gc.collect()
    assert sorted(spans.trees()) == sorted(Tree("work", (Tree(name),) * 3) for name in ("a", "b"))


def test_a_generator_that_ignores_its_closing_is_told_so(spans: Spans) -> None:
    @trace_flow("stubborn")
    def stubborn() -> Generator[int, None, None]:
        try:
            yield 1
        except GeneratorExit:
            yield 2

    made = stubborn()
    next(made)
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        made.close()
    made.close()
    assert spans.names == ["stubborn"]


def test_closing_gives_what_closing_the_bare_generator_gives(spans: Spans) -> None:
    """What it returns, since Python 3.13; nothing before."""

    def returns() -> Generator[int, None, str]:
        try:
            yield 1
        except GeneratorExit:
            return "closed"
        return "end"

    def closed(made: Generator[int, None, str]) -> Any:
        next(made)
        return made.close()  # type: ignore[func-returns-value, unused-ignore]

    given = closed(trace_flow("returns")(returns)())
    assert given == closed(returns())
    assert given == ("closed" if sys.version_info >= (3, 13) else None)
    assert spans.names == ["returns"]


def test_an_exception_in_a_generator_is_recorded_once(spans: Spans) -> None:
    @trace_flow("raises")
    def raises() -> Generator[int, None, None]:
        yield 1
        raise ValueError("no")

    @trace_flow("outer")
    def outer() -> None:
        list(raises())

    with pytest.raises(ValueError, match="no"):
        outer()
    assert len(spans.one("raises").events) == 1
    assert spans.one("outer").events == ()


def test_what_a_consumer_throws_is_recorded_where_it_arises(spans: Spans) -> None:
    @contextmanager
    @trace_flow("manager")
    def manager() -> Iterator[None]:
        yield

    @asynccontextmanager
    @trace_flow("async manager")
    async def async_manager() -> AsyncGenerator[None, None]:
        yield

    @trace_flow("body")
    def body() -> None:
        raise ValueError("no")

    async def main() -> None:
        async with async_manager():
            raise LookupError

    with pytest.raises(ValueError, match="no"), manager():
        raise ValueError("no")
    with pytest.raises(LookupError):
        asyncio.run(main())
    assert [len(span.events) for span in spans.ended] == [1, 1]
    with pytest.raises(ValueError, match="no"), manager():
        body()
    assert [len(span.events) for span in spans.ended] == [1, 1, 1, 0]


def test_async_generators_end_when_exhausted_closed_dropped_or_cancelled(spans: Spans) -> None:
    @trace_flow("count")
    async def count_async(n: int) -> AsyncGenerator[int, None]:
        for i in range(n):
            yield i
            await asyncio.sleep(0)

    waits = Stuck()

    @trace_flow("stuck")
    async def stuck() -> AsyncGenerator[int, None]:
        yield 0
        await waits()

    async def consume(made: AsyncGenerator[int, None]) -> list[int]:
        return [item async for item in made]

    async def main() -> None:
        assert await consume(count_async(3)) == [0, 1, 2]
        assert len(spans.ended) == 1
        made = count_async(3)
        await anext(made)
        await made.aclose()
        assert len(spans.ended) == 2
        dropped = count_async(3)
        await anext(dropped)
        del dropped
        gc.collect()
        await asyncio.sleep(0.01)
        assert len(spans.ended) == 3
        task = asyncio.create_task(consume(stuck()))
        await waits.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert spans.names == ["count"] * 3 + ["stuck"]
    assert (spans.one("stuck").attributes or {})["canario.cancelled"] is True
    assert all(span.events == () for span in spans.ended)


def test_an_async_generator_stepped_by_several_tasks_keeps_its_span(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    @trace_flow("outer")
    async def outer() -> AsyncGenerator[None, None]:
        for _ in range(3):
            await asyncio.sleep(0)
            trace_flow("inner")(lambda: None)()
            yield

    async def main() -> None:
        made = outer()
        for _ in range(3):
            await asyncio.wait_for(anext(made), 5)
            assert not trace.get_current_span().is_recording()
        await made.aclose()

    asyncio.run(main())
    assert spans.trees() == [Tree("outer", (Tree("inner"),) * 3)]
    assert caplog.records == []


@pytest.mark.parametrize("drop", [lambda made: made.close(), lambda made: None])
def test_a_generator_may_be_finished_in_another_thread(
    spans: Spans, drop: Callable[[Any], object], caplog: pytest.LogCaptureFixture
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    made = [trace_flow("count")(count)(3)]
    next(made[0])

    def finish() -> None:
        drop(made.pop())
        gc.collect()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(finish).result()
    assert spans.names == ["count"]
    assert caplog.records == []
