"""What was found out, as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import Raw, to_builtins
from msgspec import json as plain_json

from canario_sim.backtest.backtest import Backtest
from canario_sim.world.rehearsal import Run

__all__ = ["json_text", "report", "reports"]

_encoder = plain_json.Encoder(order="deterministic")

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


def report(run: Run) -> bytes:
    """The run as one JSON document, ending in a line feed.

    It holds nothing but what the scenario and the seed decide: no date, no path, no version.
    """
    return _encoder.encode({"ok": run.ok, "by_chance": run.by_chance, "run": run}) + b"\n"


def reports(runs: Sequence[Run]) -> bytes:
    """All runs as one JSON document for a program, indented, ending in a line feed."""
    made = {
        "ok": all(run.ok for run in runs),
        "reports": [Raw(report(run)) for run in runs],
    }
    return plain_json.format(plain_json.encode(made), indent=2) + b"\n"


def json_text(made: object) -> str:
    """A backtest, a calibration or a part of one: with two spaces of indent, and a line feed.

    It holds nothing but what the files, the policies and the seed decide: no date and no path.
    """
    document = to_builtins(made)
    if isinstance(made, Backtest):
        document["policies"] = list(map(_flat, document["policies"]))
    return json.dumps(_finite(document), indent=2, ensure_ascii=False) + "\n"


def _flat(judged: dict[str, Any]) -> dict[str, Any]:
    """A policy with what its run came to between its own fields, as programs have always had it."""
    run = {name: judged["run"][name] for name in _OF_RUN}
    own = list(judged.items())
    place = list(judged).index("run")
    return dict([*own[:place], *run.items(), *own[place + 1 :]])


def _finite(value: object) -> object:
    """JSON knows no infinity: null."""
    if isinstance(value, float) and value in (float("inf"), float("-inf")):
        return None
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return value
