"""How often the sequential judge errs, and how soon it sees, by rollouts of the real controller."""

from __future__ import annotations

from math import inf, log
from statistics import fmean

import numpy as np
import pytest

from canario.control.events import RollbackReason
from canario.control.rollout import Rollout
from canario.judges.eprocess import EProcess, Increment, first_crossing, log_e_values
from canario.metrics.counts import Counts
from canario.plan import (
    Deployment,
    FixedThresholds,
    Plan,
    RollbackThresholds,
    Sequential,
    Stage,
    Weights,
)
from canario_sim import Scenario, run
from canario_sim.distributions import Lognormal
from canario_sim.lab.intervals import wilson
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson

STAGES = (Stage(10, 100), Stage(50, 100), Stage(100, 50))
ONE = Weights(slow=0, relative_errors=0, relative_slow=0)


def world(
    seed: int, rate: float, canary: tuple[float, float], baseline: tuple[float, float]
) -> list[Increment]:
    """What comes between the checks of a rollout of `STAGES`: Poisson, independent failures."""
    random = np.random.default_rng(seed)
    made = []
    for number, stage in enumerate(STAGES):
        for _ in range(int(stage.hold_seconds / 5)):
            arms = []
            for share, (errors, slow) in (
                (stage.percentage / 100, canary),
                (1 - stage.percentage / 100, baseline),
            ):
                n = int(random.poisson(rate * 5 * share))
                arms.append(
                    Counts(
                        requests=n,
                        errors=int(random.binomial(n, errors)),
                        timed=n,
                        slow=int(random.binomial(n, slow)),
                    )
                )
            made.append(Increment(arms[0], arms[1], number))
    return made


def rolled_back(deployment: Deployment, increments: list[Increment]) -> RollbackReason | None:
    rollout = Rollout(deployment)
    rollout.start(0)
    for each in increments:
        if rollout.state.phase.terminal:
            break
        at = rollout.due
        rollout.observe_counts(at - 1e-3, "canary", each.canary)
        rollout.observe_counts(at - 1e-3, "baseline", each.baseline)
        rollout.advance(at)
    return rollout.state.reason


def deployment(alpha: float = 0.1) -> Deployment:
    return Deployment(
        deployment_id="release",
        canary_stages=STAGES,
        rollback_thresholds=RollbackThresholds(min_samples=1),
        judge=Sequential(alpha=alpha),
    )


def test_at_the_very_limits_at_most_alpha_are_rolled_back() -> None:
    """10 % errors, 5 % slow, each 1.25 times the baseline's: all four nulls at their boundary."""
    plan = deployment()
    worlds = [world(seed, 20, (0.1, 0.05), (0.08, 0.04)) for seed in range(300)]
    false = sum(rolled_back(plan, made) is not None for made in worlds)
    low, high = wilson(false, len(worlds))
    assert high <= 0.1
    assert low > 0  # it does happen: the bound is on something
    # The thresholds on the very same requests.
    fixed = Deployment(deployment_id="release", canary_stages=STAGES, judge=FixedThresholds())
    assert all(rolled_back(fixed, made) is not None for made in worlds[:20])


def test_all_levels_are_read_from_one_path() -> None:
    """The path of a rollout under one level tells what every other would have done."""
    for seed in range(25):
        made = world(seed, 20, (0.13, 0.05), (0.1, 0.04))
        log_es = log_e_values(deployment(), Sequential(), made)
        for alpha in (0.3, 0.1, 0.01, 0.0001):
            crossed = first_crossing(log_es, alpha)
            reason = rolled_back(deployment(alpha), made)
            assert (reason is not None) == (crossed is not None)


@pytest.mark.parametrize("errors", [0.0, 0.001, 0.01, 0.05])
@pytest.mark.parametrize("slow", [0.0, 0.02, 0.04])
def test_a_healthy_canary_is_not_rolled_back(errors: float, slow: float) -> None:
    """Like the baseline, and within the limits: far less often than α, at any traffic."""
    plan = deployment(0.01)
    for seed, rate in enumerate((1, 5, 50, 500)):
        made = world(seed, rate, (errors, slow), (errors, slow))
        assert rolled_back(plan, made) is None


def delay(null: float, truth: float, weights: Weights, requests: int, runs: int = 300) -> float:
    """Mean number of requests until a rollback, over Wald's bound log(1/α) / KL."""
    random = np.random.default_rng(7)
    plan = Deployment()
    settings = Sequential(max_error_rate=100 * null, weights=weights)
    taken = []
    for _ in range(runs):
        process, n, log_e = EProcess(plan, settings), 0, -inf
        while log_e < log(100):
            bad = int(random.binomial(requests, truth))
            n += requests
            # Nothing else is wrong: latencies are good, the baseline fails as often.
            canary = Counts(requests=requests, errors=bad, timed=requests)
            log_e = process.step(Increment(canary, canary))
        taken.append(n)
    kl = truth * log(truth / null) + (1 - truth) * log((1 - truth) / (1 - null))
    return fmean(taken) * kl / log(100)


@pytest.mark.parametrize(
    ("null", "truth", "requests"),
    [(0.1, 0.2, 3), (0.1, 0.3, 1), (0.05, 0.1, 5), (0.01, 0.03, 10)],
)
def test_a_regression_is_seen_within_one_and_a_half_times_wald_s_bound(
    null: float, truth: float, requests: int
) -> None:
    """By one metric alone; with all four watched, twice the bound."""
    assert delay(null, truth, ONE, requests) <= 1.5
    assert delay(null, truth, Weights(), requests) <= 2


def test_twenty_times_the_errors_are_seen_at_500_requests_a_second() -> None:
    """0.1 % to 2 % is far below a limit of 10 %, and above one of 1 %: within seconds."""
    service = Service(latency=Lognormal(p50_ms=80, p95_ms=160), error_rate=0.1)
    bad = Service(latency=Lognormal(p50_ms=80, p95_ms=160), error_rate=2)
    for settings in (Sequential(), Sequential(max_error_rate=1, weights=ONE)):
        scenario = Scenario(
            name="twentyfold",
            teaches="Errors that a fixed limit does not see.",
            plan=Plan(deployment=Deployment(judge=settings)),
            traffic=Poisson(rate=500),
            baseline=service,
            canary=bad,
        )
        made = run(scenario)
        assert (made.outcome, made.reason) == ("rolled_back", "error_rate")
        assert made.ended_at <= 60
        assert made.exposure.bad_requests <= 40
