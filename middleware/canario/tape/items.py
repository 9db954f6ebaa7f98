"""What waits to be written on a tape, in the order in which the controller took it in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from canario.control.events import Event
from canario.control.violation import Violation
from canario.routing.router import Arm

if TYPE_CHECKING:
    from .mark import Mark

__all__ = ["Began", "Item", "Row", "Told", "Unfinished", "Violated"]

# When it counts, arm, outcome (its place in `OUTCOMES`), latency (ms), and what else is known of
# it: a plain tuple, since there is one for each request.
Row = tuple[float, Arm, int, "float | None", "Mark | None"]


class Began(Struct, frozen=True):
    """A rollout began at the instant `at`, or was taken up from the journal `past`.

    Not `whole`: it was under way already, and what it had counted is on no tape.
    """

    at: float
    past: tuple[Event, ...]
    whole: bool


class Told(Struct, frozen=True):
    """The journal went on."""

    events: tuple[Event, ...]


class Violated(Struct, frozen=True):
    """A contract was broken."""

    at: float
    arm: Arm
    violation: Violation
    mark: Mark | None


class Unfinished(Struct, frozen=True):
    """What is in flight when a tape ends: arrival (s), arm, whether it is timed, its route."""

    requests: tuple[tuple[float, Arm, bool, str | None], ...]


Item = Row | Began | Told | Unfinished | Violated
