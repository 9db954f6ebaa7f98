"""One worker of a shared rollout: reads the log, tells what it has counted, and decides for all.

Whoever finds a check due proposes it, and the log takes the first proposal. The order of effects
decides what a crash may break: a withdrawal takes effect here, then is appended; everything else
is appended, then takes effect.

A member has no thread: somebody calls `turn` about once a second, and when a check is due. Only
`turn`, `order`, `begin` and `leave` wait for the store, on one thread at a time; what they change
they change with `lock` held, never while they wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from math import inf
from typing import NamedTuple

from msgspec.structs import replace

from canario.control import machine
from canario.control.events import Aborted, Event, RolledBack, Started
from canario.control.machine import Command, CommandRefusedError
from canario.control.open_requests import OpenRequests
from canario.control.rollout import Rollout
from canario.control.shard import Row, Shard
from canario.control.state import Era, Phase
from canario.control.violation import Violation
from canario.judges.make import make_judge
from canario.judges.verdict import Judge
from canario.metrics.in_flight import NOTHING_SEEN, Seen
from canario.metrics.tally import Tally
from canario.past import JournalMismatchError, refuse_another
from canario.plan import Deployment, Sequential
from canario.routing.router import Arm
from canario.stores.shared import (
    NOBODY,
    Part,
    Reading,
    SharedStore,
    StoreError,
    Told,
)

from .entry import (
    Begun,
    Checked,
    Crashed,
    Entry,
    Input,
    Ordered,
    Rows,
    Violated,
    Withdrawn,
    read_events,
    read_rows,
    read_seen,
    write_entry,
    write_rows,
    write_seen,
)
from .fold import Fold, Known, entries_of

__all__ = ["Member", "News"]

# How often a worker tells what it has counted, s.
FLUSH_SECONDS = 1.0

# A check that is due waits so long for workers that have not told what they counted by then, s.
GRACE_SECONDS = 2.0

# When nobody has watched for so long (s), that time is not served.
PATIENCE_SECONDS = 3.0

# A worker that was not heard for so long (s) is not waited for: its host is away, or it is dead.
AWAY_SECONDS = 10.0

# Whoever decided something tells of it; when nobody was told for so long (s), another one does.
TELLING_SECONDS = 10.0

# After so many entries somebody keeps what they have led to.
CHECKPOINT_EVERY = 1000

# An order that the log does not take is tried again when others have been read, so often.
_TRIES = 8

# Of parts that a store does not take.
_MOST_PARTS = 3

# Of rows that could not be told for long, so many are kept apart.
_MOST_ROWS = 500


class _Given(NamedTuple):
    """What an order was given for."""

    phase: Phase
    era: Era


class News(NamedTuple):
    """An entry that was folded: its id, its events, and whether this worker is to tell of them."""

    id: str
    events: Sequence[Event]
    mine: bool


class Member:
    """One worker's part in a shared rollout.

    Args:
        deployment: The plan, with the release's name.
        store: Where the log is.
        clock: Gives the worker's instant, in seconds; steady.
        worker: Names this incarnation of the worker, and no other one ever.
        new_id: Makes random ids of entries.
        open_requests: What the worker has in flight.
        judge: Judges instead of the plan's.
        lock: Held by whoever counts; taken for what changes.
        patience: Longest time without anybody that watches (s); infinite where time is moved by
            hand.

    Attributes:
        shard: Who is told of requests.
        fold: The log so far.
        withdrawn: How this worker knows that the canary is withdrawn, whatever the log says.
        refused: Why this worker takes no part, where the release has another plan.
        born: Whether the store was read once: until then the baseline serves everybody.
    """

    def __init__(
        self,
        deployment: Deployment,
        store: SharedStore,
        *,
        clock: Callable[[], float],
        worker: str,
        new_id: Callable[[], str],
        open_requests: OpenRequests | None = None,
        judge: Judge | None = None,
        lock: AbstractContextManager[object] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        self._deployment = deployment
        self._release = deployment.deployment_id or ""
        self._store = store
        self._clock = clock
        self.worker = worker
        self._new_id = new_id
        self._judge = judge
        self._lock = threading.RLock() if lock is None else lock
        self._patience = patience
        open_requests = open_requests or OpenRequests(deployment.rollback_thresholds)
        self.shard = Shard(deployment, open_requests)
        self.fold = Fold(deployment, judge)
        self.withdrawn: RolledBack | Aborted | None = None
        self.refused: str | None = None
        self.born = False
        self._cap = inf  # the share that a lost log is not to raise
        self._violations: list[tuple[Arm, Violation]] = []  # that the log has not
        self._crashes: list[Crashed] = []
        self._number = 0  # of the last part
        self._outbox: list[tuple[Part, list[Row]]] = []  # that may have been told, or not
        self._rows: list[Row] = []  # that were not
        self._latest: dict[str, Violation] = {}
        self._looked = -inf  # when it last asked whether anybody watched, on its clock
        self._flushed = -inf  # when it was last told, on this worker's clock
        self._alone: Rollout | None = None
        self._seen = Known()  # what is in flight here, for whoever judges alone
        self._news: list[News] = []
        self._asked = -inf  # when it last looked for what nobody was told of
        self._workers = 1  # that were heard lately

    # -- what is in force

    @property
    def rollout(self) -> Rollout:
        """The rollout as the log has it."""
        return self.fold.rollout

    @property
    def share(self) -> float:
        """Percent of the keys that go to the canary here and now."""
        if not self.born or self.refused is not None or self.withdrawn is not None:
            return 0.0
        return min(self.fold.rollout.state.share, self._cap)

    @property
    def ahead(self) -> float:
        """How far the log's time is ahead of this worker's clock, in seconds."""
        return self.shard.ahead

    def due(self, now: float) -> float:
        """When the next turn is due, on this worker's clock."""
        following = self._flushed + FLUSH_SECONDS
        check = self.rollout.due - self.ahead
        return min(following, check) if check > now else following

    def violate(self, now: float, arm: Arm, violation: Violation) -> None:
        """Count a broken contract of a request that was observed; with `lock` held.

        The canary's withdraws it here and now, unless the contract has a budget.
        """
        rollout = self.rollout
        running = rollout.state.phase in (Phase.RUNNING, Phase.PAUSED)
        if self.shard.tolerates(arm, violation) or not running or self.withdrawn is not None:
            self.shard.violate(now, arm, violation)
            return
        trial = rollout.trial()
        for event in trial.broken(now + self.ahead, arm, violation):
            if isinstance(event, RolledBack):
                self.withdrawn = event
        self._violations.append((arm, violation))

    # -- turns

    def turn(self) -> None:
        """Read, tell, decide what is due; `take_news` has what has taken effect.

        Where the store cannot be reached this worker judges alone what it sees itself, and
        `StoreError` is raised.
        """
        if self.refused is not None:
            return
        try:
            self._turn()
        except StoreError:
            with self._lock:
                self._be_alone()
            raise
        with self._lock:
            self._alone = None

    def _tell_late(self) -> None:
        """Tell of what others were to tell of, and have not for so long that they must be dead."""
        now = self._log_time()
        if now < self._asked + TELLING_SECONDS:
            return
        self._asked = now
        late = self._store.claim(self._release, at=now, before=now - TELLING_SECONDS)
        self._news += [News(each.id, read_events(each.journal), mine=True) for each in late]

    def told(self, ids: Sequence[str]) -> None:
        """All have been told of these entries."""
        self._store.told(self._release, ids)

    def end(self) -> RolledBack | Aborted | None:
        """How the canary was withdrawn, as far as this worker knows."""
        if self.withdrawn is None and self.rollout.state.phase.withdrawn:
            last = self.fold.journal[-1]
            assert isinstance(last, RolledBack | Aborted)
            return last
        return self.withdrawn

    def take_news(self) -> list[News]:
        """The entries since the last call, but not what was there before this worker."""
        news, self._news = self._news, []
        return news

    def _turn(self) -> None:
        reading = self._read()
        if self.refused is not None:
            return
        if self.fold.head == NOBODY:
            self._append(Begun(deployment=self._deployment))
            reading = self._read()
        self._tell_withdrawal()
        self._tell_crashes()
        state = self.rollout.state
        if state.phase in (Phase.RUNNING, Phase.PAUSED):
            self._see_gap(reading)
        self._flush()
        if self.rollout.due <= self._log_time():
            self._check()
        self._tell_late()

    def _read(self) -> Reading:
        now = self._clock()
        reading = self._store.read(self._release, self.fold.head)
        entries = entries_of(reading)
        with self._lock:
            if reading.gone or (self.fold.head == NOBODY and reading.checkpoint is not None):
                self._begin_anew(reading, gone=reading.gone)
            for entry in entries:
                if self.refused is None:
                    self._take(entry)
            self._know_time(now, reading)
            self._workers = max(1, len(self._live(reading)))
            self.born = True
        return reading

    def _begin_anew(self, reading: Reading, *, gone: bool) -> None:
        if gone:
            # A backup was restored, or a server has forgotten: what it says of the share may be
            # older than what is in force.
            self._cap = min(self._cap, self.rollout.state.share)
            self.withdrawn = self.end()
        fold = Fold(self._deployment, self._judge)
        fold.begin(reading)
        self._refuse_another(fold.journal)
        if self.refused is not None:
            return
        self.fold = fold
        self._enter()

    def _take(self, entry: Entry) -> None:
        if isinstance(entry.input, Begun):
            self._refuse_another([Started(at=entry.at, deployment=entry.input.deployment)])
            if self.refused is not None:
                return
        events = self.fold.take(entry)
        mine = entry.by == self.worker
        if self.born or mine:
            self._news.append(News(entry.id, events, mine))
        if isinstance(entry.input, Checked):
            self._cap = inf
        self._enter()

    def _enter(self) -> None:
        """What is counted from now on belongs to where the rollout stands."""
        shard, state = self.shard, self.rollout.state
        shard.enter(state.era)
        shard.due = self.rollout.due - shard.ahead
        # So that no slice goes on beyond a check that has become due earlier.
        shard.reach_anew()
        shard.open.stage_began = state.entered_at - shard.ahead

    def _refuse_another(self, events: Sequence[Event]) -> None:
        try:
            refuse_another(self._deployment, events[:1])
        except JournalMismatchError as error:
            self.refused = str(error)

    def _know_time(self, now: float, reading: Reading) -> None:
        """Log time is what anybody has said it is, and goes on by this worker's steady clock."""
        said = [told.at for told in reading.workers]
        if self.fold.at is not None:
            said.append(self.fold.at)
        ahead = max(said, default=now + self.ahead) - now
        if not self.born:
            self.shard.forget()
        if ahead > self.shard.ahead or not self.born:
            self.shard.ahead = ahead
            self._enter()

    def _log_time(self) -> float:
        return self._clock() + self.ahead

    def _live(self, reading: Reading) -> list[Told]:
        """Those who are waited for: heard lately, of the time that anybody watched."""
        since = self._log_time() - AWAY_SECONDS
        return [told for told in reading.workers if self._as_if_heard(told.at) >= since]

    def _as_if_heard(self, at: float) -> float:
        """Who was there when all were stopped is as if heard when the first one woke."""
        if self.fold.gap is not None:
            gone, back = self.fold.gap
            if gone - AWAY_SECONDS <= at <= back:
                return back
        return at

    # -- telling

    def _flush(self, *, all_of_it: bool = False) -> None:
        """Tell what was counted; apart from it what was counted before a check that is due."""
        now = self._clock()
        if now - self._looked > self._patience:
            return  # this process was stopped just here: the next turn sees how long
        due = self.rollout.due - self.ahead
        if due <= now and self._flushed < due:
            self._pack(due)
        if now >= self._flushed + FLUSH_SECONDS or self._outbox or all_of_it:
            self._pack(now)
        while self._outbox:
            self._store.flush(self._release, self._outbox[0][0])
            del self._outbox[0]

    def _pack(self, until: float) -> None:
        if len(self._outbox) >= _MOST_PARTS:
            return  # the store takes none: what comes waits, and is added up
        with self._lock:
            seen = self._gather(until)
            rows, self._rows = self._rows, []
            latest, self._latest = self._latest, {}
            if self.rollout.state.phase.terminal:
                # No check takes them any more: they count in this worker's own totals.
                _count(self.rollout, rows)
                rows = []
        self._number += 1
        self._flushed = until
        part = Part(
            worker=self.worker,
            number=self._number,
            at=until + self.ahead,
            rows=write_rows(Rows(tuple(rows), latest)),
            open=write_seen(seen),
        )
        self._outbox.append((part, rows))

    def _gather(self, until: float) -> Seen:
        rows, seen, latest = self.shard.take(until)
        self._rows += rows
        self._latest |= latest
        if self._alone is not None:
            _count(self._alone, rows)
        if len(self._rows) > _MOST_ROWS:
            self._rows = _merged(self._rows, apart=False)
        return seen

    # -- deciding

    def _append(
        self, given: Input, taken: Sequence[tuple[str, int]] = (), at: float | None = None
    ) -> bool:
        """Append what `given` leads to, at the present instant unless it is that of a check.

        False when others have appended meanwhile, or when it took too long: then nothing was done,
        and all is to be looked at again.
        """
        began = self._clock()
        at = max(self._log_time() if at is None else at, self._began_at())
        with self._lock:
            entry = self.fold.propose(given, at, by=self.worker, new_id=self._new_id())
        appended = self._store.append(
            self._release,
            write_entry(entry),
            taken=taken,
            # A process that slept in between must not decide for a time that has passed.
            still=lambda: self._clock() - began <= self._patience,
        )
        if appended:
            with self._lock:
                self._take(entry)
            if entry.number % CHECKPOINT_EVERY == 0:
                self._store.checkpoint(self._release, self.fold.head, self.fold.memory())
        return appended

    def _tell_withdrawal(self) -> None:
        for _ in range(_TRIES):
            if not self.born or self.rollout.state.phase.withdrawn:
                self._violations.clear()
                return
            given: Input
            if self._violations:
                arm, violation = self._violations[0]
                given = Violated(arm=arm, violation=violation)
            elif self.withdrawn is not None:
                given = Withdrawn(event=self.withdrawn)
            else:
                return
            if self._append(given):
                if self._violations:
                    del self._violations[0]
            else:
                self._read()

    def crashed(self, worker: str, *, baseline: int, canary: int) -> bool:
        """Tell all of a worker that is dead, at the next turn; see `Rollout.crash`. False for one
        that waits to be told already: while the store is away it is found again and again."""
        if any(worker == dead.worker for dead in self._crashes):
            return False
        self._crashes.append(Crashed(worker=worker, baseline=baseline, canary=canary))
        return True

    def knows(self, worker: str) -> bool:
        """Whether the log has it that a worker is dead."""
        return worker in self.fold.dead

    def _tell_crashes(self) -> None:
        for dead in list(self._crashes):
            # Whoever found it first may have been killed before the file went: once is enough.
            for _ in range(_TRIES):
                if self.knows(dead.worker) or self._append(dead):
                    break
                self._read()
            self._store.leave(self._release, dead.worker)  # nobody has to wait for it
            self._crashes.remove(dead)

    def _see_gap(self, reading: Reading) -> None:
        """Before anything is told, which would look as if somebody had watched."""
        self._looked = self._clock()
        watched = self._watched(reading)
        if self._looked + self.ahead - watched > self._patience:
            # Whoever else serves it has not been heard either, so that no stage ends by this.
            given, taken = self._checked(reading, inf, since=watched, unheard=1)
            self._append(given, taken)
            self._read()

    def _watched(self, reading: Reading) -> float:
        """When anybody was last known to watch, on the log's time."""
        return max([self._began_at(), *(told.at for told in reading.workers)])

    def _began_at(self) -> float:
        return -inf if self.fold.at is None else self.fold.at

    def _check(self) -> None:
        reading = self._read()
        due, now = self.rollout.due, self._log_time()
        if due > now:
            return  # somebody was quicker
        watched = self._watched(reading)
        if now - watched > self._patience:  # the store kept this turn waiting
            given, taken = self._checked(reading, now, since=watched, unheard=1)
            self._append(given, taken, now)
            return
        heard = [told.at for told in self._live(reading)]
        unheard = sum(at < due for at in heard)
        late = now - due > self._patience
        if unheard and not late and now < due + GRACE_SECONDS:
            return
        # One that is late is one check, of up to where all were heard; without all it is of now.
        at = due
        if late:
            at = now if unheard else max(due, min(heard, default=now))
        given, taken = self._checked(reading, at, unheard=unheard)
        self._append(given, taken, at)

    def _checked(
        self, reading: Reading, at: float, *, since: float | None = None, unheard: int = 0
    ) -> tuple[Checked, list[tuple[str, int]]]:
        """A check with all that was told up to `at`, in an order that does not depend on who was
        heard first."""
        parts = sorted(
            (part for part in reading.parts if part.at <= at),
            key=lambda part: (part.at, part.worker, part.number),
        )
        told = read_rows([part.rows for part in parts])
        rows = sorted((row for each in told for row in each.rows), key=_place)
        latest: dict[str, Violation] = {}
        for each in told:
            latest |= each.latest
        seen = sum((read_seen(told.open) for told in self._live(reading)), NOTHING_SEEN)
        checked = Checked(
            rows=tuple(_merged(rows)), seen=seen, latest=latest, since=since, unheard=unheard
        )
        return checked, [(part.worker, part.number) for part in parts]

    # -- alone

    def _be_alone(self) -> None:
        """Judge what this worker sees itself: it may withdraw, and no more."""
        now = self._clock()
        state = self.rollout.state
        running = state.phase in (Phase.RUNNING, Phase.PAUSED)
        self._seen.seen = self._gather(now)
        if not self.born:
            self._rows.clear()
        if not self.born or not running or self.withdrawn is not None:
            return
        if self._alone is None:
            self._alone = self._begin_alone()
        alone = self._alone
        if alone.due <= now + self.ahead:
            for event in alone.check(now + self.ahead, latest=self._latest):
                if isinstance(event, RolledBack):
                    self.withdrawn = event

    def _begin_alone(self) -> Rollout:
        deployment = self._deployment
        judge, settings = deepcopy(self._judge), deployment.judge
        if judge is None and isinstance(settings, Sequential):
            # Each of so many workers may be wrong: together as seldom as one.
            settings = replace(settings, alpha=settings.alpha / self._workers)
            judge = make_judge(replace(deployment, judge=settings))
        alone = Rollout(deployment, judge, self._seen)
        alone.recall(self.rollout.memory())
        alone.never_ends()
        for _, rows in self._outbox:  # of which nobody knows whether others have them
            _count(alone, rows)
        _count(alone, self._rows)
        return alone

    # -- orders

    def order(self, order: Command) -> None:
        """Obey an operator, in all workers.

        An abort is in force here at once. Raises `CommandRefusedError` when the state does not
        allow the order, or is no longer that for which it was given; `StoreError` when nobody can
        be told.
        """
        if order is Command.ABORT:
            self.abort()
            return
        if not self.born:
            self.turn()
        # What is known here, and so what whoever orders has seen: all that is read now comes later.
        given = _Given(self.rollout.state.phase, self.rollout.state.era)
        self.turn()
        for _ in range(_TRIES):
            now = _Given(self.rollout.state.phase, self.rollout.state.era)
            if now != given:
                raise CommandRefusedError(
                    f"cannot {order}: meanwhile the rollout has gone on, it is {now.phase} in "
                    f"stage {now.era.stage}; look at it, and give the order again"
                )
            machine.command(self._deployment, self.rollout.state, order, self._log_time())
            if self._append(Ordered(order=order)):
                return
            self._read()
        raise StoreError(f"cannot {order}: others write the log all the time; try again")

    def abort(self) -> None:
        """Withdraw the canary here and now, and tell the others as soon as the store can be
        reached."""
        with self._lock:
            if self.withdrawn is None and not self.rollout.state.phase.withdrawn:
                stage = self.rollout.state.stage
                self.withdrawn = Aborted(at=self._log_time(), stage=stage)

    def leave(self) -> None:
        """Tell what is left, and that nobody has to wait for this worker."""
        if self.born and self.refused is None:
            self._turn()  # with all that has to be seen before anything is told
            self._flush(all_of_it=True)
            self._store.leave(self._release, self.worker)


def _count(rollout: Rollout, rows: Sequence[Row]) -> None:
    for row in rows:
        rollout.count(row.at, row.arm, row.tally, row.era)


def _place(row: Row) -> tuple[float, str, Era]:
    return row.at, row.arm, row.era


def _merged(rows: Sequence[Row], *, apart: bool = True) -> list[Row]:
    """Rows of one arm, era and, unless they need not be kept `apart`, instant are one."""
    merged: dict[tuple[float, Arm, Era], tuple[float, Tally]] = {}
    for row in rows:
        key = (row.at if apart else 0.0, row.arm, row.era)
        _, tally = merged.get(key, (row.at, Tally()))
        merged[key] = (row.at, tally + row.tally)
    return [Row(at, arm, era, tally) for (_, arm, era), (at, tally) in merged.items()]
