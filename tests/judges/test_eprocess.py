"""The evidence: exact means and crossing probabilities, the formula as written, laws."""

from __future__ import annotations

from itertools import product
from math import ceil, comb, exp, inf, log, prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit, logsumexp

from canario.judges.alternatives import DELTAS
from canario.judges.change import AT_STAGES, AT_START, LATER, Change
from canario.judges.eprocess import (
    METRICS,
    EProcess,
    Increment,
    first_crossing,
    log_e_values,
    metric_paths,
)
from canario.judges.logarithms import log_add, log_sum
from canario.judges.mixture import Mixture
from canario.judges.promotion import at_least, log_e_good
from canario.metrics.counts import Counts
from canario.plan import Deployment, RollbackThresholds, Sequential, Stage, Weights

PLAN = Deployment(judge=Sequential())
LOGS = st.one_of(st.floats(-800, 800), st.just(-inf))
SHARES = st.floats(0.001, 0.9)


def binomial(x: int, n: int, p: float) -> float:
    return float(comb(n, x) * p**x * (1 - p) ** (n - x))


def mean(sizes: list[int], masses: list[float], null: float, truth: float) -> float:
    """E of E after the last step, over every path of bad events, each with its probability."""
    total = 0.0
    for path in product(*(range(n + 1) for n in sizes)):
        mixture = Mixture()
        for bad, n, mass in zip(path, sizes, masses, strict=True):
            mixture.step(bad, n, null, mass)
        chance = prod(binomial(x, n, truth) for x, n in zip(path, sizes, strict=True))
        total += chance * exp(mixture.log_e)
    return total


SIZES = st.lists(st.integers(0, 4), min_size=1, max_size=4)
MASSES = st.lists(st.floats(0, 0.6), min_size=4, max_size=4)


@settings(max_examples=30)
@given(SIZES, MASSES, SHARES)
def test_at_the_boundary_the_mean_of_the_evidence_is_exactly_1(
    sizes: list[int], masses: list[float], null: float
) -> None:
    """Whenever, and however much of the prior has been handed out: a martingale."""
    masses = masses[: len(sizes)]
    assert mean(sizes, masses, null, null) == pytest.approx(1, rel=1e-9)


@settings(max_examples=30)
@given(SIZES, MASSES, SHARES, st.floats(0, 1))
def test_within_the_limit_it_is_at_most_1(
    sizes: list[int], masses: list[float], null: float, part: float
) -> None:
    assert mean(sizes, masses[: len(sizes)], null, null * part) <= 1 + 1e-9


@pytest.mark.parametrize("null", [0.05, 0.3])
def test_the_probability_of_ever_reaching_the_level_is_at_most_alpha(null: float) -> None:
    """Ville's inequality, over all 2¹² courses of twelve requests that are looked at one by one."""
    crossed = dict.fromkeys((0.5, 0.2, 0.1, 0.05), 0.0)
    for path in product((0, 1), repeat=12):
        mixture = Mixture()
        most = max(
            mixture.step(bad, 1, null, 0.5 if number == 0 else 0.04)
            for number, bad in enumerate(path)
        )
        chance = null ** sum(path) * (1 - null) ** (12 - sum(path))
        for alpha in crossed:
            if most >= -log(alpha):
                crossed[alpha] += chance
    assert all(0 < crossed[alpha] <= alpha for alpha in crossed)


@settings(max_examples=50)
@given(
    st.integers(1, 7),
    st.integers(1, 7),
    st.floats(0.001, 0.5),
    st.floats(1, 1.9),
    st.floats(0, 1),
)
def test_against_the_baseline_the_mean_is_at_most_1_for_any_rate_of_failures(
    canary: int, baseline: int, rate: float, ratio: float, part: float
) -> None:
    """For numbers of requests that are what they are, and every true ratio up to `ratio`."""
    settings = Sequential(tolerated_ratio=ratio, weights=Weights(errors=0, slow=0, relative_slow=0))
    total = 0.0
    for mine, others in product(range(canary + 1), range(baseline + 1)):
        chance = binomial(mine, canary, rate * ratio * part) * binomial(others, baseline, rate)
        log_e = EProcess(PLAN, settings).step(
            Increment(
                Counts(requests=canary, errors=mine), Counts(requests=baseline, errors=others)
            )
        )
        total += chance * exp(log_e)
    assert total <= 1 + 1e-9


