"""A tape judged by policies: what each would have decided, when and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isfinite

import numpy as np
from msgspec.structs import replace

from canario.control.events import decided
from canario.control.state import replay as state_of
from canario.control.words import describe
from canario.plan import Deployment, Plan, Routing
from canario_sim.lab.experiment import Policy
from canario_sim.tapes.recording import BAD, NEUTRAL, Recording
from canario_sim.world.driver import Driver
from canario_sim.world.rehearsal import Exposure, Run, outcome_of, result_of

from .assign import AsRecorded, Matched, Shares
from .backtest import Backtest, Difference, Fates, Happened, Judged, TapeFacts
from .carrier import TapeCarrier, flying
from .fates import Donors
from .replay import replay_of

__all__ = ["facts_of", "happened_of", "judge_tape", "plan_of"]


def judge_tape(
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
        replay = replay_of(
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
    under_way = canary & flying(recording.at, recording.ended, ended_at)
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
            in_flight=int(np.count_nonzero(under_way)),
            users=len(np.unique(reached)),
            population=recording.users,
        ),
    )


def _judged(
    name: str, deployment: Deployment, replay: Driver[TapeCarrier], happened: Happened | None
) -> Judged:
    recording, drawn = replay.carrier.recording, replay.carrier.drawn
    run = _without_abandoned(result_of(replay, name, None))
    live = Shares.of(recording.events, recording.deployment)
    apart = live.differs_from(Shares.of(run.events, deployment), recording.starts, run.ended_at)
    judged = Judged(
        policy=name,
        deployment=deployment,
        run=run,
        exact_until=apart if isfinite(apart) else None,
        drawn=len(drawn),
        donors=len(np.unique(drawn)),
        same_journal=decided(run.events) == decided(recording.events),
        tape_ends=None if replay.state.phase.terminal else _how_the_tape_ends(replay.carrier),
        difference=None,
    )
    if happened is None:
        return judged
    return replace(judged, difference=_difference(judged, happened))


def _without_abandoned(run: Run) -> Run:
    """What happened live is told without who was given up, and is to be compared with this."""
    baseline, canary, exposure = (
        replace(each, abandoned=0) for each in (run.baseline, run.canary, run.exposure)
    )
    return replace(run, baseline=baseline, canary=canary, exposure=exposure)


def _how_the_tape_ends(carrier: TapeCarrier) -> str:
    if carrier.cut < carrier.recording.ends:
        return (
            "the tape ends for it here: the next request goes to an arm that served nobody at "
            "that time"
        )
    return "the tape ends here"


def _difference(judged: Judged, happened: Happened) -> Difference:
    run = judged.run
    seconds = run.ended_at - happened.ended_at
    mine, theirs = run.exposure, happened.exposure
    return Difference(
        same=run.outcome == happened.outcome and seconds == 0,
        seconds=seconds,
        canary_requests=mine.canary_requests - theirs.canary_requests,
        bad_requests=mine.bad_requests - theirs.bad_requests,
        users=mine.users - theirs.users,
        words=_in_words(judged, happened, seconds),
    )


def _in_words(judged: Judged, happened: Happened, seconds: float) -> str:
    run = judged.run
    if judged.same_journal:
        return "as it happened"
    if run.outcome == happened.outcome and run.reason == happened.reason:
        if seconds == 0:
            return "the same end at the same instant"
        return f"the same end, {abs(seconds):.4g} s {'later' if seconds > 0 else 'earlier'}"
    theirs = f"it was {happened.outcome.replace('_', ' ')}"
    if happened.reason and run.reason:
        theirs += f" for {happened.reason}"
    if judged.tape_ends:
        return f"{theirs}; it would have gone on"
    return theirs


def _watch(
    progress: Callable[[int, float], object], number: int, recording: Recording
) -> Callable[[Driver[TapeCarrier]], object]:
    start, length = recording.starts, max(recording.ends - recording.starts, 1e-9)
    return lambda replay: progress(number, min((replay.now - start) / length, 1.0))
