"""Which of several services a file is read for: what is mixed is asked for, not guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from canario.contracts.quoting import brief
from canario.tape.format import TapeError

__all__ = ["Where", "only_one"]

_NAMED = 8


class Where:
    """Names and the values that they have to have; with none of them everything is taken."""

    def __init__(self, wanted: Mapping[str, str]) -> None:
        self._wanted = dict(wanted)

    def __bool__(self) -> bool:
        return bool(self._wanted)

    def __str__(self) -> str:
        return " and ".join(f"{name}={brief(value, 40)}" for name, value in self._wanted.items())

    def takes(self, values: Mapping[str, Any]) -> bool:
        """Whether these have all of them."""
        return all(
            name in values and str(values[name]) == value for name, value in self._wanted.items()
        )


def only_one(path: Path, what: str, name: str, found: Counter[str]) -> None:
    """Refuse what is of several services, jobs, …: together they are no service at all.

    Raises `TapeError` that names them, and the option that takes one.
    """
    if len(found) < 2:
        return
    named = [f"{brief(value, 40)} ({n:,})" for value, n in found.most_common(_NAMED)]
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    raise TapeError(
        f"{path} holds {what} of {len(found)} values of {name}: {', '.join(named)}{more}; "
        f"take one with --where {name}={brief(found.most_common(1)[0][0], 40)}"
    )
