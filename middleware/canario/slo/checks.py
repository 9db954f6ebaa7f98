"""What may be recorded: errors that name the value and what would be valid."""

from __future__ import annotations

from math import isfinite
from typing import Any, NoReturn

__all__ = ["milliseconds", "plain_name"]

# A name is kept for ever, so its length is bounded too.
_LONGEST_NAME = 256


def plain_name(flow_name: object) -> str:
    """The name as plain text, so that a member of an enumeration and its value are one flow.

    Raises `TypeError` for what is no text, `ValueError` for an empty or too long name.
    """
    if not isinstance(flow_name, str):
        raise TypeError(f"flow_name is {flow_name!r}; it must be text")
    name = str(flow_name)
    if not name.strip():
        raise ValueError(f"flow_name is {name!r}; it must not be empty")
    if len(name) > _LONGEST_NAME:
        raise ValueError(
            f"flow_name has {len(name)} characters ({name[:40]!r} ...); "
            f"at most {_LONGEST_NAME} are kept"
        )
    return name


def milliseconds(what: str, value: Any) -> float:
    """A time as a float. Raises `TypeError` for no number, `ValueError` for one out of range."""
    if isinstance(value, str | bytes | bool):
        _refuse(what, value, TypeError)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        _refuse(what, value, TypeError)
    if not isfinite(number) or number < 0:
        _refuse(what, value, ValueError)
    return number


def _refuse(what: str, value: object, error: type[Exception]) -> NoReturn:
    raise error(f"{what} is {value!r}; it must be a finite number of milliseconds, at least 0")
