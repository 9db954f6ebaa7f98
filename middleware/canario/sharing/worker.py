"""A member at work in a process: on a thread, with a lock, over forks."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from canario.clock import Clock
from canario.control.journal import JournalError
from canario.control.machine import Command
from canario.control.open_requests import OpenRequests, Request
from canario.control.recording import Outcome
from canario.control.rollout import Rollout
from canario.control.shard import Shard
from canario.control.violation import Violation
from canario.host.ticker import Ticker
from canario.judges.verdict import Judge
from canario.metrics.counts import Counts
from canario.past import JournalMismatchError
from canario.plan import Deployment
from canario.routing.router import Arm
from canario.stores.shared import SharedStore, StoreError

from .entry import FormatError, read_end, write_end
from .member import PATIENCE_SECONDS, Member
from .presence import Page, Presence, make_presence

__all__ = ["Worker"]

# How soon others' entries are seen where nothing tells of them, s.
POLL_SECONDS = 0.1

# A store that could not be used is tried again so much later, s.
AGAIN_SECONDS = 0.5

# What gives an order waits so long for a turn that is under way, s.
_BUSY_SECONDS = 5.0


class Worker:
    """This process's part in a shared rollout.

    Nothing that serves a request waits for the store: a thread reads it, tells what was counted and
    makes the checks that are due.

    Args:
        deployment: The plan, with the release's name.
        store: Where the rollout is shared.
        clock: Gives the instant, in seconds.
        lock: The controller's; held by whoever counts.
        judge: Judges instead of the plan's.
        took_effect: Called after each turn without the lock: the share, the events or what is given
            up may have changed.
        all_told: Whether the sinks have heard of all that is in `telling`.
        log: Where an operator is told of the store.

    Attributes:
        page: Where all workers of this host see that the canary is withdrawn.
        presence: Where it stands what this worker has in flight; None where nobody could see it.
        telling: The entries that this worker's sinks are being told of, by their ids.
    """

    def __init__(
        self,
        deployment: Deployment,
        store: SharedStore,
        *,
        clock: Clock,
        lock: AbstractContextManager[object],
        judge: Judge | None,
        took_effect: Callable[[], object],
        all_told: Callable[[], object],
        log: logging.Logger,
    ) -> None:
        self._deployment = deployment
        self._release = deployment.deployment_id or ""
        self._store = store
        self._clock = clock
        self._lock = lock
        self._judge = judge
        self._took_effect = took_effect
        self._all_told = all_told
        self._log = log
        self._open = OpenRequests(deployment.rollback_thresholds)
        self._begin()

    def _begin(self) -> None:
        self._turns = threading.Lock()
        self._away = False
        self._due = 0.0
        self._began = False
        self.presence: Presence | None = None
        self.telling: list[str] = []
        self.page: Page | None = None
        self._files: Path | None = None  # where the workers of this host have theirs
        self._ticker = Ticker(self._look)
        self.member = Member(
            self._deployment,
            self._store,
            clock=self._clock,
            worker=f"{os.getpid()}-{secrets.token_hex(8)}",
            new_id=lambda: secrets.token_hex(8),
            open_requests=self._open,
            judge=self._judge,
            lock=self._lock,
            # Who moves the time by hand watches all of it.
            patience=PATIENCE_SECONDS if self._live else float("inf"),
        )

    def __repr__(self) -> str:
        return f"<Worker {self.member.worker} of {self._release!r} on {self._store!r}>"

    @property
    def _live(self) -> bool:
        return bool(getattr(self._clock, "live", False))

    # -- what a controller asks

    @property
    def rollout(self) -> Rollout:
        """The rollout, as the log has it."""
        return self.member.rollout

    @property
    def shard(self) -> Shard:
        """Who is told of requests."""
        return self.member.shard

    @property
    def share(self) -> float:
        """Percent of the keys that go to the canary here and now."""
        return self.member.share

    def log_time(self, now: float) -> float:
        """The log's instant at `now` of this process's clock."""
        return now + self.member.ahead

    def start(self) -> None:
        """Take part. What is away now is tried again; the baseline serves meanwhile.

        Raises `JournalMismatchError` when the release has another plan in the store, and
        `JournalError` when the store holds what this canario cannot read.
        """
        if not self._began:
            self._began = True
            self._appear()
            try:
                self.turn()
            except FormatError as error:
                self.member.refused = str(error)
            except StoreError as error:
                self._say_away(error)
            if self.member.refused is not None:
                self._took_effect()
                raise JournalMismatchError(f"{self._store!r}: {self.member.refused}")
        if self._live and self.member.refused is None:
            self._ticker.start()

    def _appear(self) -> None:
        folder = self._store.folder
        if folder is None:
            return
        name = hashlib.sha256(self._release.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        self._files = folder / name
        made = make_presence(self._files, self.member.worker)
        if isinstance(made, str):
            self._log.warning(
                "%s: a worker that the canary kills is not noticed, and what it leaves unanswered "
                "counts for nothing: %s",
                self._release,
                made,
            )
            self._files = None
        else:
            self.presence = made

    def turn(self) -> None:
        """Read, tell and decide what is due, now. Raises `StoreError`."""
        try:
            with self._turn_of_ours():
                self._turn()
            self._due = self.member.due(self._clock())
        except StoreError:
            self._due = self._clock() + AGAIN_SECONDS
            raise
        finally:  # where the store is away, too: then it may have withdrawn the canary by itself
            self._took_effect()

    def _turn(self) -> None:
        try:
            self._bury_the_dead()
        finally:
            self._look_at_the_page()
        if self.telling and self._all_told():
            self.member.told(self.telling)
            self.telling.clear()

    def _look_at_the_page(self) -> None:
        """What one worker of this host knows of a withdrawal, all of them know."""
        member = self.member
        if self._files is None or not member.fold.log:
            return
        if self.page is None or self.page.log != member.fold.log:
            try:
                self.page = Page(self._files, member.fold.log)
            except OSError:
                return  # that there are no files was said when they were to be made
        if member.end() is not None:
            self._mark_the_page()
        elif self.page.flag[0]:
            with self._lock:
                member.withdrawn = read_end(self.page.how())

    def _mark_the_page(self) -> None:
        end = self.member.end()
        if end is not None and self.page is not None:
            with suppress(OSError):  # it is told by the store as well
                self.page.withdraw(write_end(end))

    def _bury_the_dead(self) -> None:
        if self.presence is None:
            self.member.turn()
            return
        waiting = [each for each in self._open.requests() if each.first_at is None]
        canary = sum(each.arm == "canary" for each in waiting)
        self.presence.correct(len(waiting) - canary, canary)
        dead = self.presence.gone()
        for each in dead:
            left = each.baseline or each.canary
            if left and self.member.crashed(
                each.worker, baseline=each.baseline, canary=each.canary
            ):
                self._log.error(
                    "%s: worker %s died and left %d requests of the canary and %d of the baseline "
                    "unanswered; they count as errors",
                    *(self._release, each.worker, each.canary, each.baseline),
                )
        try:
            self.member.turn()
        finally:
            for each in dead:
                if self.member.knows(each.worker) or not (each.baseline or each.canary):
                    self.presence.bury(each)
                else:
                    self.presence.let_go(each)

    def tick(self) -> None:
        """A turn, where time is moved by hand: then nobody else makes it."""
        if not self._live and self._clock() >= min(self._due, self.member.shard.due):
            with suppress(StoreError):
                self.turn()

    @property
    def _counts(self) -> bool:
        """Whether there is anybody to count for: not before the start, nor for another's plan."""
        return self._began and self.member.refused is None

    def observe(
        self,
        now: float,
        arm: Arm,
        outcome: Outcome,
        latency_ms: float | None,
        request: Request | None,
    ) -> None:
        """See `Shard.observe`."""
        if self._counts:
            self.shard.observe(now, arm, outcome, latency_ms, request)
        elif request is not None:
            self._open.discard(request)

    def observe_counts(self, now: float, arm: Arm, counts: Counts) -> None:
        """See `Shard.observe_counts`."""
        if self._counts:
            self.shard.observe_counts(now, arm, counts)

    def violate(self, now: float, arm: Arm, violation: Violation) -> None:
        """See `Member.violate`."""
        if not self._counts:
            return
        self.member.violate(now, arm, violation)
        self._mark_the_page()
        self._due = 0.0  # the others are to be told at once

    def order(self, order: Command) -> None:
        """Obey an operator, in all workers; see `Member.order`."""
        if order is Command.ABORT:
            self.member.abort()
            self._mark_the_page()
            self._took_effect()
            with suppress(StoreError):  # the thread tries again; here it is in force
                self.turn()
            return
        with self._turn_of_ours():
            self.member.order(order)
        self._took_effect()

    def leave(self) -> bool:
        """Tell all that is left, and take no more part. False when nobody can be told."""
        self._ticker.stop()
        try:
            with self._turn_of_ours():
                self.member.leave()
                if self.telling and self._all_told():
                    self.member.told(self.telling)
        except StoreError:
            return False
        finally:
            if self.presence is not None:
                self.presence.close()
                self.presence = None
            self._store.close()
        return True

    # -- inside

    @contextmanager
    def _turn_of_ours(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=_BUSY_SECONDS):
            raise StoreError(f"{self._store!r} keeps another thread waiting")
        try:
            yield
        finally:
            self._turns.release()

    def _look(self) -> float | None:
        """On the thread: seconds until the next look."""
        now = self._clock()
        try:
            if now >= self._due or self._page_turned() or self._store_moved():
                self.turn()
                self._say_back()
        except FormatError as error:
            self.member.refused = str(error)
        except StoreError as error:
            self._say_away(error)
        except JournalError as error:  # what others have decided, this canario cannot follow
            self.member.refused = str(error)
        if self.member.refused is not None:
            self._log.error(
                "%s: this worker takes no part, and the baseline serves everybody: %s",
                self._release,
                self.member.refused,
            )
            self._took_effect()
            return None
        return min(POLL_SECONDS, self._due - now)

    def _page_turned(self) -> bool:
        return self.page is not None and bool(self.page.flag[0]) and self.member.end() is None

    def _store_moved(self) -> bool:
        if not self._turns.acquire(blocking=False):
            return False  # whoever takes a turn sees it
        try:
            return self._store.head(self._release) != self.member.fold.head.id
        finally:
            self._turns.release()

    def _say_away(self, error: StoreError) -> None:
        if not self._away:
            self._away = True
            self._log.error(
                "%s: the store cannot be used: %s; %s, and it is tried again until it can",
                self._release,
                error,
                "this worker goes on alone: it keeps the share and may withdraw, it does not "
                "advance"
                if self.member.born
                else "until then the baseline serves everybody",
            )

    def _say_back(self) -> None:
        if self._away:
            self._away = False
            self._log.warning("%s: the store can be used again", self._release)

    def after_fork_in_child(self, lock: AbstractContextManager[object]) -> None:
        """Another worker, who has not read anything; the controller's lock is a new one, too."""
        self._lock = lock
        self._open.clear()  # the parent serves them
        self._store.after_fork()
        if self.presence is not None:
            self.presence.abandon()
        self._begin()
