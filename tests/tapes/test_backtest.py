"""What policies would have decided on a tape, and what is said of how sure that is."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs
from tests.tapes.live import START, live, plan, traffic

from canario.control.events import Promoted, RolledBack
from canario.control.rollout import Outcome, Rollout
from canario.control.violation import Violation
from canario.exchange import Exchange
from canario.plan import Deployment
from canario_sim.backtest import Backtest, Judged, false_alarms, judge_tape
from canario_sim.backtest.backtest import OWN
from canario_sim.lab.experiment import Policy
from canario_sim.lab.intervals import wilson
from canario_sim.peers import Flagger
from canario_sim.streams import Floats
from canario_sim.tapes import read_tape
from canario_sim.tapes.recording import (
    BAD,
    NEUTRAL,
    STREAM,
    TIMED,
    UNSEEN,
    UNTIMED,
    Breaking,
    Recording,
)

OUTCOMES = (Outcome.GOOD, Outcome.BAD, Outcome.NEUTRAL)


def policy(name: str, *stages: tuple[float, float], **thresholds: Any) -> Policy:
    return Policy(name=name, deployment=plan(*stages, **thresholds).deployment)


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """A tape of a release that fails one request of five, and was rolled back."""
    path = tmp_path_factory.mktemp("bad") / "a.tape.sqlite"
    asyncio.run(live(plan(min_samples=20), traffic(3, errors=0.2), path))
    return read_tape(path)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    path = tmp_path_factory.mktemp("good") / "a.tape.sqlite"
    asyncio.run(live(plan(), traffic(4, errors=0.0), path))
    return read_tape(path)


def judged(made: Backtest, name: str) -> Judged:
    return next(each for each in made.policies if each.policy == name)


def test_its_own_plan_gives_back_its_journal_and_what_it_cost(bad: Recording) -> None:
    made = judge_tape(bad, [Policy(name=OWN)])
    own = judged(made, OWN)
    assert own.same_journal
    assert made.exact
    assert made.happened is not None
    assert own.run.events == made.happened.events
    assert own.run.exposure == made.happened.exposure
    assert own.exact_until is None
    assert own.drawn == 0
    assert own.difference is not None
    assert own.difference.same
    assert own.difference.words == "as it happened"
    assert made.happened.outcome == "rolled_back"
    assert made.happened.reason == "error_rate"


def test_stricter_thresholds_on_the_same_stages_are_judged_exactly(bad: Recording) -> None:
    made = judge_tape(bad, [policy("strict", min_samples=20, max_error_rate=3.0)])
    strict = judged(made, "strict")
    assert made.happened is not None
    assert strict.outcome == "rolled_back"
    assert strict.run.ended_at <= made.happened.ended_at
    assert strict.exact_until is None
    assert strict.drawn == 0
    assert strict.difference is not None
    assert strict.difference.bad_requests <= 0


def test_a_policy_that_goes_on_is_an_estimate_from_there_on(bad: Recording) -> None:
    loose = policy("loose", max_error_rate=90.0, max_p95_latency_ms=9000.0)
    made = judge_tape(bad, [loose], within_seconds=1000)
    found = judged(made, "loose")
    assert made.happened is not None
    assert found.outcome == "completed"
    assert found.exact_until == made.happened.ended_at
    assert found.drawn > 0
    assert 0 < found.donors <= made.happened.exposure.canary_requests + 5
    assert found.difference is not None
    assert found.difference.bad_requests > 0
    again = judge_tape(bad, [loose], within_seconds=1000)
    assert again == made
    other = judge_tape(bad, [loose], within_seconds=1000, seed=2)
    assert judged(other, "loose").run.exposure != found.run.exposure


def test_where_nobody_can_stand_in_the_tape_ends(bad: Recording) -> None:
    loose = policy("loose", max_error_rate=90.0, max_p95_latency_ms=9000.0)
    made = judge_tape(bad, [loose], within_seconds=3)
    found = judged(made, "loose")
    assert made.happened is not None
    assert found.outcome == "unfinished"
    assert found.tape_ends is not None
    assert "served nobody at that time" in found.tape_ends
    assert made.happened.ended_at < found.run.ended_at < made.happened.ended_at + 5


def test_as_recorded_leaves_every_request_where_it_was(bad: Recording) -> None:
    loose = policy("loose", max_error_rate=90.0, max_p95_latency_ms=9000.0)
    made = judge_tape(bad, [loose], fates="recorded")
    found = judged(made, "loose")
    assert made.happened is not None
    assert found.drawn == 0
    assert found.exact_until == made.happened.ended_at
    # No more canary requests than there were, so it waits for them in vain.
    assert found.outcome == "held"
    assert found.run.exposure.canary_requests <= made.happened.exposure.canary_requests + 10


def test_a_longer_plan_ends_with_the_tape(good: Recording) -> None:
    made = judge_tape(good, [policy("slow", (20.0, 3600.0), (100.0, 10.0))], within_seconds=1000)
    slow = judged(made, "slow")
    assert slow.outcome == "unfinished"
    assert slow.tape_ends == "the tape ends here"
    assert slow.run.ended_at == good.ends
    assert slow.difference is not None
    assert slow.difference.words == "it was completed; it would have gone on"


def test_another_share_reaches_the_users_of_its_buckets(good: Recording) -> None:
    half = policy("half", (50.0, 30.0), (100.0, 10.0))
    found = judged(judge_tape(good, [half], within_seconds=1000), "half")
    in_half = set(good.key[(good.bucket >= 0) & (good.bucket < 50_000)].tolist())
    before = [event for event in found.run.events if event.at < START + 30]
    assert before
    assert found.exact_until == START
    assert found.run.exposure.users >= len(in_half)


def test_peers_judge_tapes_too(bad: Recording) -> None:
    made = judge_tape(bad, [Policy(name="flagger", peer=Flagger(interval_seconds=10))])
    assert judged(made, "flagger").deployment.deployment_id == "taped"
    assert judged(made, "flagger").run.events[0].at == START


def test_orders_are_given_again_unless_left_out(tmp_path: Path) -> None:
    orders = [(10.0, "pause"), (40.0, "resume")]
    path = tmp_path / "a.tape.sqlite"
    asyncio.run(live(plan(), traffic(4, errors=0.0, seconds=150), path, orders=orders))
    recording = read_tape(path)
    with_them = judged(judge_tape(recording, [Policy(name=OWN)]), OWN)
    without = judged(
        judge_tape(recording, [Policy(name=OWN)], orders=False, within_seconds=1000), OWN
    )
    assert with_them.same_journal
    assert not without.same_journal
    assert without.run.ended_at < with_them.run.ended_at
    once = policy("once", (20.0, 5.0))
    refused = judged(judge_tape(recording, [once], within_seconds=1000), "once")
    assert refused.outcome == "completed"
    assert refused.run.ended_at == START + 5


def test_a_tape_without_a_plan_needs_one(good: Recording) -> None:
    bare = replace(good, plan=None, journal=())
    with pytest.raises(ValueError, match="has no plan of its own"):
        judge_tape(bare, [Policy(name=OWN)])
    with pytest.raises(ValueError, match="holds no request"):
        judge_tape(bare.where(bare.at < 0), [policy("p")])


# -- against the rollout itself, driven one request at a time


def recording_of(rng: np.random.Generator, n: int, *, shuffled: float) -> Recording:
    """Random inputs, whose ends may be a little out of order, as threads make them."""
    at: Floats = np.cumsum(rng.exponential(0.2, n)) + 1000.0
    took = rng.lognormal(-2.5, 1.0, n) * rng.choice([1.0, 100.0], n, p=[0.97, 0.03])
    late = np.sort(at + took) + rng.uniform(-shuffled, shuffled, n)
    ended: Floats = np.maximum(late, at + 0.001)
    outcome = rng.choice([0, BAD, NEUTRAL], n, p=[0.85, 0.1, 0.05]).astype(np.uint8)
    latency = took * 1000
    latency[(rng.random(n) < 0.1) | (outcome == NEUTRAL)] = np.nan
    violation = Violation(message="wrong", contract="answers")
    places = np.flatnonzero(rng.random(n) < 0.01)
    # A tape has the instant at which an input counts: none lies before a check that was made.
    counts = np.maximum.accumulate(ended)
    return Recording(
        at=at,
        ended=ended,
        arm=(rng.random(n) < 0.4).astype(np.int8),
        outcome=outcome,
        latency_ms=latency,
        bucket=rng.integers(0, 100_000, n),
        key=rng.integers(0, 20, n),
        route=np.full(n, -1),
        identities=np.arange(20),
        broken=tuple(
            Breaking(int(place) + 1, float(counts[place]), bool(rng.random() < 0.5), violation)
            for place in places
        ),
    )


class Flying(Exchange):
    """A request of a recording, as a middleware would have had it."""

    def __init__(self, recording: Recording, row: int) -> None:
        super().__init__()
        self.arm = "canary" if recording.arm[row] else "baseline"
        self.started_at = float(recording.at[row])
        self.timed = recording.flight[row] != UNTIMED
        if recording.flight[row] == STREAM:
            self.first_at = self.started_at + float(recording.latency_ms[row]) / 1000


def _flying(recording: Recording, row: int) -> Flying | None:
    return None if recording.flight[row] == UNSEEN else Flying(recording, row)


def one_by_one(recording: Recording, deployment: Deployment) -> list[Any]:
    """The rollout told of every request and every broken contract, in their order."""
    rollout = Rollout(deployment)
    # They all may be there from the start: before one has arrived nobody sees it.
    flying = [_flying(recording, row) for row in range(len(recording))]
    for request in flying:
        if request is not None:
            rollout.open.add(request)
    events = rollout.start(recording.began)
    broken = list(recording.broken)
    for row in range(len(recording) + 1):
        while broken and broken[0].position == row:
            breaking = broken.pop(0)
            if not (breaking.canary and not rollout.state.share):
                arm = "canary" if breaking.canary else "baseline"
                events += rollout.violate(breaking.at, arm, breaking.violation)  # type: ignore[arg-type]
        if row == len(recording) or rollout.state.phase.terminal:
            break
        latency = float(recording.latency_ms[row])
        events += rollout.observe(
            float(recording.ended[row]),
            "canary" if recording.arm[row] else "baseline",
            OUTCOMES[recording.outcome[row]],
            None if np.isnan(latency) else latency,
            flying[row],
        )
    return events + rollout.advance(recording.ends)


def _seen(recording: Recording, rng: np.random.Generator, share: float) -> Recording:
    """The same, with a share of the requests in flight before they end, of all three kinds."""
    timed = ~np.isnan(recording.latency_ms)
    kind = np.where(timed, rng.choice([TIMED, STREAM], len(recording), p=[0.7, 0.3]), UNTIMED)
    latency = np.where(kind == STREAM, recording.latency_ms / 3, recording.latency_ms)
    flight = np.where(rng.random(len(recording)) < share, kind, UNSEEN).astype(np.uint8)
    return replace(
        recording,
        flight=flight,
        latency_ms=np.where(flight == STREAM, latency, recording.latency_ms),
    )


@settings(max_examples=60)
@given(
    seed=st.integers(0, 100_000),
    n=st.integers(1, 600),
    window=st.sampled_from([7.0, 20.0, 60.0]),
    interval=st.sampled_from([0.7, 2.0, 5.0]),
    error_rate=st.sampled_from([5.0, 12.0, 30.0, 100.0]),
    budget=st.sampled_from([0.0, 10.0, 90.0]),
    shuffled=st.sampled_from([0.0, 0.2]),
    seen=st.sampled_from([0.0, 0.5, 1.0]),
    limit_ms=st.sampled_from([500.0, 4000.0, 1e6]),
    patience=st.sampled_from([None, 1.0, 4.0]),
)
def test_in_slices_is_one_by_one(
    seed: int,
    n: int,
    window: float,
    interval: float,
    error_rate: float,
    budget: float,
    shuffled: float,
    seen: float,
    limit_ms: float,
    patience: float | None,
) -> None:
    recording = recording_of(np.random.default_rng(seed), n, shuffled=shuffled)
    recording = _seen(recording, np.random.default_rng(seed + 1), seen)
    release = plan(
        (20.0, 20.0),
        (100.0, 33.3),
        metric_window_seconds=window,
        check_interval_seconds=interval,
        max_error_rate=error_rate,
        contract_budgets={"answers": budget},
        max_p95_latency_ms=limit_ms,
        abandoned_after_seconds=None if patience is None else max(patience, limit_ms / 1000),
    ).deployment
    made = judge_tape(recording, [Policy(name="p", deployment=release)], fates="recorded")
    named = structs.replace(release, deployment_id="taped")
    assert list(made.policies[0].run.events) == one_by_one(recording, named)


# -- as a canary that changes nothing


def steady(n: int, share_bad: float, seed: int = 1) -> Recording:
    rng = np.random.default_rng(seed)
    at = np.arange(n, dtype=np.float64) * 0.5
    return Recording(
        at=at,
        ended=at + 0.05,
        arm=np.full(n, -1, np.int8),
        outcome=(rng.random(n) < share_bad).astype(np.uint8),
        latency_ms=np.full(n, 50.0),
        bucket=np.full(n, -1),
        key=rng.integers(0, 100, n),
        route=np.full(n, -1),
        identities=np.arange(100) * 7919,
    )


def test_traffic_without_errors_is_never_rolled_back() -> None:
    made = false_alarms(steady(4000, 0.0), [policy("p", (50.0, 60.0), (100.0, 60.0))])
    (alarms,) = made.alarms
    assert len(alarms.windows) == 16
    assert (alarms.rolled_back, alarms.promoted, alarms.unfinished) == (0, 16, 0)
    assert alarms.per_week == 0
    assert (alarms.low, alarms.high) == wilson(0, 16)


def test_false_alarms_are_as_frequent_as_chance_makes_them() -> None:
    """One stage, one check: a rollout fails when more than 10 % of 40 requests do."""
    from scipy import stats

    one_look = policy(
        "p",
        (100.0, 20.0),
        check_interval_seconds=20.0,
        metric_window_seconds=60.0,
        max_error_rate=10.0,
        min_samples=5,
    )
    (alarms,) = false_alarms(steady(40 * 800, 0.08), [one_look]).alarms
    expected = float(stats.binom(40, 0.08).sf(4))
    assert len(alarms.windows) == 799
    low, high = wilson(alarms.rolled_back, 799, 0.999)
    assert low < expected < high
    assert alarms.reasons == {"error_rate": alarms.rolled_back}
    assert alarms.per_week == pytest.approx(alarms.rolled_back * 604_800 / (799 * 20))
    assert all(window.ended_at == window.start + 20 for window in alarms.windows)


def test_other_users_come_first_in_every_rollout() -> None:
    recording = steady(2000, 0.0)
    spoiled = replace(recording, outcome=(recording.key < 10).astype(np.uint8))
    shares = policy("p", (10.0, 40.0), max_error_rate=40.0, min_samples=1)
    (alarms,) = false_alarms(spoiled, [shares]).alarms
    assert 0 < alarms.rolled_back < len(alarms.windows)


def test_a_tape_shorter_than_a_rollout_is_refused() -> None:
    with pytest.raises(ValueError, match=r"spans 49\.55 s, and p takes 60 s: not one rollout fits"):
        false_alarms(steady(100, 0.0), [policy("p", (50.0, 60.0))])


def test_windows_begin_as_often_as_asked() -> None:
    recording = steady(1000, 0.0)
    one = policy("p", (100.0, 60.0))
    (alarms,) = false_alarms(recording, [one], every_seconds=10.0).alarms
    starts = [window.start for window in alarms.windows]
    assert np.diff(starts).tolist() == [10.0] * (len(starts) - 1)
    assert starts[-1] + 60 <= recording.ends


def test_events_of_a_journal_are_values(bad: Recording, good: Recording) -> None:
    assert isinstance(bad.events[-1], RolledBack)
    assert isinstance(good.events[-1], Promoted)