def test_given_the_failures_of_both_arms_it_is_exactly_1() -> None:
    canary, baseline, failures = 30, 70, 9
    settings = Sequential(weights=Weights(errors=0, slow=0, relative_slow=0))
    null = 1.25 * canary / (1.25 * canary + baseline)
    total = sum(
        binomial(mine, failures, null)
        * exp(
            EProcess(PLAN, settings).step(
                Increment(
                    Counts(requests=canary, errors=mine),
                    Counts(requests=baseline, errors=failures - mine),
                )
            )
        )
        for mine in range(failures + 1)
    )
    assert total == pytest.approx(1, rel=1e-12)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 300)), min_size=1, max_size=8),
    st.floats(0.001, 0.5),
)
def test_it_is_the_formula_as_it_is_written(steps: list[tuple[int, int]], null: float) -> None:
    """With odds, powers and sums as in the paper, where floats still bear them."""
    mixture = Mixture()
    p = [float(expit(logit(null) + delta)) for delta in DELTAS]
    terms = [0.0] * len(DELTAS)
    rest = 1.0
    for number, (bad, good) in enumerate(steps):
        mass = AT_START if number == 0 else 0.05
        rest -= mass
        mixture.step(bad, bad + good, null, mass)
        terms = [
            (term + mass / len(DELTAS)) * (share / null) ** bad * ((1 - share) / (1 - null)) ** good
            for term, share in zip(terms, p, strict=True)
        ]
    assert exp(mixture.log_e) == pytest.approx(sum(terms) + rest, rel=1e-6)


def test_what_must_not_happen_is_infinite_evidence_and_what_may_always_happen_is_none() -> None:
    mixture = Mixture()
    assert mixture.step(0, 1000, 0.0, 0.5) == pytest.approx(0, abs=1e-12)
    assert mixture.step(1, 1, 0.0, 0.1) == inf
    assert mixture.step(0, 1000, 0.0, 0.1) == inf
    assert Mixture().step(10, 10, 1.0, 0.5) == pytest.approx(0)


def test_a_long_rollout_ends_in_numbers() -> None:
    """A billion requests, all good and then all bad, neither underflow nor overflow."""
    mixture = Mixture()
    assert mixture.step(0, 10**9, 0.1, 0.5) == pytest.approx(log(0.5))
    assert mixture.step(0, 10**9, 0.1, 0.1) == pytest.approx(log(0.4))
    log_e = mixture.step(10**9, 10**9, 0.1, 0.1)
    assert 1e9 < log_e < inf


def test_no_more_than_the_whole_mass_is_handed_out() -> None:
    greedy, whole = Mixture(), Mixture()
    for _ in range(5):
        greedy.step(0, 0, 0.1, 0.4)
    whole.step(0, 0, 0.1, 1.0)
    assert greedy.step(3, 10, 0.1, 0.4) == pytest.approx(whole.step(3, 10, 0.1, 0.4))


@settings(max_examples=100)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=40).map(sorted),
    st.integers(1, 60),
    st.integers(1, 41),
)
def test_the_prior_adds_up_to_at_most_1(stages: list[int], checks: int, many: int) -> None:
    change = Change(checks, max(many, stages[-1] + 1))
    masses = [change.mass(stage) for stage in stages]
    assert all(mass >= 0 for mass in masses)
    assert sum(masses) <= 1 + 1e-12


def test_the_prior_of_the_default_plan() -> None:
    change = Change.of(PLAN)
    stages = [0] * 60 + [1] * 120 + [2] * 360
    masses = [change.mass(stage) for stage in stages]
    assert masses[0] == pytest.approx(AT_START + change.per_check)
    assert masses[60] == masses[180] == pytest.approx(AT_STAGES + change.per_check)
    assert sum(masses) == pytest.approx(1 - LATER)
    overtime = [change.mass(2) for _ in range(100_000)]
    assert LATER * 0.99 < sum(overtime) < LATER
    # However long it is held, what comes late is still looked for.
    assert overtime == sorted(overtime, reverse=True)
    assert overtime[-1] > 0


