"""Bugs that a shared rollout might have, planted on purpose: the schedules find each of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from math import inf
from typing import Any
from unittest import mock

import pytest
from tests.sharing.schedules import Schedule

from canario.control.machine import Command, CommandRefusedError
from canario.control.rollout import Rollout
from canario.control.state import Era
from canario.plan import Sequential
from canario.sharing import Member
from canario.sharing.entry import Checked, Input, Ordered, write_entry
from canario.stores.shared import MemoryStore, Part, Reading, Still, StoredEntry, StoreError

_append = MemoryStore.append


def append_without_compare(
    self: MemoryStore,
    release: str,
    entry: StoredEntry,
    *,
    taken: Sequence[tuple[str, int]],
    still: Still,
) -> bool:
    """Whoever comes later overwrites."""
    log = self._log(release)
    log.entries.append(entry)
    for each in taken:
        log.parts.pop(each, None)
    return still()


def flush_without_number(self: MemoryStore, release: str, part: Part) -> None:
    """A part that is told twice is two."""
    log = self._log(release)
    own = Part(
        worker=part.worker,
        number=part.number + 10_000 * len(log.parts),
        at=part.at,
        rows=part.rows,
        open=part.open,
    )
    log.workers[part.worker] = log.workers.get(part.worker) or _told(own)
    log.workers[part.worker] = _told(own)
    if part.rows:
        log.parts[own.worker, own.number] = own


def _told(part: Part) -> Any:
    from canario.stores.shared import Told

    return Told(part.worker, part.number, part.at, part.open)


def parts_stay(
    self: MemoryStore,
    release: str,
    entry: StoredEntry,
    *,
    taken: Sequence[tuple[str, int]],
    still: Still,
) -> bool:
    """What an entry has taken is there for the next one, too."""
    return _append(self, release, entry, taken=(), still=still)


class EffectFirst(Member):
    """An entry takes effect, whether the log takes it or not."""

    def _append(
        self, given: Input, taken: Sequence[tuple[str, int]] = (), at: float | None = None
    ) -> bool:
        if not isinstance(given, Checked | Ordered):
            return super()._append(given, taken, at)
        now = max(self._log_time() if at is None else at, self._began_at())
        entry = self.fold.propose(given, now, by=self.worker, new_id=self._new_id())
        self._take(entry)
        return self._store.append(
            self._release, write_entry(entry), taken=taken, still=lambda: True
        )


class FollowsTheLog(Member):
    """The share is the log's, whatever this worker knows."""

    @property
    def share(self) -> float:
        return self.rollout.state.share if self.born else 0.0


class ForgetsItsWithdrawal(Member):
    """A withdrawal is tried once, and not told again."""

    def _tell_withdrawal(self) -> None:
        with suppress(StoreError):
            super()._tell_withdrawal()
        self.withdrawn = None


class OrdersBlindly(Member):
    """An order is tried until it fits, whatever has become of the rollout."""

    def order(self, order: Command) -> None:
        if order is Command.ABORT:
            self.abort()
            return
        for _ in range(8):
            try:
                if self._append(Ordered(order=order)):
                    return
            except StoreError:
                pass
            self._read()


class NobodyElse(Member):
    """A stage ends on the word of those that could speak."""

    def _checked(
        self, reading: Reading, at: float, *, since: float | None = None, unheard: int = 0
    ) -> tuple[Checked, list[tuple[str, int]]]:
        del unheard
        return super()._checked(reading, at, since=since)


class SeesNoGap(Member):
    """Time that nobody watched is served."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options, patience=inf)


class TellsBeforeItLooks(Member):
    """What is told first hides that nobody had watched."""

    def _see_gap(self, reading: Reading) -> None:
        self._looked = self._clock()
        self._flush()
        super()._see_gap(self._store.read(self._release, self.fold.head))


def late_rows(self: Rollout, at: float, arm: Any, tally: Any, era: Era) -> None:
    """What belongs to an older stage, or to before a restart, counts as of now."""
    del era
    self.recorder.settle()
    self.recorder.count(arm, self.counts_at(at), tally, stage_before=False)


def found(seeds: range, *, member: type[Member] = Member, **options: Any) -> str | None:
    """What the first schedule says that does not keep what is promised."""
    for seed in seeds:
        schedule = Schedule(seed, member=member, judge=[None, Sequential()][seed % 2], **options)
        try:
            for _ in range(200):
                schedule.step()
            schedule.end()
        except CommandRefusedError:
            continue
        except Exception as error:
            return f"{seed}: {error!r}"
    return None


@pytest.mark.parametrize(
    "member",
    [
        EffectFirst,
        FollowsTheLog,
        ForgetsItsWithdrawal,
        OrdersBlindly,
        NobodyElse,
        SeesNoGap,
        TellsBeforeItLooks,
    ],
)
def test_a_worker_that_does_it_wrong_is_found(member: type[Member]) -> None:
    assert found(range(100), member=member) is not None


@pytest.mark.parametrize(
    ("method", "bug"),
    [
        ("append", append_without_compare),
        ("append", parts_stay),
        ("flush", flush_without_number),
    ],
)
def test_a_store_that_does_it_wrong_is_found(method: str, bug: Any) -> None:
    with mock.patch.object(MemoryStore, method, bug):
        assert found(range(100)) is not None


def test_rows_without_their_era_are_found() -> None:
    with mock.patch.object(Rollout, "count", late_rows):
        assert found(range(100)) is not None
