"""The log of a shared rollout as one worker has read it: the rollout that it leads to."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from msgspec import Struct, msgpack
from msgspec.structs import replace

from canario.control.events import Event
from canario.control.rollout import Rollout, RolloutMemory
from canario.judges.verdict import Judge
from canario.metrics.in_flight import NOTHING_SEEN, Seen
from canario.plan import Deployment
from canario.stores.shared import NOBODY, Reading

from .entry import (
    Begun,
    Checked,
    Crashed,
    Entry,
    Input,
    Ordered,
    Violated,
    Withdrawn,
    read_entry,
    read_events,
    read_kept,
    read_snapshot,
    write_kept,
)

__all__ = ["Fold", "Known", "entries_of"]


# So many names of the dead are remembered, for whoever finds one of their files once more.
_DEAD = 1000


class Known:
    """What is in flight, as the last check was told."""

    def __init__(self) -> None:
        self.seen = NOTHING_SEEN

    def look(self, at: float, *, settle: bool) -> Seen:  # noqa: ARG002 - it was looked at by each
        """See `canario.control.open_requests.Flights`."""
        return self.seen


class _Memory(Struct, frozen=True, kw_only=True):
    """A checkpoint."""

    log: str
    at: float
    seen: Seen
    gap: tuple[float, float] | None
    dead: list[str]
    rollout: RolloutMemory


_memories = msgpack.Decoder(_Memory).decode


class Fold:
    """The state that the entries up to `head` lead to.

    Attributes:
        rollout: The rollout.
        head: The last entry.
        log: The id of the first one, which tells one log from another under the same name.
        at: Its instant, on the log's time.
        journal: The events of all of them.
        gap: The last time that nobody watched, from when to when.
        dead: The workers that were last found dead.
        diverged: How many of them this canario would have decided otherwise.
    """

    def __init__(self, deployment: Deployment, judge: Judge | None = None) -> None:
        self._flights = Known()
        # A copy: a judge remembers, and the log may have to be folded anew.
        self.rollout = Rollout(deployment, deepcopy(judge), self._flights)
        self.head = NOBODY
        self.at: float | None = None
        self.log = ""
        self.journal: list[Event] = []
        self.gap: tuple[float, float] | None = None
        self.dead: list[str] = []
        self.diverged = 0

    def begin(self, reading: Reading) -> None:
        """Take up what a reading holds of before its entries; this fold must be new."""
        if reading.checkpoint is None:
            return
        self.head, dumped = reading.checkpoint
        memory = read_kept(dumped, _memories)
        self.log, self.at = memory.log, memory.at
        self.gap, self.dead = memory.gap, memory.dead
        self._flights.seen = memory.seen
        self.rollout.recall(memory.rollout)
        for kept in reading.journal:
            self.journal += read_events(kept)
        self.rollout.history.extend(map(read_snapshot, reading.history))

    def take(self, entry: Entry) -> Sequence[Event]:
        """Fold the next entry. Returns the events that have taken effect."""
        if not self.rollout.follow(entry.events, lambda: self._step(self.rollout, entry)):
            self.diverged += 1
        self.head, self.at = entry.head, entry.at
        self.log = self.log or entry.id
        match entry.input:
            case Checked(since=since) if since is not None:
                self.gap = since, entry.at
            case Crashed(worker=worker):
                self.dead = [*self.dead[1 - _DEAD :], worker]
        self.journal += entry.events
        return entry.events

    def propose(self, given: Input, at: float, *, by: str, new_id: str) -> Entry:
        """The entry that `given` would be at the instant `at`, for an append.

        Raises `CommandRefusedError` for an order that the state does not allow.
        """
        trial, seen = self.rollout.trial(), self._flights.seen
        entry = Entry(
            number=self.head.number + 1,
            id=new_id,
            before=self.head.id,
            at=at,
            by=by,
            input=given,
            events=(),
        )
        try:
            events = self._step(trial, entry)
        finally:
            self._flights.seen = seen
        saw = trial.history[-1] if trial.history else None
        return replace(entry, events=tuple(events), seen=saw)

    def memory(self) -> bytes:
        """A checkpoint; `begin` takes it up."""
        assert self.at is not None
        return write_kept(
            _Memory(
                log=self.log,
                at=self.at,
                seen=self._flights.seen,
                gap=self.gap,
                dead=self.dead,
                rollout=self.rollout.memory(),
            )
        )

    def _step(self, rollout: Rollout, entry: Entry) -> list[Event]:
        at = entry.at
        match entry.input:
            case Begun():
                return rollout.start(at)
            case Checked() as checked:
                for row in checked.rows:
                    rollout.count(row.at, row.arm, row.tally, row.era)
                self._flights.seen = checked.seen
                return rollout.check(
                    at, since=checked.since, unheard=checked.unheard, latest=checked.latest
                )
            case Violated(arm=arm, violation=violation):
                return rollout.broken(at, arm, violation)
            case Ordered(order=order):
                return rollout.command(order, at)
            case Crashed(baseline=baseline, canary=canary):
                return rollout.crash(at, baseline=baseline, canary=canary)
            case Withdrawn(event=event):
                return rollout.withdraw(event)


def entries_of(reading: Reading) -> list[Entry]:
    """The entries of a reading."""
    return [read_entry(stored) for stored in reading.entries]