@pytest.mark.parametrize("stages", [1, 2, 3, 10])
def test_whatever_the_number_of_stages_the_plan_hands_out_all_but_the_rest(stages: int) -> None:
    shares = [Stage(percentage=10.0 * (number + 1), hold_seconds=60) for number in range(stages)]
    change = Change.of(Deployment(canary_stages=tuple(shares)))
    masses = [change.mass(number) for number in range(stages) for _ in range(12)]
    assert sum(masses) == pytest.approx(1 - LATER)


@pytest.mark.parametrize(
    ("checks", "stages", "per_stage", "spread"),
    [
        (12, 1, 0.0, 0.47),
        (12, 2, 0.1, 0.37),
        (12, 3, 0.1, 0.27),
        (12, 11, 0.02, 0.27),
        (1, 1, 0.0, 0.47),
        (0, 1, 0.0, 0.47),  # a plan that holds no stage is looked at once
    ],
)
def test_what_the_stages_do_not_take_is_spread_over_the_checks(
    checks: int, stages: int, per_stage: float, spread: float
) -> None:
    change = Change(checks, stages)
    assert change.per_stage == pytest.approx(per_stage)
    assert change.per_check == pytest.approx(spread / max(checks, 1))


def test_checks_that_the_plan_does_not_foresee_share_the_rest_for_ever() -> None:
    """m N / ((N + j - 1) (N + j)), which after J of them adds up to m J / (N + J)."""
    change = Change(4, 1)
    for _ in range(2):
        change.begin()
        assert [change.mass(0) for _ in range(4)] == pytest.approx([0.5 + 0.1175, *[0.1175] * 3])
        overtime = [change.mass(0) for _ in range(30)]
        assert overtime[:3] == pytest.approx([LATER / 5, LATER * 2 / 15, LATER * 2 / 21])
        assert sum(overtime) == pytest.approx(LATER * 30 / 34)


def test_stages_that_are_skipped_bring_what_they_had() -> None:
    change = Change(10, 3)
    change.mass(0)
    assert change.mass(2) == pytest.approx(2 * AT_STAGES + change.per_check)


def test_a_stage_that_is_taken_up_again_is_no_new_stage() -> None:
    change = Change(10, 3)
    assert change.mass(1) == pytest.approx(AT_START + change.per_check)
    assert change.mass(0) == change.mass(1) == change.per_check
    assert change.mass(2) == pytest.approx(AT_STAGES + change.per_check)


@given(LOGS, LOGS, LOGS)
def test_sums_of_logarithms(a: float, b: float, c: float) -> None:
    assert log_add([a, c], b) == pytest.approx([logsumexp([a, b]), logsumexp([c, b])])
    assert log_sum([a, b], c) == pytest.approx(logsumexp([a, b, c]))
    assert log_sum([a, b]) == pytest.approx(logsumexp([a, b]))


def test_sums_of_nothing_and_of_the_infinite() -> None:
    assert log_sum([]) == log_sum([-inf]) == -inf
    assert log_sum([inf, 0.0], 1.0) == log_sum([0.0], inf) == inf
    assert log_add([inf, -inf, 0.0], -inf) == [inf, -inf, 0.0]
    assert log_add([inf, -inf], 1.0) == [inf, 1.0]


def of_one_check(bad: int, events: int, null: float, mass: float) -> float:
    """E after the first check: the average of the ratios of two binomials, and what is left."""
    ratios = [
        binomial(bad, events, float(expit(logit(null) + delta))) / binomial(bad, events, null)
        for delta in DELTAS
    ]
    return mass * sum(ratios) / len(ratios) + 1 - mass


def test_the_evidence_of_a_check_is_what_its_limits_and_weights_say() -> None:
    """10 % may fail, 4 % be slow, and of either kind 1.25 times as many as the baseline's."""
    weights = Weights(errors=1, slow=2, relative_errors=3, relative_slow=4)
    settings = Sequential(max_slow_share=4, weights=weights)
    came = Increment(
        Counts(requests=40, errors=7, timed=30, slow=3),
        Counts(requests=60, errors=5, timed=50, slow=4),
    )
    mass = AT_START + Change.of(PLAN).per_check
    values = [
        of_one_check(7, 40, 0.1, mass),
        of_one_check(3, 30, 0.04, mass),
        of_one_check(7, 12, 50 / 110, mass),
        of_one_check(3, 7, 37.5 / 87.5, mass),
    ]
    process = EProcess(PLAN, settings)
    log_e = process.step(came)
    assert [exp(each) for each in process.metrics] == pytest.approx(values)
    expected = sum(w * e for w, e in zip(weights.shares, values, strict=True)) / 10
    assert exp(log_e) == pytest.approx(expected)
    shares = [w * e / 10 for w, e in zip(weights.shares, values, strict=True)]
    assert [exp(each) for each in process.shares()] == pytest.approx(shares)


