"""The bases of everything that a plan or a scenario declares: frozen values that check themselves.

A range is declared once, in the `Meta` of the field: msgspec keeps to it when it reads a file, the
schema says it, and these bases keep to it when a value is made in Python. They also refuse what
msgspec lets pass: NaN, which lies below every limit and above it, and infinities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from math import isfinite
from types import UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from msgspec import Meta, Struct, ValidationError, inspect
from msgspec.structs import fields

from canario.limits import MOST

__all__ = ["Count", "Declared", "Percent", "Positive", "Seconds", "Spec", "what_and_where"]

_WHERE = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<where>.*)`)?", re.DOTALL)

Percent = Annotated[float, Meta(ge=0, le=100)]
Positive = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]


def what_and_where(error: ValidationError) -> tuple[str, str]:
    """What msgspec found wrong, and the path to it (`faults[2].rate`), "" for the whole."""
    found = _WHERE.fullmatch(str(error))
    assert found is not None  # any text is one
    return found["what"], found["where"] or ""


class Declared(Struct, frozen=True, forbid_unknown_fields=True):
    """A table of a file, whose numbers are finite and in the ranges that its fields declare.

    Whichever way the value was made: another number raises `ValueError` with the key, the value
    and what is valid, and what is no number `TypeError`.
    """

    def __post_init__(self) -> None:
        for key, value, limits in _given(self):
            _check(key, value, limits)


class Spec(Declared, frozen=True, forbid_unknown_fields=True):
    """A table of a scenario file. Numbers without an upper limit may not be of any size either."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value, limits in _given(self):
            if isinstance(limits, inspect.FloatType) and limits.le is None:
                _check_size(key, value)


_Limits = inspect.FloatType | inspect.IntType


class _Field(NamedTuple):
    """A field that holds a number, None where it may, or numbers by name."""

    attribute: str
    key: str
    optional: bool
    by_name: bool
    limits: _Limits


@cache
def _fields(kind: type[Struct]) -> tuple[_Field, ...]:
    found = []
    for field in fields(kind):
        # Tables within this one have numbers of their own, and take long to be looked at.
        if not _numeric(field.type):
            continue
        inner, optional = _inner(inspect.type_info(field.type))
        by_name = isinstance(inner, inspect.DictType)
        limits = _inner(inner.value_type)[0] if by_name else inner
        if isinstance(limits, _Limits):
            found.append(_Field(field.name, field.encode_name, optional, by_name, limits))
    return tuple(found)


def _numeric(kind: Any) -> bool:
    """Whether a field's type has a number in it, not only tables or sequences of them."""
    if get_origin(kind) in (Annotated, Union, UnionType, dict):
        return any(map(_numeric, get_args(kind)))
    return kind in (float, int)


def _inner(kind: Any) -> tuple[Any, bool]:
    """A type without its descriptions and without None, and whether it may be None."""
    optional = False
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.UnionType):
            optional = optional or kind.includes_none
            kind = kind.types[0]
        else:
            kind = kind.type
    return kind, optional


def _given(table: Struct) -> Iterator[tuple[str, Any, _Limits]]:
    """Key, value and limits of each number of `table`."""
    for attribute, key, optional, by_name, limits in _fields(type(table)):
        value = getattr(table, attribute)
        if by_name:
            for name, each in value.items():
                yield f"{key}.{name}", each, limits
        elif value is not None or not optional:
            yield key, value, limits


def _check(key: str, value: Any, limits: _Limits) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is {value!r}; it must be a number")
    fits = (
        isfinite(value)
        and (limits.gt is None or value > limits.gt)
        and (limits.ge is None or value >= limits.ge)
        and (limits.lt is None or value < limits.lt)
        and (limits.le is None or value <= limits.le)
    )
    if not fits:
        raise ValueError(f"{key} is {value!r}; it must be {_range(limits)}")
    if isinstance(limits, inspect.IntType) and not isinstance(value, int):
        raise TypeError(f"{key} is {value!r}; it must be a whole number")


def _check_size(key: str, value: float) -> None:
    """Refuse what makes infinities and zeros where it is multiplied and divided."""
    if abs(value) > MOST:
        raise ValueError(f"{key} is {value!r}; it must be at most {MOST:g}")
    if 0 < abs(value) < 1 / MOST:
        raise ValueError(f"{key} is {value!r}; it must be at least {1 / MOST:g}, or 0")


def _range(limits: _Limits) -> str:
    words = {"more than": limits.gt, "at least": limits.ge}
    words |= {"less than": limits.lt, "at most": limits.le}
    told = [f"{word} {limit:g}" for word, limit in words.items() if limit is not None]
    return ", ".join(["a finite number", *([" and ".join(told)] if told else [])])
