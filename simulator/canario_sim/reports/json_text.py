"""A backtest for programs."""

from __future__ import annotations

import json
from typing import Any

from msgspec import to_builtins

from canario_sim.backtest.backtest import Backtest

__all__ = ["finite", "json_text"]

# What is told of the run of a policy, in this order; the rest of it is of rehearsals.
_OF_RUN = (
    "outcome",
    "reason",
    "why",
    "ended_at",
    "final_stage",
    "events",
    "notes",
    "history",
    "baseline",
    "canary",
    "exposure",
)


def json_text(made: Backtest | dict[str, object]) -> str:
    """JSON, with two spaces of indent, that ends in a line feed.

    It holds nothing but what the tape, the policies and the seed decide: no date and no path.
    """
    document = to_builtins(made)
    if isinstance(made, Backtest):
        document["policies"] = list(map(_flat, document["policies"]))
    return json.dumps(finite(document), indent=2, ensure_ascii=False) + "\n"


def _flat(judged: dict[str, Any]) -> dict[str, Any]:
    """A policy with what its run came to between its own fields, as programs have always had it."""
    run = {name: judged["run"][name] for name in _OF_RUN}
    own = list(judged.items())
    place = list(judged).index("run")
    return dict([*own[:place], *run.items(), *own[place + 1 :]])


def finite(value: object) -> object:
    """JSON knows no infinity: null."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