def counts(n: int, errors: int, slow: int) -> Counts:
    return Counts(requests=n, errors=min(errors, n), timed=n, slow=min(slow, n))


ARMS = st.builds(counts, st.integers(0, 200), st.integers(0, 20), st.integers(0, 20))
INCREMENTS = st.lists(st.builds(Increment, ARMS, ARMS), min_size=1, max_size=8)


@settings(max_examples=50)
@given(INCREMENTS)
def test_the_whole_is_the_weighted_average_of_the_metrics(increments: list[Increment]) -> None:
    paths = metric_paths(PLAN, Sequential(), increments)
    assert tuple(paths) == METRICS
    values = log_e_values(PLAN, Sequential(), increments)
    weights = Weights().shares
    for check, value in enumerate(values):
        terms = [log(w) + paths[name][check] for w, name in zip(weights, METRICS, strict=True)]
        assert value == pytest.approx(logsumexp(terms))


@settings(max_examples=50)
@given(INCREMENTS, st.integers(0, 3), st.floats(0.5, 20))
def test_a_metric_depends_on_its_own_limit_alone(
    increments: list[Increment], metric: int, limit: float
) -> None:
    """So the paths of many limits combine without being followed for every combination."""
    own = [
        Sequential(max_error_rate=limit),
        Sequential(max_slow_share=limit),
        Sequential(tolerated_ratio=1 + limit),
        Sequential(tolerated_ratio=1 + limit),
    ][metric]
    before, after = (metric_paths(PLAN, each, increments) for each in (Sequential(), own))
    same = [name for name in METRICS if before[name] == after[name]]
    changed = {METRICS[metric]} | ({"relative_errors", "relative_slow"} if metric > 1 else set())
    assert set(METRICS) - changed <= set(same)


@settings(max_examples=50)
@given(INCREMENTS, st.integers(0, 7))
def test_one_more_failure_of_the_canary_is_never_less_evidence(
    increments: list[Increment], which: int
) -> None:
    at = which % len(increments)
    old = increments[at]
    worse = Counts(
        requests=old.canary.requests + 1,
        errors=old.canary.errors + 1,
        timed=old.canary.timed,
        slow=old.canary.slow,
    )
    better = Counts(
        requests=old.canary.requests + 1,
        errors=old.canary.errors,
        timed=old.canary.timed,
        slow=old.canary.slow,
    )
    with_worse, with_better = (
        log_e_values(
            PLAN,
            Sequential(),
            [*increments[:at], Increment(new, old.baseline), *increments[at + 1 :]],
        )
        for new in (worse, better)
    )
    assert all(a >= b - 1e-9 for a, b in zip(with_worse, with_better, strict=True))


def test_without_traffic_of_the_baseline_nothing_is_compared_with_it() -> None:
    increments = [Increment(counts(100, 90, 90)), Increment(counts(100, 90, 90))]
    paths = metric_paths(PLAN, Sequential(), increments)
    assert paths["relative_errors"] == pytest.approx([0, 0])
    assert paths["relative_slow"] == pytest.approx([0, 0])
    assert paths["errors"][-1] > 100


def test_the_level_is_reached_first_where_the_path_says() -> None:
    assert first_crossing([0.0, log(99), log(100.1), 0.0], 0.01) == 2
    assert first_crossing([0.0, log(99)], 0.01) is None
    assert first_crossing([0.0, -log(0.01)], 0.01) == 1
    assert first_crossing([], 0.01) is None


@settings(max_examples=40)
@given(st.integers(1, 40), SHARES)
def test_evidence_that_a_stage_went_well_has_mean_1_at_the_limit(n: int, null: float) -> None:
    values = [binomial(x, n, null) * exp(log_e_good(x, n, null)) for x in range(n + 1)]
    assert sum(values) == pytest.approx(1, rel=1e-9)
    worse = min(1.0, null * 1.3)
    values = [binomial(x, n, worse) * exp(log_e_good(x, n, null)) for x in range(n + 1)]
    assert sum(values) <= 1 + 1e-9


