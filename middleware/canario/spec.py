"""The base of everything that a scenario file declares: frozen values that check themselves."""

from __future__ import annotations

from functools import cache
from math import isfinite
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, inspect

from canario.limits import MOST
from canario.routing.router import Arm

__all__ = ["ARMS", "ArmOrBoth", "Count", "Percent", "Positive", "Seconds", "Spec"]

Percent = Annotated[float, Meta(ge=0, le=100)]
Positive = Annotated[float, Meta(gt=0)]
Seconds = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=1)]
ARMS: tuple[Arm, Arm] = ("baseline", "canary")
ArmOrBoth = Literal["baseline", "canary", "both"]


class Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of a scenario file.

    Every number must be finite and in the range that its `Meta` declares, whichever way the
    value was made; another one raises `ValueError` with the key, the value and what is valid.
    """

    def __post_init__(self) -> None:
        for name, key, limits in _numbers(type(self)):
            value = getattr(self, name)
            if value is not None:
                _check(key, value, limits)


@cache
def _numbers(kind: type[Spec]) -> tuple[tuple[str, str, inspect.FloatType | inspect.IntType], ...]:
    """Attribute, key and range of each field of `kind` that holds a number."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    found = []
    for field in info.fields:
        inner: Any = field.type
        while isinstance(inner, inspect.Metadata | inspect.UnionType):
            inner = inner.type if isinstance(inner, inspect.Metadata) else inner.types[0]
        if isinstance(inner, inspect.FloatType | inspect.IntType):
            found.append((field.name, field.encode_name, inner))
    return tuple(found)


def _check(key: str, value: float, limits: inspect.FloatType | inspect.IntType) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{key} is {value!r}; it must be a number")
    least = limits.ge if limits.gt is None else limits.gt
    fits = isfinite(value) and (limits.le is None or value <= limits.le)
    if fits and limits.le is None and isinstance(limits, inspect.FloatType):
        _check_size(key, value)
    if least is not None:
        fits = fits and (value >= least if limits.gt is None else value > least)
    if not fits:
        raise ValueError(f"{key} is {value!r}; it must be {_range(limits)}")


def _check_size(key: str, value: float) -> None:
    """Refuse what makes infinities and zeros where it is multiplied and divided."""
    if abs(value) > MOST:
        raise ValueError(f"{key} is {value!r}; it must be at most {MOST:g}")
    if 0 < abs(value) < 1 / MOST:
        raise ValueError(f"{key} is {value!r}; it must be at least {1 / MOST:g}, or 0")


def _range(limits: inspect.FloatType | inspect.IntType) -> str:
    parts = ["a finite number"]
    if limits.gt is not None:
        parts.append(f"more than {limits.gt:g}")
    if limits.ge is not None:
        parts.append(f"at least {limits.ge:g}")
    if limits.le is not None:
        parts.append(f"at most {limits.le:g}")
    return ", ".join(parts)
