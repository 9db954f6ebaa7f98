"""How every candidate did over many replications of a condition: sums, and no more."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, fields
from math import inf

import numpy as np
from msgspec import Struct

from canario_sim.lab.experiment import Condition, seed_number
from canario_sim.streams import Floats, Ints

from .goals import Goals
from .grid import Grid
from .judged import Judged, judge_all

__all__ = ["Sums", "Tally", "Task", "add_up", "begins", "count"]


@dataclass(frozen=True, slots=True)
class Sums:
    """Over some replications, for each candidate (see `Grid.shape`).

    Attributes:
        rolled_back: How many were.
        within: Of those, how many soon enough after the regression began.
        at_most: How many replications had few enough bad requests.
        promoted: How many were promoted.
        bad: Bad requests, added up.
        seconds: Seconds that the promoted ones took, added up.
    """

    rolled_back: Ints
    within: Ints
    at_most: Ints
    promoted: Ints
    bad: Ints
    seconds: Floats

    @classmethod
    def zero(cls, shape: tuple[int, ...]) -> Sums:
        """Of no replication."""
        back, within, at_most, promoted, bad = (np.zeros(shape, np.int64) for _ in range(5))
        return cls(back, within, at_most, promoted, bad, np.zeros(shape))


class Task(Struct, frozen=True, kw_only=True):
    """Replications `first` to `last` − 1 of a condition, under every candidate."""

    condition: Condition
    grid: Grid
    goals: Goals
    slow_above_ms: float
    seed: int
    first: int
    last: int


class Tally(Struct, frozen=True, kw_only=True):
    """What came of a task, small enough to be sent and kept; `add_up` unpacks it.

    `rehearsals` were simulated for it, `repeated` of them because candidates waited for more
    requests than others.
    """

    replications: int
    rehearsals: int
    repeated: int
    packed: str


def count(task: Task) -> Tally:
    """What a worker does."""
    sums = Sums.zero(task.grid.shape)
    rehearsals = 0
    for replication in range(task.first, task.last):
        made = judge_all(
            task.condition.scenario,
            seed_number(task.seed, replication),
            task.grid,
            hurry=task.condition.kind == "regression",
        )
        rehearsals += len(made)
        for judged in made:
            _add(sums, judged, task)
    number = task.last - task.first
    # Neighbours mostly count the same, so it packs well; base 64, since it is kept in lines of
    # JSON.
    content = b"".join(getattr(sums, field.name).tobytes() for field in fields(Sums))
    return Tally(
        replications=number,
        rehearsals=rehearsals,
        repeated=rehearsals - number,
        packed=b64encode(zlib.compress(content)).decode(),
    )


def add_up(tallies: Iterable[Tally], shape: tuple[int, ...]) -> Sums:
    """The sums of several tasks. Raises `ValueError` for what is no tally of such a grid."""
    whole = Sums.zero(shape)
    for tally in tallies:
        try:
            content = zlib.decompress(b64decode(tally.packed, validate=True))
        except (ValueError, zlib.error) as error:
            raise ValueError(f"the sums of a task cannot be read: {error}") from None
        parts = np.frombuffer(content, np.int64)
        if parts.size != len(fields(Sums)) * int(np.prod(shape)):
            raise ValueError("the sums of a task are of another grid")
        for field, part in zip(fields(Sums), np.split(parts, len(fields(Sums))), strict=True):
            own = getattr(whole, field.name)
            # Whole numbers and floats have 8 bytes alike.
            own += part.view(own.dtype).reshape(shape)
    return whole


def _add(sums: Sums, judged: Judged, task: Task) -> None:
    looks = len(judged.trajectory.at)
    end = judged.trajectory.end
    back, through = np.ones(looks + 1, np.int64), np.zeros(looks + 1, np.int64)
    if end is not None:
        # Some roll back without a threshold: at the deadline for missing evidence.
        back[looks] = end.outcome == "rolled_back"
        through[looks] = end.outcome == "completed"
    instants = judged.instants()
    bad = judged.bad(task.slow_above_ms)
    latest = begins(task.condition) + (task.goals.within_seconds or inf)
    most = inf if task.goals.at_most is None else task.goals.at_most
    by_look = {
        "rolled_back": back,
        "within": back * (instants <= latest),
        "at_most": (bad <= most).astype(np.int64),
        "promoted": through,
        "bad": bad,
        "seconds": np.where(through > 0, instants, 0.0),
    }
    rules, _, rates, _ = task.grid.shape
    places = np.ix_(range(rules), judged.samples, range(rates), judged.limits)
    for name, values in by_look.items():
        getattr(sums, name)[places] += values[judged.crossings.look]


def begins(condition: Condition) -> float:
    """When a release begins to be bad, in seconds from the rollout's start.

    The first instant at which its canary alone has a fault or breaks a contract; 0 when it serves
    otherwise from the start.
    """
    scenario = condition.scenario
    if not scenario.serves_alike:
        return 0.0
    struck = [*scenario.faults, *scenario.contract_failures]
    own = [
        each.at for each in struck if each.strikes("canary") and not each.strikes("baseline")
    ] or [each.at for each in struck if each.strikes("canary")]
    return min(own, default=0.0)
