"""The decorators: a span for each run of a flow or of a component."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from opentelemetry.trace import TracerProvider

from .current import FlowMonitor, SpanSource, current, tracer_of
from .flows import FLOWS, ComponentType, FlowType
from .run import Contract, Traced
from .wrap import wrap

__all__ = ["trace_component", "trace_flow"]

F = TypeVar("F", bound="Callable[..., Any] | classmethod[Any, ..., Any]")


def trace_flow(
    flow: FlowType | str,
    *,
    monitor: FlowMonitor | None = None,
    contract: Contract | None = None,
    sizes: bool = True,
    tracer_provider: TracerProvider | None = None,
) -> Callable[[F], F]:
    """A decorator that traces each run of a function, and records it as a run of the flow.

    It takes plain functions, coroutines, generators, async generators, methods, static and class
    methods (above or below `@staticmethod` and `@classmethod`), and leaves signature, type and
    kind as they are. What the function returns or raises is never changed.

    Args:
        flow: A `FlowType`, or any other name of your own.
        monitor: Records each run: name, success, milliseconds. By default the monitor that
            `initialize_tracing` was given. Runs that are cancelled are not recorded.
        contract: Checks arguments and result, and reports what is wrong; see
            `canario.contracts.FlowContract`. Of a generator the arguments alone.
        sizes: Whether the sizes of the first argument that has one and of the result are noted.
            Switch it off where that is work, as for a query that is not evaluated yet.
        tracer_provider: Where spans are made; by default where `initialize_tracing` says, or the
            global provider whenever it is set.

    Raises:
        TypeError: When `flow` is not a name, or what is decorated is not a function.
        ValueError: When the name is empty.
    """
    name = _name(flow, "flow", "FlowType.RUBRIC_SCORING")
    attributes = {"canario.flow": name}
    known = next((each for each in FlowType if each == name), None)
    if known is not None:
        attributes["canario.flow.group"] = FLOWS[known].group
    return _decorator(name, attributes, monitor, contract, True, sizes, tracer_provider)


def trace_component(
    component: ComponentType | str,
    *,
    sizes: bool = True,
    tracer_provider: TracerProvider | None = None,
) -> Callable[[F], F]:
    """`trace_flow` for a component of the pipeline: a span, and nothing recorded as a flow."""
    name = _name(component, "component", "ComponentType.EMBEDDING_MODEL")
    attributes = {"canario.component": name}
    return _decorator(name, attributes, None, None, False, sizes, tracer_provider)


def _name(given: object, what: str, example: str) -> str:
    if not isinstance(given, str):
        raise TypeError(
            f"{what} is {given!r}; it must be a name: write @trace_{what}({example}) "
            f'or @trace_{what}("my_{what}")'
        )
    name = str(given)
    if not name.strip():
        raise ValueError(f"{what} is {given!r}; it must be a name that is not empty")
    return name


def _decorator(
    name: str,
    attributes: dict[str, str],
    monitor: FlowMonitor | None,
    contract: Contract | None,
    measured: bool,
    sizes: bool,
    provider: TracerProvider | None,
) -> Callable[[F], F]:
    source = current if provider is None else SpanSource(tracer_of(provider))

    def decorate(function: F) -> F:
        if isinstance(function, staticmethod | classmethod):
            return type(function)(decorate(function.__func__))
        if isinstance(function, type) or not callable(function):
            raise TypeError(f"{function!r} cannot be traced; decorate a function or a method")
        traced = Traced(
            name=name,
            attributes=attributes | _code_of(function),
            source=source,
            monitor=monitor,
            contract=contract,
            measured=measured,
            sizes=sizes,
            skipped=_skipped(function),
        )
        return wrap(function, traced)  # type: ignore[return-value]

    return decorate


def _code_of(function: Callable[..., Any]) -> dict[str, str]:
    """Where the code is, by OpenTelemetry's conventions."""
    while isinstance(function, functools.partial):
        function = function.func
    named = getattr(function, "__qualname__", type(function).__qualname__)
    module = getattr(function, "__module__", None)
    return {"code.function.name": f"{module}.{named}" if module else named}


def _skipped(function: Callable[..., Any]) -> int:
    """1 for a method: the object that it belongs to is not its input."""
    try:
        first = next(iter(inspect.signature(function).parameters), None)
    except (TypeError, ValueError):
        return 0
    return int(first in ("self", "cls"))
