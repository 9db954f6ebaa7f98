"""What came of an experiment, as one value; as JSON for machines and as CSV for tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from canario.plan import Deployment
from canario_sim.peers import Peer

from .experiment import Kind
from .replicate import Replications
from .summary import (
    Characteristics,
    Difference,
    Estimate,
    Quantile,
    characteristics,
    differences,
)

__all__ = ["Assessment", "Described", "Judge", "assessment", "csv_text", "json_text"]

_encoder = msgspec.json.Encoder(order="deterministic")


class Described(Struct, frozen=True, kw_only=True):
    """A condition in a report: `about` says in words what happens in it."""

    name: str
    kind: Kind
    about: str


class Judge(Struct, frozen=True, kw_only=True):
    """A policy in a report: a deployment or a peer; with neither it is each condition's plan."""

    name: str
    deployment: Deployment | None
    peer: Peer | None = None


class Assessment(Struct, frozen=True, kw_only=True):
    """The odds of every policy under every condition.

    Attributes:
        experiment: Its digest, as in the file of rows.
        seed: Of the experiment.
        confidence: Of every interval.
        complete: False when it was stopped before all `planned` replications were there.
        planned: Replications over all conditions.
        policies: What judged.
        conditions: What was met.
        characteristics: By condition and policy, of those that have any replication.
        differences: Every further policy against the first one, by condition.
    """

    experiment: str
    seed: int
    confidence: float
    complete: bool
    planned: int
    policies: tuple[Judge, ...]
    conditions: tuple[Described, ...]
    characteristics: tuple[Characteristics, ...]
    differences: tuple[Difference, ...] = ()


def assessment(made: Replications, *, confidence: float = 0.95) -> Assessment:
    """The assessment of what was replicated. A pure function of the rows."""
    experiment = made.experiment
    return Assessment(
        experiment=experiment.digest,
        seed=experiment.seed,
        confidence=confidence,
        complete=made.complete,
        planned=made.planned,
        policies=tuple(
            Judge(name=each.name, deployment=each.deployment, peer=each.peer)
            for each in experiment.policies
        ),
        conditions=tuple(
            Described(name=each.name, kind=each.kind, about=each.scenario.teaches)
            for each in experiment.conditions
        ),
        characteristics=characteristics(experiment, made.rows, confidence=confidence),
        differences=differences(experiment, made.rows, confidence=confidence),
    )


def json_text(assessed: Assessment) -> bytes:
    """One JSON document, ending in a line feed.

    It holds nothing but what the experiment decides: no date, no path, no number of workers.
    """
    return msgspec.json.format(_encoder.encode(assessed), indent=2) + b"\n"


def csv_text(assessed: Assessment) -> str:
    """A line for each condition and policy; intervals and quantiles in columns of their own."""
    out = io.StringIO()
    lines = [dict(_cells(each)) for each in assessed.characteristics]
    # Quantiles without values have no columns of their own; a line with all of them names them.
    names = list(dict.fromkeys(name for line in lines for name in line))
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _cells(each: Characteristics) -> Iterator[tuple[str, object]]:
    for name in each.__struct_fields__:
        if name == "rolled_back_by":
            continue  # a curve is no cell
        value = getattr(each, name)
        if isinstance(value, Estimate):
            yield from ((name, value.value), (f"{name}_low", value.low))
            yield f"{name}_high", value.high
        elif isinstance(value, dict):
            yield name, " ".join(f"{reason}:{count}" for reason, count in value.items())
        elif isinstance(value, tuple):
            yield from _quantile_cells(name, value)
        else:
            yield name, value


def _quantile_cells(name: str, quantiles: tuple[Quantile, ...]) -> Iterator[tuple[str, object]]:
    for each in quantiles:
        column = f"{name}_p{each.q * 100:g}"
        yield from ((column, each.value), (f"{column}_low", each.low))
        yield f"{column}_high", each.high
