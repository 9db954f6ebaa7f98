"""Tells which item of the page a test proves, so that none is forgotten."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, TypeVar

from tests.requirements.page import ITEMS

__all__ = ["proven_by", "proves"]

Test = TypeVar("Test", bound=Callable[..., object])

_PROVES = "proves_items"


def proves(*ids: str) -> Callable[[Test], Test]:
    """Note that a test proves these items. Raises `KeyError` for one that the page has not."""
    for item in ids:
        if ITEMS[item].elsewhere is not None:
            raise KeyError(f"{item} is said to be proven elsewhere")

    def note(test: Test) -> Test:
        setattr(test, _PROVES, ids)
        return test

    return note


def proven_by(module: ModuleType) -> Iterator[tuple[str, str]]:
    """Every item that a test of `module` proves, with that test's name."""
    for name, test in vars(module).items():
        proven: Any = getattr(test, _PROVES, ())
        yield from ((item, name) for item in proven)
