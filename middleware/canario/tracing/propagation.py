"""Contexts in headers: W3C trace context and baggage, whatever the headers are kept in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from opentelemetry import baggage
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter, Setter

from canario.exchange import present
from canario.host.interrupts import pass_on

from .run import tell_once

__all__ = ["ARM", "extract_context", "inject_context"]

Carrier = TypeVar("Carrier")

# The baggage that tells which arm serves a request.
ARM = "canario.arm"


def inject_context(
    headers: Carrier, context: Context | None = None, *, propagate_arm: bool = False
) -> Carrier:
    """Put a context (the current one) into headers, and give them back.

    `headers` is a mapping or an ASGI list of pairs of bytes. What the peer claimed to be its arm
    is never passed on; our own arm is, where `propagate_arm` says so and a request is served.
    """
    try:
        from opentelemetry.propagate import inject

        context = _without_claims(get_current() if context is None else context)
        exchange = present.get()
        if propagate_arm and exchange is not None:
            context = baggage.set_baggage(ARM, exchange.arm, context)
        inject(headers, context, setter=_SETTER)
    except BaseException as error:
        pass_on(error)
        tell_once("putting a context into headers")
    return headers


def extract_context(headers: Any, context: Context | None = None) -> Context:
    """The context that headers carry, on top of `context` (an empty one). Never raises.

    `headers` is a mapping (names in any case, values text, bytes or lists of them), an ASGI list
    of pairs of bytes, or a WSGI environment. A claim to an arm is dropped.
    """
    base = Context() if context is None else context
    try:
        from opentelemetry.propagate import extract

        return _without_claims(extract(_collected(headers), base, getter=_GETTER))
    except BaseException as error:
        pass_on(error)
        tell_once("reading a context from headers")
        return base


def _without_claims(context: Context) -> Context:
    for name in baggage.get_all(context):
        if name.strip().lower() == ARM:
            context = baggage.remove_baggage(name, context)
    return context


def _collected(headers: Any) -> dict[str, list[str]]:
    """Names in lower case, each with its values."""
    made: dict[str, list[str]] = {}
    for name, value in _pairs(headers):
        key = _text(name).lower()
        if key.startswith("http_"):
            key = key[5:].replace("_", "-")
        values = value if isinstance(value, list | tuple) else [value]
        made.setdefault(key, []).extend(_text(each) for each in values)
    return made


def _pairs(headers: Any) -> Iterable[tuple[Any, Any]]:
    if headers is None:
        return ()
    # Starlette's headers give a name that is there twice as two items, as a list of pairs does;
    # httpx's join its values.
    items = getattr(headers, "items", None)
    pairs: Iterable[tuple[Any, Any]] = headers if items is None else items()
    return pairs


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes | bytearray) else str(value)


class _Getter(Getter[Mapping[str, list[str]]]):
    def get(self, carrier: Mapping[str, list[str]], key: str) -> list[str] | None:
        return carrier.get(key.lower())

    def keys(self, carrier: Mapping[str, list[str]]) -> list[str]:
        return list(carrier)


class _Setter(Setter[Any]):
    """Replaces a header, however its name was written."""

    def set(self, carrier: Any, key: str, value: str) -> None:
        if isinstance(carrier, list):
            name = key.lower().encode("latin-1")
            carrier[:] = [pair for pair in carrier if bytes(pair[0]).lower() != name]
            carrier.append((name, value.encode("latin-1")))
            return
        for other in [name for name in carrier if _text(name).lower() == key.lower()]:
            del carrier[other]
        carrier[key] = value


_GETTER = _Getter()
_SETTER = _Setter()
