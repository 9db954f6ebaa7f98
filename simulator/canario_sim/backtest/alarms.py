"""How often a policy rolls back what changes nothing: real traffic taken for a canary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf

import numpy as np

from canario.plan import Deployment, Plan
from canario.routing.bucket import bucket_of
from canario_sim.lab.experiment import Policy
from canario_sim.lab.intervals import wilson
from canario_sim.scenario.scenario import default_horizon
from canario_sim.streams import Ints
from canario_sim.tapes.recording import Recording
from canario_sim.world.driver import Driver
from canario_sim.world.rehearsal import result_of

from .assign import AsCanary
from .backtest import Alarms, Backtest, Window
from .carrier import TapeCarrier
from .judging import facts_of, plan_of
from .replay import replay_of

__all__ = ["false_alarms"]

_WEEK = 7 * 24 * 3600.0


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
    upto = np.maximum.accumulate(recording.ended)
    for place in range(count):
        start = first + place * every
        part = recording.window(start, min(start + horizon, last), upto)
        salt = f"{seed}:{place}:"
        replay = replay_of(
            part,
            plan,
            AsCanary(part, _buckets(part, salt)),
            judge=policy.judge(),
            start=start,
            end=min(start + horizon, last),
        )
        replay.run()
        found.append(_window(start, replay))
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


def _window(start: float, replay: Driver[TapeCarrier]) -> Window:
    run = result_of(replay, "window", None)
    return Window(
        start=start,
        ended_at=run.ended_at,
        outcome=run.outcome,
        reason=run.reason,
        why=run.why,
        canary_requests=run.exposure.canary_requests,
        bad_requests=run.exposure.bad_requests,
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
