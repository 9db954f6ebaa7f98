"""A run as JSON for machines and as a timeline for people."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Raw, json

from canario.control.events import Started
from canario.control.words import describe
from canario.printable import printable
from canario_sim.world.rehearsal import Run

__all__ = ["report", "reports", "timeline"]

_encoder = json.Encoder(order="deterministic")


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
    return json.format(json.encode(made), indent=2) + b"\n"


def timeline(run: Run) -> list[tuple[float, str]]:
    """What happened when, in words and in order; at one instant faults before the journal."""
    started = run.events[0]
    assert isinstance(started, Started)
    told = [(note.at, note.text) for note in run.notes]
    told += [(event.at, describe(event, started.deployment)) for event in run.events]
    return sorted(((at, printable(text)) for at, text in told), key=lambda line: line[0])
