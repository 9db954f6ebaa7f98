"""Decorated functions keep their types: mypy checks this file, and Python runs it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, TypeVar, assert_type, overload

import pytest

from canario.tracing import (
    ContextThreadPoolExecutor,
    FlowType,
    TracingManager,
    carry_context,
    get_tracing_manager,
    trace_component,
    trace_flow,
)

T = TypeVar("T")


@trace_flow(FlowType.RUBRIC_SCORING)
def plain(text: str, *, strict: bool = False) -> dict[str, int]:
    return {text: int(strict)}


@trace_component("model")
async def coroutine(text: str) -> list[str]:
    return [text]


@trace_flow("generator")
def generator(n: int) -> Generator[int, str, bytes]:
    yield n
    return b""


@trace_flow("async generator")
async def async_generator(n: int) -> AsyncGenerator[int, None]:
    yield n


@trace_flow("generic")
def generic(value: T) -> list[T]:
    return [value]


@overload
def either(value: int) -> str: ...
@overload
def either(value: str) -> int: ...
@trace_flow("overloaded")
def either(value: int | str) -> int | str:
    return str(value) if isinstance(value, int) else int(value)


class Model:
    @trace_flow("method")
    def method(self, text: str) -> int:
        return len(text)

    @classmethod
    @trace_flow("class method")
    def made(cls, text: str) -> Model:
        return cls()

    @staticmethod
    @trace_flow("static")
    def static(text: str) -> bytes:
        return text.encode()


def test_types_are_kept() -> None:
    assert_type(plain("a", strict=True), dict[str, int])
    assert_type(generator(1), Generator[int, str, bytes])
    assert_type(generic(1.5), list[float])
    assert_type(either(1), str)
    assert_type(either("1"), int)
    assert_type(Model().method("a"), int)
    assert_type(Model.made("a"), Model)
    assert_type(Model.static("a"), bytes)
    assert_type(get_tracing_manager(), TracingManager)
    assert_type(get_tracing_manager().inject_context({"a": "b"}), dict[str, str])
    running: Coroutine[Any, Any, list[str]] = coroutine("a")
    assert assert_type(asyncio.run(running), list[str]) == ["a"]
    iterating = async_generator(1)
    assert_type(iterating, AsyncGenerator[int, None])
    asyncio.run(iterating.aclose())
    assert_type(carry_context(plain)("a"), dict[str, int])
    with ContextThreadPoolExecutor(1) as pool:
        future = pool.submit(plain, "a", strict=True)
        assert_type(future, Future[dict[str, int]])
        assert future.result() == {"a": 1}


def test_wrong_arguments_are_seen_by_the_type_checker() -> None:
    # mypy reports an ignore that is not needed, so each of these is an error to it.
    with pytest.raises(TypeError):
        plain(text="a", loud=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Model().method()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Model().method(3)  # type: ignore[arg-type]
