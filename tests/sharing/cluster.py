"""Workers on one store whose time is moved by hand, and a store that fails as it is told to."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from typing import Any

from canario.control.recording import Outcome
from canario.plan import Deployment, RollbackThresholds, Stage
from canario.routing.router import Arm
from canario.sharing import Member
from canario.stores.shared import (
    Head,
    MemoryStore,
    Part,
    Reading,
    SharedStore,
    Still,
    StoredEntry,
    StoreError,
    Untold,
)

ARMS: tuple[Arm, Arm] = ("baseline", "canary")


def plan(judge: Any = None, **thresholds: Any) -> Deployment:
    limits = {"min_samples": 5, "metric_window_seconds": 20, **thresholds}
    return Deployment(
        deployment_id="shared",
        canary_stages=(Stage(5, 30), Stage(50, 17.5), Stage(100, 20)),
        rollback_thresholds=RollbackThresholds(**limits),
        **({} if judge is None else {"judge": judge}),
    )


class Cluster:
    """Workers, each with a clock of its own that is behind the first one's.

    All instants are sums of powers of two, so that what is added to a clock and taken away again is
    the same to the bit.
    """

    def __init__(
        self,
        deployment: Deployment,
        seed: int,
        workers: int,
        *,
        store: SharedStore | None = None,
        wrap: Callable[[SharedStore], SharedStore] = lambda store: store,
        member: type[Member] = Member,
    ) -> None:
        self.deployment = deployment
        self.store = store or MemoryStore()
        self.wrap = wrap
        self.make = member
        self.now = 1000.0
        self.random = random.Random(seed)
        self.offsets: dict[str, float] = {}
        self.members: list[Member] = []
        self._ids = (f"{n:016x}" for n in itertools.count(1))
        self._names = itertools.count()
        for _ in range(workers):
            self.join()

    def join(self) -> Member:
        """One worker more."""
        name = f"w{next(self._names)}"
        self.offsets[name] = 0.0 if name == "w0" else -self.random.randrange(100 * 1024) / 1024
        member = self.make(
            self.deployment,
            self.wrap(self.store),
            clock=lambda: self.now + self.offsets[name],
            worker=name,
            new_id=lambda: next(self._ids),
        )
        self.members.append(member)
        self.turn(member)
        return member

    def turn(self, member: Member) -> bool:
        """A turn of one worker. False when its store failed."""
        try:
            member.turn()
        except StoreError:
            return False
        return True

    def turns(self) -> None:
        """A turn of each, in any order."""
        for member in self.random.sample(self.members, len(self.members)):
            self.turn(member)

    def turns_that_are_due(self) -> None:
        """A turn of those for whom one is due."""
        for member in self.random.sample(self.members, len(self.members)):
            now = self.now + self.offsets[member.worker]
            if member.due(now - 1.0) <= now:
                self.turn(member)

    def observe(self, member: Member, arm: Arm, outcome: Outcome, latency_ms: float) -> None:
        """A request has ended at a worker."""
        now = self.now + self.offsets[member.worker]
        member.shard.observe(now, arm, outcome, latency_ms)


class Faulty:
    """A store that fails when it is told to: before it does anything, or after it has done it."""

    def __init__(
        self,
        store: SharedStore,
        fails: Callable[[], str | None],
        told: Callable[[Part | StoredEntry], object],
    ) -> None:
        self.store = store
        self.fails = fails
        self.heard = told

    def _do(self, step: Callable[[], Any]) -> Any:
        how = self.fails()
        if how == "before":
            raise StoreError("it is away")
        done = step()
        if how == "after":
            raise StoreError("nobody knows")
        if how == "twice":
            step()
        return done

    folder = None

    def releases(self) -> list[str]:
        found = self._do(self.store.releases)
        assert isinstance(found, list)
        return found

    def head(self, release: str) -> str:
        return str(self._do(lambda: self.store.head(release)))

    def read(self, release: str, known: Head) -> Reading:
        found = self._do(lambda: self.store.read(release, known))
        assert isinstance(found, Reading)
        return found

    def flush(self, release: str, part: Part) -> None:
        def step() -> None:
            self.store.flush(release, part)
            self.heard(part)

        self._do(step)

    def append(
        self, release: str, entry: StoredEntry, *, taken: Sequence[tuple[str, int]], still: Still
    ) -> bool:
        def step() -> bool:
            appended = self.store.append(release, entry, taken=taken, still=still)
            if appended:
                self.heard(entry)
            return appended

        return bool(self._do(step))

    def claim(self, release: str, *, at: float, before: float) -> Sequence[Untold]:
        found = self._do(lambda: self.store.claim(release, at=at, before=before))
        return list(found)

    def told(self, release: str, ids: Sequence[str]) -> None:
        self._do(lambda: self.store.told(release, ids))

    def checkpoint(self, release: str, head: Head, memory: bytes) -> None:
        self._do(lambda: self.store.checkpoint(release, head, memory))

    def leave(self, release: str, worker: str) -> None:
        self._do(lambda: self.store.leave(release, worker))

    def close(self) -> None:
        self.store.close()

    def after_fork(self) -> None:
        self.store.after_fork()
