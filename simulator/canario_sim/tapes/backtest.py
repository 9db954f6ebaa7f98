"""A tape judged by policies: what each would have decided, when and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf, isfinite
from typing import Literal

import numpy as np
from msgspec import Struct
from msgspec.structs import replace

from canario.control.events import Event
from canario.control.rollout import MetricsSnapshot
from canario.control.state import replay as state_of
from canario.control.words import describe
from canario.plan import Deployment, Plan, Routing
from canario.routing.bucket import bucket_of
from canario_sim.expect import Outcome
from canario_sim.lab.experiment import Policy
from canario_sim.lab.intervals import wilson
from canario_sim.runner import ArmTotals, Exposure, outcome_of
from canario_sim.scenario import default_horizon
from canario_sim.streams import Ints
from canario_sim.world import Note

from .assign import AsCanary, AsRecorded, Matched, Shares
from .fates import Donors
from .recording import BAD, NEUTRAL, Recording
from .replay import Replay

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
    "backtest",
    "facts_of",
    "false_alarms",
    "happened_of",
]

# What the tape's own plan is called among the policies.
OWN = "own plan"

# Where the fate of a request comes from that a policy sends to another arm than it went to.
Fates = Literal["matched", "recorded"]

_WEEK = 7 * 24 * 3600.0


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
        outcome: How it ends; `unfinished`, `held` or `paused` where the tape ends before it does.
        reason: Why it rolls back, or None.
        why: The last event in words.
        ended_at: When, on the tape's clock; for one that does not end, where the tape does.
        final_stage: The last stage that was entered.
        events: The journal that the controller would have kept.
        notes: Orders of the operator that it would have refused.
        history: What each check saw, of the last 5,000.
        baseline: What the baseline would have done up to the end.
        canary: What the canary would have done.
        exposure: Whom it would have reached.
        exact_until: Until when the share is what it was, so that everything is as recorded; None
            when it always is.
        drawn: Requests that have the fate of another one, since nobody knows their own.
        donors: How many others those are: few of them say little.
        same_journal: Whether the journal is the recorded one, event by event.
        tape_ends: What the tape lacks to know how it goes on; None where it ends by itself.
    """

    policy: str
    deployment: Deployment
    outcome: Outcome
    reason: str | None
    why: str
    ended_at: float
    final_stage: str
    events: tuple[Event, ...]
    notes: tuple[Note, ...]
    history: tuple[MetricsSnapshot, ...]
    baseline: ArmTotals
    canary: ArmTotals
    exposure: Exposure
    exact_until: float | None
    drawn: int
    donors: int
    same_journal: bool
    tape_ends: str | None
    difference: Difference | None


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


def backtest(
    recording: Recording,
    policies: Sequence[Policy],
    *,
    fates: Fates = "matched",
    within_seconds: float = 300.0,
    seed: int = 1,
    orders: bool = True,
    progress: Callable[[int, float], object] | None = None,
) -> Backtest:
    """Judge the rollout on a tape by each policy.

    Args:
        recording: The tape.
        policies: Who judges; one without a deployment and a peer is the tape's own plan.
        fates: Where a policy's share sends a request to the arm that did not serve it: `matched`
            gives it the fate of a recorded request of that arm, route and time; `recorded` leaves
            it where it was.
        within_seconds: How far away in time that other request may be.
        seed: What is drawn.
        orders: Whether the operator's orders are given again.
        progress: Called with the number of a policy and how much of the tape it has seen, 0 to 1.

    Raises:
        ValueError: For a policy without a deployment where the tape has no plan of its own, and
            for a tape without requests.
    """
    if not len(recording):
        raise ValueError(f"{recording.source} holds no request")
    donors = Donors(recording, seed, within_seconds)
    happened = happened_of(recording)
    judged = []
    for number, policy in enumerate(policies):
        plan = plan_of(policy, recording)
        routing = Matched(recording, donors) if fates == "matched" else AsRecorded()
        replay = Replay(
            recording,
            plan,
            routing,
            judge=policy.judge(),
            orders=orders,
            watch=None if progress is None else _watch(progress, number, recording),
        )
        replay.run()
        judged.append(_judged(policy.name, plan.deployment, replay, happened))
    return Backtest(
        tape=facts_of(recording),
        happened=happened,
        fates=fates,
        within_seconds=within_seconds,
        seed=seed,
        policies=tuple(judged),
    )


def false_alarms(
    recording: Recording,
    policies: Sequence[Policy],
    *,
    every_seconds: float | None = None,
    seed: int = 1,
    progress: Callable[[int, float], object] | None = None,
) -> Backtest:
    """Release again and again what was recorded, as a canary that changes nothing.

    A rollout starts at the tape's first request, and one each `every_seconds` after that; by
    default one when the holds of the one before are over. In each of them other users come first.

    Raises:
        ValueError: As `backtest`, and for a tape that is shorter than one rollout.
    """
    if not len(recording):
        raise ValueError(f"{recording.source} holds no request")
    alarms = []
    for number, policy in enumerate(policies):
        plan = plan_of(policy, recording)
        windows = tuple(_windows(recording, policy, plan, every_seconds, seed, progress, number))
        alarms.append(_alarms(policy.name, plan.deployment, windows))
    return Backtest(
        tape=facts_of(recording),
        happened=None,
        fates="recorded",
        within_seconds=0.0,
        seed=seed,
        alarms=tuple(alarms),
    )


