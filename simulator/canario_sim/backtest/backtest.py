"""A tape judged: one frozen value with all that a report needs."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from canario.control.events import Event
from canario.plan import Deployment
from canario_sim.scenario.expect import Outcome
from canario_sim.world.rehearsal import Exposure, Run

__all__ = [
    "OWN",
    "Alarms",
    "Backtest",
    "Difference",
    "Fates",
    "Happened",
    "Judged",
    "TapeFacts",
    "Window",
]

# What the tape's own plan is called among the policies.
OWN = "own plan"

# Where the fate of a request comes from that a policy sends to another arm than it went to.
Fates = Literal["matched", "recorded"]


class TapeFacts(Struct, frozen=True, kw_only=True):
    """What a tape holds.

    Instants are in seconds on the clock of the host that recorded it. `whole`: everything that
    the rollout has seen is there, so that its own plan gives back its own journal.
    """

    source: str
    deployment_id: str | None
    began: float
    ends: float
    requests: int
    canary_requests: int
    errors: int
    neutral: int
    users: int
    routes: tuple[str, ...]
    violations: int
    whole: bool
    dropped: int
    workers: int
    restarts: int
    closed: bool


class Happened(Struct, frozen=True, kw_only=True):
    """What the live rollout came to, as its journal tells it; see `Run` for the attributes."""

    outcome: Outcome
    reason: str | None
    why: str
    ended_at: float
    final_stage: str
    events: tuple[Event, ...]
    exposure: Exposure


class Difference(Struct, frozen=True, kw_only=True):
    """What would have been otherwise; numbers are the policy's minus what happened.

    `seconds`: the end later than it was. The numbers of requests and users are up to either end.
    """

    same: bool
    seconds: float
    canary_requests: int
    bad_requests: int
    users: int
    words: str


class Judged(Struct, frozen=True, kw_only=True):
    """What one policy would have decided on a tape.

    Attributes:
        policy: Its name.
        deployment: What it goes by.
        run: What comes of it, on the tape's clock. Where the tape ends before the rollout does, it
            is `unfinished`, `held` or `paused`. Its notes are orders that it would have refused.
        exact_until: Until when the share is what it was, so that everything is as recorded; None
            when it always is.
        drawn: Requests that have the fate of another one, since nobody knows their own.
        donors: How many others those are: few of them say little.
        same_journal: Whether the journal is the recorded one, event by event.
        tape_ends: What the tape lacks to know how it goes on; None where it ends by itself.
    """

    policy: str
    deployment: Deployment
    run: Run
    exact_until: float | None
    drawn: int
    donors: int
    same_journal: bool
    tape_ends: str | None
    difference: Difference | None

    @property
    def outcome(self) -> Outcome:
        """How the rollout ends."""
        return self.run.outcome


class Window(Struct, frozen=True, kw_only=True):
    """One rollout that might have been: from `start` on, on the tape's clock."""

    start: float
    ended_at: float
    outcome: Outcome
    reason: str | None
    why: str
    canary_requests: int
    bad_requests: int


class Alarms(Struct, frozen=True, kw_only=True):
    """How often a policy would have rolled back a release that changes nothing.

    `share` is the part of the windows that it rolled back, `low` and `high` its 95 % interval
    (Wilson); `per_week` the rollbacks per week of releasing one after the other. A window that the
    tape or its horizon ends before the rollout counts as no rollback.
    """

    policy: str
    deployment: Deployment
    windows: tuple[Window, ...]
    rolled_back: int
    promoted: int
    unfinished: int
    share: float
    low: float
    high: float
    per_week: float
    reasons: dict[str, int]


class Backtest(Struct, frozen=True, kw_only=True):
    """A tape judged: the facts, what happened, and every policy.

    `policies` holds what each decides on the rollout that was recorded; `alarms` what each does
    to traffic that is taken for a canary that changes nothing. One of the two is empty.
    """

    tape: TapeFacts
    happened: Happened | None
    fates: Fates
    within_seconds: float
    seed: int
    policies: tuple[Judged, ...] = ()
    alarms: tuple[Alarms, ...] = ()

    @property
    def exact(self) -> bool:
        """False when the tape's own plan was replayed and did not give back its journal."""
        return all(
            judged.same_journal
            for judged in self.policies
            if judged.policy == OWN and self.tape.whole
        )