@settings(max_examples=60)
@given(st.integers(0, 20), st.integers(0, 200), SHARES)
def test_fewer_requests_than_it_is_said_to_take_never_suffice(
    bad: int, good: int, null: float
) -> None:
    n, level = bad + good, log(100)
    needed = at_least(bad, n, null, level)
    assert needed >= n
    if needed > n:
        assert log_e_good(bad, needed - 1, null) < level


@pytest.mark.parametrize(("null", "needed"), [(0.01, 311), (0.1, 30), (0.5, 5)])
def test_from_nothing_it_takes_what_the_best_alternative_takes(null: float, needed: int) -> None:
    """log 20 over what one good request is worth where the odds are e^-3.2 of the null's."""
    gain = -log(1 - null * (1 - exp(-3.2)))
    assert at_least(0, 0, null, log(20)) == ceil(log(20) / gain) == needed


def test_what_is_proven_takes_no_more() -> None:
    assert log_e_good(0, 1000, 0.1) > log(20)
    assert at_least(0, 1000, 0.1, log(20)) == 1000


def test_the_limit_of_errors_is_the_thresholds_unless_the_judge_has_its_own() -> None:
    increments = [Increment(counts(200, 20, 0))]
    strict = Deployment(rollback_thresholds=RollbackThresholds(max_error_rate=1))
    by_plan = metric_paths(strict, Sequential(), increments)["errors"]
    by_judge = metric_paths(PLAN, Sequential(max_error_rate=1), increments)["errors"]
    assert by_plan == by_judge
    assert by_plan > metric_paths(PLAN, Sequential(), increments)["errors"]


def test_a_metric_without_weight_says_nothing_even_where_it_is_infinite() -> None:
    weights = Weights(errors=0, relative_errors=0, relative_slow=0)
    process = EProcess(PLAN, Sequential(max_error_rate=0, weights=weights))
    log_e = process.step(Increment(counts(50, 1, 5)))
    assert process.metrics[0] == inf
    assert process.shares() == [-inf, log_e, -inf, -inf]
    assert log_e == pytest.approx(process.metrics[1])


@pytest.mark.parametrize("bin_seconds", [None, 10.0])
def test_a_rollout_that_begins_again_forgets_all_evidence(bin_seconds: float | None) -> None:
    process = EProcess(PLAN, Sequential(bin_seconds=bin_seconds))
    seen = Increment(counts(50, 9, 5), counts(50, 3, 2))
    courses = []
    for _ in range(2):
        process.begin()
        assert process.metrics == [0.0] * len(METRICS)
        assert process.log_e == 0
        assert process.waiting == (Counts(), Counts())
        courses.append([process.step(seen) for _ in range(5)])
    assert courses[0] == courses[1]


def test_failures_at_the_full_share_are_not_compared_with_successes_of_the_share_before() -> None:
    """Both arms fail alike and at once; what succeeds takes a minute. When all of the traffic is
    the canary's, all failures are, while the baseline's last requests go on succeeding."""
    settings = Sequential(weights=Weights(errors=0, slow=0, relative_errors=1, relative_slow=0))
    process = EProcess(Deployment(), settings)
    for _ in range(60):
        process.step(
            Increment(
                Counts(requests=250, errors=5),
                Counts(requests=750, errors=15),
                arrived=250,
                baseline_arrived=750,
            )
        )
    before = process.log_e
    for _ in range(12):
        process.step(
            Increment(
                Counts(requests=265, errors=20),
                Counts(requests=735),
                stage=1,
                arrived=1000,
                baseline_arrived=0,
            )
        )
    assert process.log_e <= before + 0.1


def test_slow_failures_are_not_compared_with_what_arrives_after_the_share_has_risen() -> None:
    """They are of requests that arrived under the share before."""
    assert Increment(Counts(), arrived=5, baseline_arrived=0).exposures == [(0, 0), (5, 0)]
    ended = Increment(Counts(requests=3), Counts(requests=9))
    assert ended.exposures == [(3, 9)]  # nobody has told what arrived