def plan_of(policy: Policy, recording: Recording) -> Plan:
    """The plan by which a policy judges a tape: the release's name and its users are the tape's."""
    deployment = policy.deployment if policy.peer is None else policy.peer.deployment()
    own = recording.plan
    if deployment is None:
        if own is None:
            raise ValueError(f"{recording.source} has no plan of its own; give one")
        return own
    name = (own.deployment.deployment_id if own else None) or deployment.deployment_id
    routing = own.deployment.routing if own else Routing(salt=deployment.routing.salt)
    named = replace(deployment, deployment_id=name or "release", routing=routing)
    return replace(own or Plan(), deployment=named)


def facts_of(recording: Recording) -> TapeFacts:
    """What a tape holds."""
    return TapeFacts(
        source=recording.source,
        deployment_id=recording.deployment.deployment_id,
        began=recording.starts,
        ends=recording.ends,
        requests=len(recording),
        canary_requests=int(np.count_nonzero(recording.arm == 1)),
        errors=int(np.count_nonzero(recording.failed)),
        neutral=int(np.count_nonzero(recording.outcome == NEUTRAL)),
        users=recording.users,
        routes=recording.routes,
        violations=len(recording.broken),
        whole=recording.whole,
        dropped=recording.dropped,
        workers=recording.workers,
        restarts=len(recording.restarts),
        closed=recording.closed,
    )


# -- the rollout that was recorded


def happened_of(recording: Recording) -> Happened | None:
    """What the rollout on a tape came to; None for a tape without a journal."""
    events = recording.events
    if not events:
        return None
    deployment = recording.deployment
    state = state_of(deployment, events)
    ended_at, upto = recording.ends, len(recording)
    if state.phase.terminal:
        ended_at, upto = events[-1].at, recording.journal[-1].position
    canary = recording.arm == 1
    counted = canary & (np.arange(len(recording)) < upto)
    limit = deployment.rollback_thresholds.max_p95_latency_ms
    bad = (recording.outcome == BAD) | (recording.latency_ms > limit) | recording.broke
    says = counted & (recording.outcome != NEUTRAL)
    reached = recording.key[canary & (recording.at < ended_at) & (recording.key >= 0)]
    return Happened(
        outcome=outcome_of(state),
        reason=str(state.reason) if outcome_of(state) == "rolled_back" else None,
        why=describe(events[-1], deployment),
        ended_at=ended_at,
        final_stage=deployment.canary_stages[state.stage].name,
        events=events,
        exposure=Exposure(
            canary_requests=int(np.count_nonzero(says)),
            bad_requests=int(np.count_nonzero(counted & bad)),
            users=len(np.unique(reached)),
            population=recording.users,
        ),
    )


def _judged(name: str, deployment: Deployment, replay: Replay, happened: Happened | None) -> Judged:
    recording, controller = replay.recording, replay.controller
    state = controller.state
    ended_at = replay.ended_at
    outcome = outcome_of(state)
    flying = (recording.at < ended_at) & (replay.assigned.ended > ended_at)
    totals = [
        ArmTotals(
            requests=row[0],
            errors=row[1],
            slow=row[2],
            violations=row[3],
            in_flight=int(np.count_nonzero(flying & (replay.assigned.canary == (arm == 1)))),
        )
        for arm, row in enumerate(replay.served.tolist())
    ]
    reached = recording.key[replay.reached & (recording.key >= 0)]
    exposure = Exposure(
        canary_requests=totals[1].requests,
        bad_requests=int(replay.served[1, 4]),
        users=len(np.unique(reached)),
        population=recording.users,
    )
    live = Shares.of(recording.events, recording.deployment)
    made = Shares.of(controller.events, deployment)
    apart = live.differs_from(made, recording.starts, ended_at)
    final = deployment.canary_stages[state.stage].name
    judged = Judged(
        policy=name,
        deployment=deployment,
        outcome=outcome,
        reason=str(state.reason) if outcome == "rolled_back" else None,
        why=describe(controller.events[-1], deployment),
        ended_at=ended_at,
        final_stage=final,
        events=controller.events,
        notes=tuple(replay.notes),
        history=controller.metrics_history,
        baseline=totals[0],
        canary=totals[1],
        exposure=exposure,
        exact_until=apart if isfinite(apart) else None,
        drawn=len(replay.drawn),
        donors=len(np.unique(replay.drawn)),
        same_journal=controller.events == recording.events,
        tape_ends=None if state.phase.terminal else _how_the_tape_ends(replay),
        difference=None,
    )
    if happened is None:
        return judged
    return replace(judged, difference=_difference(judged, happened))


