"""A backtest for programs."""

from __future__ import annotations

import json

from msgspec import to_builtins

from canario_sim.backtest.backtest import Backtest

__all__ = ["finite", "json_text"]


def json_text(made: Backtest | dict[str, object]) -> str:
    """JSON, with two spaces of indent, that ends in a line feed.

    It holds nothing but what the tape, the policies and the seed decide: no date and no path.
    """
    return json.dumps(finite(to_builtins(made)), indent=2, ensure_ascii=False) + "\n"


def finite(value: object) -> object:
    """JSON knows no infinity: null."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
