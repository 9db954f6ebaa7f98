"""Decorated functions are the functions that they were, with a span around each run."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanContext, StatusCode, TraceFlags
from tests.tracing.traces import Spans, Tree, traced
from tests.waiting import Stuck

from canario.tracing import ComponentType, FlowType, trace_component, trace_flow
from canario.tracing.current import current


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as made:
        yield made


def plain(plan: str, depth: int = 1, *, strict: bool = True) -> dict[str, int]:
    """Evaluates."""
    return {plan: depth}


async def coroutine(plan: str) -> list[str]:
    await asyncio.sleep(0)
    return [plan]


def generator(n: int) -> Generator[int, str, str]:
    yield from range(n)
    return "end"


async def async_generator(n: int) -> AsyncGenerator[int, None]:
    for i in range(n):
        await asyncio.sleep(0)
        yield i


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_a_decorated_function_is_of_the_same_kind(function: Callable[..., Any]) -> None:
    for decorate in (trace_flow("mine"), trace_component("mine")):
        wrapped = decorate(function)
        for of_kind in (
            inspect.iscoroutinefunction,
            asyncio.iscoroutinefunction,
            inspect.isgeneratorfunction,
            inspect.isasyncgenfunction,
            inspect.isfunction,
        ):
            assert of_kind(wrapped) == of_kind(function)
        assert inspect.signature(wrapped) == inspect.signature(function)
        assert wrapped.__name__ == function.__name__
        assert wrapped.__doc__ == function.__doc__
        assert wrapped.__module__ == function.__module__
        assert wrapped.__annotations__ == function.__annotations__


def test_a_span_names_the_flow_its_group_and_the_code(spans: Spans) -> None:
    assert trace_flow(FlowType.DECALOGO_EVALUATION)(plain)("plan") == {"plan": 1}
    (span,) = spans.ended
    assert span.name == "decalogo_evaluation"
    assert dict(span.attributes or {}) == {
        "canario.flow": "decalogo_evaluation",
        "canario.flow.group": "Evaluation",
        "code.function.name": f"{__name__}.plain",
        "canario.input.size": 4,
        "canario.output.size": 1,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "canario"


def test_a_component_is_no_flow(spans: Spans) -> None:
    trace_component(ComponentType.EMBEDDING_MODEL)(plain)("plan")
    attributes = spans.ended[0].attributes or {}
    assert attributes["canario.component"] == "embedding_model"
    assert "canario.flow" not in attributes


def test_a_name_of_one_s_own_has_no_group(spans: Spans) -> None:
    trace_flow("billing")(plain)("plan")
    assert spans.names == ["billing"]
    assert "canario.flow.group" not in (spans.ended[0].attributes or {})


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        (plain, TypeError, "@trace_flow(FlowType.RUBRIC_SCORING)"),
        (None, TypeError, "None"),
        (7, TypeError, "7"),
        ("", ValueError, "''"),
        ("  ", ValueError, "'  '"),
    ],
)
def test_a_flow_needs_a_name(given: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error) as raised:
        trace_flow(given)
    assert said in str(raised.value)


@pytest.mark.parametrize("thing", [dict, property(lambda self: 1), 3])
def test_what_is_no_function_is_refused(thing: Any) -> None:
    with pytest.raises(TypeError, match="cannot be traced"):
        trace_flow("mine")(thing)


def test_the_size_of_input_is_that_of_the_first_argument_that_has_one(spans: Spans) -> None:
    @trace_flow("f")
    def f(*args: Any, **kwargs: Any) -> Any:
        return args[-1] if args else None

    class Broken:
        def __len__(self) -> int:
            raise RuntimeError("no")

    f(3, "four", [1], plan="a plan")
    f(3, plan=b"12345")
    f(3)
    f(Broken())
    found = [
        (span.attributes or {}).get(f"canario.{side}.size")
        for span in spans.ended
        for side in ("input", "output")
    ]
    assert found == [4, 1, 5, None, None, None, None, None]


def test_len_is_not_asked_of_what_may_have_to_work_for_it(spans: Spans) -> None:
    asked = []

    class Query:
        def __len__(self) -> int:
            asked.append(self)
            return 3

    query = Query()
    assert trace_flow("f")(lambda given: given)(query) is query
    assert not asked
    assert not any("size" in name for name in spans.ended[0].attributes or {})


def test_arrays_have_a_size_and_a_single_number_has_none(spans: Spans) -> None:
    trace_flow("f")(lambda given: np.float64(1))(np.zeros((7, 2)))
    found = spans.ended[0].attributes or {}
    assert found["canario.input.size"] == 7
    assert "canario.output.size" not in found


def test_sizes_may_be_switched_off(spans: Spans) -> None:
    trace_flow("f", sizes=False)(lambda given: given)("four")
    assert not any("size" in name for name in spans.ended[0].attributes or {})


def test_an_object_is_not_the_input_of_its_methods(spans: Spans) -> None:
    class Sized(list[int]):
        @trace_flow("method")
        def method(self, plan: str) -> None: ...

        @trace_flow("class method")
        @classmethod
        def of_class(cls, plan: str) -> type:
            return cls

        @classmethod
        @trace_flow("class method below")
        def of_class_below(cls, plan: str) -> type:
            return cls

        @trace_flow("static")
        @staticmethod
        def static(plan: str) -> str:
            return plan

        @staticmethod
        @trace_flow("static below")
        def static_below(plan: str) -> str:
            return plan

    one = Sized([1, 2, 3])
    one.method("plan")
    assert one.of_class("plan") is Sized.of_class("plan") is Sized
    assert one.of_class_below("plan") is Sized.of_class_below("plan") is Sized
    assert one.static("plan") == Sized.static("plan") == "plan"
    assert one.static_below("plan") == Sized.static_below("plan") == "plan"
    assert len(spans.ended) == 9
    assert {(span.attributes or {})["canario.input.size"] for span in spans.ended} == {4}
    assert isinstance(inspect.getattr_static(Sized, "static"), staticmethod)
    assert isinstance(inspect.getattr_static(Sized, "of_class"), classmethod)


def test_partials_and_callable_objects_are_traced(spans: Spans) -> None:
    class Model:
        async def __call__(self, text: str) -> str:
            return text

    assert trace_flow("partial")(functools.partial(plain, "plan"))() == {"plan": 1}
    called = trace_flow("object")(Model())
    assert inspect.iscoroutinefunction(called)
    assert asyncio.run(called("text")) == "text"
    assert spans.names == ["partial", "object"]


def test_nested_flows_are_children(spans: Spans) -> None:
    inner = trace_component("inner")(plain)

    @trace_flow("outer")
    def outer() -> None:
        inner("a")
        inner("b")

    outer()
    inner("c")
    assert spans.trees() == [Tree("outer", (Tree("inner"), Tree("inner"))), Tree("inner")]


def test_a_coroutine_s_span_lasts_as_long_as_it_runs(spans: Spans) -> None:
    async def main() -> None:
        gate = asyncio.Event()

        @trace_flow("waiting")
        async def waiting() -> None:
            await gate.wait()

        task = asyncio.create_task(waiting())
        await asyncio.sleep(0)
        assert spans.names == []
        gate.set()
        await task
        assert spans.names == ["waiting"]

    asyncio.run(main())
    waiting = trace_flow("never")(coroutine)("plan")
    waiting.close()
    assert spans.names == ["waiting"]


def test_an_exception_is_recorded_once_and_raised_untouched(spans: Spans) -> None:
    error = KeyError("who")

    @trace_flow("inner")
    def inner() -> None:
        raise error

    @trace_flow("outer")
    async def outer() -> None:
        inner()

    with pytest.raises(KeyError) as raised:
        asyncio.run(outer())
    assert raised.value is error
    assert vars(error) == {}
    for name, events in (("inner", 1), ("outer", 0)):
        span = spans.one(name)
        assert span.status.status_code is StatusCode.ERROR
        assert (span.attributes or {})["error.type"] == "KeyError"
        assert [event.name for event in span.events] == ["exception"] * events
    assert (spans.one("inner").events[0].attributes or {})["exception.type"] == "KeyError"


def test_a_new_exception_is_recorded_where_it_arises(spans: Spans) -> None:
    class OwnError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    @trace_flow("inner")
    def inner() -> None:
        raise ValueError("a")

    @trace_flow("outer")
    def outer() -> None:
        try:
            inner()
        except ValueError:
            raise LookupError("b") from None

    with pytest.raises(LookupError):
        outer()
    assert [len(span.events) for span in spans.ended] == [1, 1]

    @trace_flow("unprintable")
    def unprintable() -> None:
        raise OwnError

    with pytest.raises(OwnError):
        unprintable()
    kind = (spans.one("unprintable").attributes or {})["error.type"]
    assert str(kind).endswith("OwnError")
    assert spans.one("unprintable").status.status_code is StatusCode.ERROR


def test_an_exit_is_an_error_of_the_flow(spans: Spans) -> None:
    @trace_flow("leaving")
    def leaving() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        leaving()
    assert (spans.ended[0].attributes or {})["error.type"] == "SystemExit"


def test_cancellation_is_no_exception(spans: Spans) -> None:
    stuck = Stuck()

    async def main() -> None:
        @trace_flow("outer")
        async def outer() -> None:
            await inner()

        @trace_flow("inner")
        async def inner() -> None:
            await stuck()

        task = asyncio.create_task(outer())
        await stuck.reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert spans.trees() == [Tree("outer", (Tree("inner"),))]
    for span in spans.ended:
        assert span.status.status_code is StatusCode.UNSET
        assert span.events == ()
        assert (span.attributes or {})["canario.cancelled"] is True


def test_a_coroutine_dropped_in_another_context_changes_nothing_there(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    @types.coroutine
    def pause() -> Generator[None, None, None]:
        yield

    @trace_flow("dropped")
    async def dropped() -> None:
        await pause()

    running = dropped()
    contextvars.copy_context().run(running.send, None)
    with spans.tracer.start_as_current_span("here") as here:
        running.close()
        assert trace.get_current_span() is here
    assert spans.names == ["dropped", "here"]
    assert caplog.records == []


def test_a_wrong_call_fails_as_without_the_decorator(spans: Spans) -> None:
    functions: list[Callable[..., Any]] = [plain, coroutine, generator, async_generator]
    for function in functions:
        with pytest.raises(TypeError) as raised:
            run(trace_flow("f")(function))
        assert "missing 1 required positional argument" in str(raised.value)
    assert [span.status.status_code for span in spans.ended] == [StatusCode.ERROR] * 4


def run(function: Callable[[], Any]) -> None:
    made = function()
    if inspect.iscoroutine(made):
        asyncio.run(made)
    elif inspect.isgenerator(made):
        list(made)
    elif inspect.isasyncgen(made):
        asyncio.run(anext(made))


def test_unsampled_flows_leave_no_span_and_pass_the_decision_on() -> None:
    with traced(ALWAYS_OFF) as spans:
        seen: list[SpanContext] = []

        @trace_flow("outer")
        def outer() -> None:
            seen.append(trace.get_current_span().get_span_context())

        outer()
    assert spans.ended == ()
    assert seen[0].is_valid
    assert not seen[0].trace_flags.sampled


def test_without_a_provider_the_host_s_span_stays_the_current_one() -> None:
    host = Spans()
    parent = SpanContext(0xABC, 0xDEF, True, TraceFlags(TraceFlags.SAMPLED))
    seen: list[object] = []

    @trace_flow("off")
    def off() -> None:
        seen.append(trace.get_current_span())

    with host.tracer.start_as_current_span("host") as span:
        off()
        assert span.is_recording()
    with trace.use_span(trace.NonRecordingSpan(parent)) as remote:
        off()
    assert seen == [span, remote]
    assert host.names == ["host"]


def test_a_provider_can_be_given_to_a_decorator() -> None:
    own = Spans()
    with traced() as others:
        trace_flow("own", tracer_provider=own.provider)(plain)("plan")
    assert own.names == ["own"]
    assert others.names == []


@pytest.mark.parametrize("function", [plain, coroutine, generator, async_generator])
def test_a_tracer_that_fails_breaks_nothing(
    function: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def start_span(self, *args: object, **kwargs: object) -> Any:
            raise RuntimeError("broken")

    with mock.patch.object(current, "tracer", Broken()):
        wrapped = trace_flow("f")(function)
        if function is plain:
            assert wrapped("plan") == {"plan": 1}
        elif function is coroutine:
            assert asyncio.run(wrapped("plan")) == ["plan"]
        elif function is generator:
            assert list(wrapped(3)) == [0, 1, 2]
        else:
            assert asyncio.run(collected(wrapped(3))) == [0, 1, 2]


async def collected(items: AsyncIterator[int]) -> list[int]:
    return [item async for item in items]