def _how_the_tape_ends(replay: Replay) -> str:
    if replay.cut < replay.recording.ends:
        return (
            "the tape ends for it here: the next request goes to an arm that served nobody at "
            "that time"
        )
    return "the tape ends here"


def _difference(judged: Judged, happened: Happened) -> Difference:
    seconds = judged.ended_at - happened.ended_at
    mine, theirs = judged.exposure, happened.exposure
    return Difference(
        same=judged.outcome == happened.outcome and seconds == 0,
        seconds=seconds,
        canary_requests=mine.canary_requests - theirs.canary_requests,
        bad_requests=mine.bad_requests - theirs.bad_requests,
        users=mine.users - theirs.users,
        words=_in_words(judged, happened, seconds),
    )


def _in_words(judged: Judged, happened: Happened, seconds: float) -> str:
    if judged.same_journal:
        return "as it happened"
    if judged.outcome == happened.outcome and judged.reason == happened.reason:
        if seconds == 0:
            return "the same end at the same instant"
        return f"the same end, {abs(seconds):.4g} s {'later' if seconds > 0 else 'earlier'}"
    theirs = f"it was {happened.outcome.replace('_', ' ')}"
    if happened.reason and judged.reason:
        theirs += f" for {happened.reason}"
    if judged.tape_ends:
        return f"{theirs}; it would have gone on"
    return theirs


def _watch(
    progress: Callable[[int, float], object], number: int, recording: Recording
) -> Callable[[float], object]:
    start, length = recording.starts, max(recording.ends - recording.starts, 1e-9)
    return lambda at: progress(number, (at - start) / length)


# -- rollouts that might have been


def _windows(
    recording: Recording,
    policy: Policy,
    plan: Plan,
    every_seconds: float | None,
    seed: int,
    progress: Callable[[int, float], object] | None,
    number: int,
) -> list[Window]:
    deployment = plan.deployment
    hold = deployment.hold_seconds
    every = every_seconds or hold or 1.0
    horizon = default_horizon(deployment)
    if policy.peer is not None:
        horizon = max(horizon, policy.peer.horizon_seconds)
    first, last = float(recording.at.min()), recording.ends
    if last - first < hold:
        raise ValueError(
            f"{recording.source} spans {last - first:.4g} s, and {policy.name} takes {hold:g} s: "
            "not one rollout fits in it"
        )
    # Not all that begins can end: as many as have their holds on the tape.
    count = int((last - first - hold) // every) + 1
    found = []
    for place in range(count):
        start = first + place * every
        part = recording.window(start, min(start + horizon, last))
        salt = f"{seed}:{place}:"
        replay = Replay(
            part,
            plan,
            AsCanary(part, _buckets(part, salt)),
            judge=policy.judge(),
            start=start,
            end=min(start + horizon, last),
        )
        replay.run()
        found.append(_window(start, deployment, replay))
        if progress is not None:
            progress(number, (place + 1) / count)
    return found


def _buckets(recording: Recording, salt: str) -> Ints:
    """Where each request's user falls under a salt; requests without a key fall by themselves."""
    raw = salt.encode()
    users = np.unique(recording.key)
    buckets = np.zeros(recording.users + 1, np.int64)
    for user in users[users >= 0].tolist():
        name = int(recording.identities[user]).to_bytes(8, "big", signed=True)
        buckets[user] = bucket_of(raw, name)
    found: Ints = buckets[recording.key]
    for place in np.flatnonzero(recording.key < 0).tolist():
        found[place] = bucket_of(raw, b"request %d" % place)
    return found


def _window(start: float, deployment: Deployment, replay: Replay) -> Window:
    state = replay.controller.state
    outcome = outcome_of(state)
    return Window(
        start=start,
        ended_at=replay.ended_at,
        outcome=outcome,
        reason=str(state.reason) if outcome == "rolled_back" else None,
        why=describe(replay.controller.events[-1], deployment),
        canary_requests=int(replay.served[1, 0]),
        bad_requests=int(replay.served[1, 4]),
    )


def _alarms(name: str, deployment: Deployment, windows: tuple[Window, ...]) -> Alarms:
    rolled_back = sum(window.outcome == "rolled_back" for window in windows)
    promoted = sum(window.outcome == "completed" for window in windows)
    low, high = wilson(rolled_back, len(windows))
    spent = sum(window.ended_at - window.start for window in windows)
    return Alarms(
        policy=name,
        deployment=deployment,
        windows=windows,
        rolled_back=rolled_back,
        promoted=promoted,
        unfinished=len(windows) - rolled_back - promoted,
        share=rolled_back / len(windows),
        low=low,
        high=high,
        per_week=rolled_back * _WEEK / spent if spent else inf,
        reasons=dict(Counter(w.reason for w in windows if w.reason is not None).most_common()),
    )
