"""Schedules of faults, by their seeds, and what a shared rollout promises under each.

python -m tests.sharing.schedules 100000 [--seed N] [--processes N]

One seed is one schedule: workers that join, are stopped, are killed and leave, a store that fails
before or after it has done what it was asked for, or does it twice, orders and broken contracts.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import pairwise
from multiprocessing import Pool
from typing import Any

from tests.sharing.cluster import ARMS, Cluster, Faulty, plan

from canario.control.events import (
    Aborted,
    Paused,
    Promoted,
    Resumed,
    RolledBack,
    StageEntered,
)
from canario.control.machine import Command, CommandRefusedError
from canario.control.recording import Outcome
from canario.control.state import Era
from canario.control.violation import Violation
from canario.plan import Sequential
from canario.sharing import Member
from canario.sharing.entry import read_events
from canario.sharing.member import AWAY_SECONDS, PATIENCE_SECONDS
from canario.stores.shared import NOBODY, MemoryStore, Part, StoredEntry, StoreError


class Schedule:
    """A run of one seed, and what was seen of it."""

    def __init__(self, seed: int, *, member: type[Member] = Member, **deployment: Any) -> None:
        self.broken = 0.0  # how often the store fails just now
        self.watched: list[float] = []  # when the store was told something
        self.luck = random.Random(seed + 1)
        self.cluster = Cluster(
            plan(**deployment),
            seed,
            0,
            wrap=lambda store: Faulty(store, self.fails, self.told),
            member=member,
        )
        for _ in range(3):
            self.cluster.join()
        self.rand = self.cluster.random
        self.stopped: dict[str, float] = {}
        self.observed = 0
        self.in_era: Counter[Era] = Counter()  # the canary's requests, by where the worker stood
        self.since_restart: Counter[int] = Counter()
        self.withdrawn: set[str] = set()

    def told(self, what: Part | StoredEntry) -> None:
        self.watched.append(what.at)
        if isinstance(what, StoredEntry):
            for event in read_events(what.journal):
                if isinstance(event, StageEntered | Promoted) and event.by == "evidence":
                    self.all_were_heard(event.at)

    def fails(self) -> str | None:
        if self.luck.random() >= self.broken:
            return None
        how = self.luck.choice(["before", "after", "twice"])
        if self.luck.random() < 0.05:  # it is slow, or the worker is stopped just there
            self.cluster.now += self.luck.choice([0.5, 5.0, 50.0])
        return how

    def step(self) -> None:
        cluster, rand = self.cluster, self.rand
        cluster.now += rand.randrange(1, 1024) / 1024
        if rand.random() < 0.02:
            self.broken = rand.choice([0.0, 0.0, 0.3, 1.0])
        awake = [m for m in cluster.members if self.stopped.get(m.worker, 0.0) <= cluster.now]
        for member in rand.sample(awake, len(awake)):
            for _ in range(rand.randrange(3)):
                outcome = Outcome.BAD if rand.random() < 0.03 else Outcome.GOOD
                arm = rand.choice(ARMS)
                cluster.observe(member, arm, outcome, 20.0)
                self.observed += 1
                if arm == "canary":
                    self.in_era[member.shard.era] += 1
                    self.since_restart[member.shard.era.restarts] += 1
            if rand.random() < 0.9:
                cluster.turn(member)
            self.order(member)
        self.upheavals(awake)
        self.look()

    def order(self, member: Member) -> None:
        rand = self.rand
        chance = rand.random()
        if chance < 0.001:
            member.abort()
        elif chance < 0.002:
            now = self.cluster.now - member.ahead
            member.violate(now, "canary", Violation(message="no"))
        elif chance < 0.01:
            order = rand.choice([Command.PAUSE, Command.RESUME, Command.SKIP, Command.RESTART])
            era, told = member.rollout.state.era, len(member.fold.journal)
            with suppress(CommandRefusedError, StoreError):
                member.order(order)
                done = member.fold.journal[told:]
                where = {e.stage for e in done if isinstance(e, Paused | Resumed)}
                where |= {
                    e.stage - 1
                    for e in done
                    if isinstance(e, StageEntered) and e.by == "operator" and e.stage
                }
                assert where <= {era.stage}, "an order was obeyed for another stage"

    def upheavals(self, awake: Sequence[Member]) -> None:
        cluster, rand = self.cluster, self.rand
        if awake and rand.random() < 0.01:
            self.stopped[rand.choice(awake).worker] = cluster.now + rand.choice([2.0, 20.0, 200.0])
        if len(cluster.members) > 1 and rand.random() < 0.01:
            member = rand.choice(cluster.members)
            cluster.members.remove(member)
            if rand.random() < 0.5 and member in awake:
                with suppress(StoreError):
                    member.leave()
            self.withdrawn.discard(member.worker)
        if len(cluster.members) < 5 and rand.random() < 0.02:
            cluster.join()

    def look(self) -> None:
        """What must hold at every instant."""
        members = self.cluster.members
        longest = max((member.fold.journal for member in members), key=len)
        for member in members:
            journal = member.fold.journal
            assert journal == longest[: len(journal)], "two workers tell two stories"
            if member.withdrawn is not None or member.rollout.state.phase.withdrawn:
                self.withdrawn.add(member.worker)
            if member.worker in self.withdrawn:
                assert member.share == 0.0, "a canary that was withdrawn is served again"
            recorder, state = member.rollout.recorder, member.rollout.state
            assert recorder.stage().requests <= self.in_era[state.era], "of an older stage"
            since = recorder.canary.window.total().requests
            assert since <= self.since_restart[state.restarts], "of before a restart"
            counted = sum(member.rollout.recorder.arm(arm).total().requests for arm in ARMS)
            assert counted <= self.observed, "something was counted twice"

    def all_were_heard(self, at: float) -> None:
        """Of a stage that has just ended by evidence at the instant `at`."""
        store = self.cluster.store
        assert isinstance(store, MemoryStore)
        told = store.read("shared", NOBODY).workers
        living = {member.worker for member in self.cluster.members}
        for each in told:
            if each.worker in living and at - AWAY_SECONDS + 5 < each.at < at:
                raise AssertionError(f"{each.worker} was not heard")

    def end(self) -> None:
        """All is well again: everybody comes to one end."""
        self.broken = 0.0
        self.stopped.clear()
        cluster = self.cluster
        for _ in range(6):
            cluster.now += 1.0
            cluster.turns()
        cluster.turns()  # what the last of them has decided is read by all
        self.look()
        first = cluster.members[0]
        for member in cluster.members:
            assert member.fold.journal == first.fold.journal
            assert member.share == first.share
        ends = [
            event
            for event in first.fold.journal
            if isinstance(event, RolledBack | Aborted | Promoted)
        ]
        assert len(ends) <= 2, "it ended more than once"
        if self.withdrawn:
            assert first.rollout.state.phase.withdrawn, "a withdrawal was forgotten"
        self.holds_were_served()

    def holds_were_served(self) -> None:
        """No stage was left by evidence before its hold was over, as far as anybody watched."""
        entered: StageEntered | None = None
        stages = self.cluster.deployment.canary_stages
        # To the second: a worker that joins may be behind by what has passed since others spoke.
        gaps = [
            (since + PATIENCE_SECONDS, until - 2)
            for since, until in pairwise(sorted(self.watched))
            if until - since > PATIENCE_SECONDS + 3
        ]
        for event in self.cluster.members[0].fold.journal:
            if isinstance(event, StageEntered | Promoted) and event.by == "evidence" and entered:
                lost = sum(
                    max(0.0, min(event.at, until) - max(entered.at, since)) for since, until in gaps
                )
                served = event.at - entered.at - lost
                assert served >= stages[entered.stage].hold_seconds - 2, "a hold ended early"
            if isinstance(event, StageEntered):
                entered = event


def run(seed: int, steps: int = 300) -> str | None:
    """What the schedule of one seed says where it does not keep what is promised."""
    schedule = Schedule(seed, judge=[None, Sequential()][seed % 2])
    try:
        for _ in range(steps):
            schedule.step()
        schedule.end()
    except Exception as error:
        return f"{seed}: {error!r}"
    return None


def say(line: str) -> None:
    """For whoever plays them."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Play many schedules, on all processors; each that fails is told, by its seed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.sharing.schedules", description=main.__doc__
    )
    parser.add_argument("schedules", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first one")
    parser.add_argument("--processes", type=int, default=None)
    given = parser.parse_args()
    seeds = range(given.seed, given.seed + given.schedules)
    failed = 0
    with Pool(given.processes) as pool:
        for done, said in enumerate(pool.imap(run, seeds, chunksize=8), start=1):
            if said is not None:
                failed += 1
                say(said)
            if done % 1000 == 0 or done == len(seeds):
                say(f"{done:,} of {len(seeds):,} schedules, {failed} failed")
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
