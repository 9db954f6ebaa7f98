"""Every candidate steps in at the first look at which the judge that it describes would.

The judges themselves are asked, look after look and candidate after candidate, about trajectories
that are drawn: so every path through the sums is taken within a second.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from msgspec.structs import replace

from canario.judges import make_judge
from canario.judges.verdict import Evidence, Trigger, Verdict, VerdictKind
from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight
from canario.metrics.window import SlidingWindow
from canario.plan import Deployment, RollbackThresholds, Stage
from canario_sim.tuning.crossings import Why, _starts, crossings
from canario_sim.tuning.grid import Grid
from canario_sim.tuning.trajectory import Baseline, Look, Trajectory

GRID = Grid(
    max_error_rate=(0, 4, 10, 33.3, 100),
    max_p95_latency_ms=(100, 250.5, 1500),
    metric_window_seconds=(7, 60),
    min_samples=(1, 8, 30),
    alpha=(1e-6, 0.05, 0.3),
)
LIKE = Deployment(
    canary_stages=(Stage(20, 60), Stage(50, 60)),
    rollback_thresholds=RollbackThresholds(contract_budgets={"summary": 3.0, "total": 0.5}),
)
CONTRACTS = ("summary", "never", "total")


@cache
def drawn(
    seed: int, *, rate: float = 2.0, bad: float = 0.1, broken: bool = False, restart: bool = False
) -> Trajectory:
    """Two minutes of requests, looked at every 5 s, with failures and delays that get worse."""
    rng = np.random.default_rng(seed)
    came = np.sort(np.round(rng.uniform(0, 120, int(rate * 120)), 2))
    n = len(came)
    worse = came > rng.choice([30, 70])
    latency = np.round(rng.choice([50, 200, 1000, 8000], n, p=[0.9, 0.05, 0.03, 0.02]), 2)
    latency = np.where(worse & (rng.random(n) < bad), 2000.0, latency)
    done = came + latency / 1000
    place = np.argsort(done, kind="stable")
    done, latency = done[place], latency[place]
    failed = rng.random(n) < np.where(worse[place], bad, 0.03)
    contract = np.zeros(n, np.int64)
    if broken:
        contract = np.where(rng.random(n) < 0.02, rng.choice([1, 3], n), 0)
        contract[done > 100] = np.where(rng.random(np.count_nonzero(done > 100)) < 0.1, 2, 0)
    looks = [(float(at), 1, Look.CHECK, 0) for at in range(5, 121, 5)]
    looks[11] = (60.0, 1, Look.END_OF_STAGE, 0)
    looks[-1] = (120.0, 1, Look.END_OF_STAGE, 0)
    looks += [
        (float(done[number]), 2, Look.BROKEN, int(number) + 1)
        for number in np.flatnonzero(contract)
        if done[number] < 120
    ]
    looks.sort()
    at = np.array([look[0] for look in looks])
    kind = np.array([look[2] for look in looks], np.int64)
    seen = np.array([look[3] or np.searchsorted(done, look[0], "left") for look in looks])
    stage = (at > 60).astype(np.int64)
    again = at > 40 if restart else np.zeros(len(at), np.bool_)
    cleared = int(np.searchsorted(done, 40.0, "left"))
    second = int(np.searchsorted(done, 60.0, "left"))
    since = np.where(again, cleared, 0)
    arrived = np.maximum(np.searchsorted(came, at, "left"), seen)
    flying = arrived - seen
    late = np.searchsorted(came, at - 0.5, "left")
    others = int(3 * rate * 120)
    theirs = np.sort(rng.uniform(0, 120, others))
    baseline = Baseline(
        failed=rng.random(others) < 0.03,
        latency_ms=rng.choice([50.0, 200.0, 1000.0], others, p=[0.9, 0.06, 0.04]),
        seen=np.searchsorted(theirs, at, "left"),
        since=np.where(again, np.searchsorted(theirs, 40.0, "left"), 0),
    )
    waiting = np.array(
        [np.count_nonzero(place[: seen[k]] < late[k]) for k in range(len(at))], np.int64
    )
    return Trajectory(
        done=done,
        failed=failed,
        broken=contract,
        latency_ms=latency,
        given_up=np.zeros(n, np.bool_),
        came=came,
        place=place,
        contracts=CONTRACTS,
        first=np.arange(n),
        at=at,
        kind=kind,
        stage=stage,
        seen=seen,
        since=since,
        restarts=again.astype(np.int64),
        begun=np.where(stage == 1, second, since),
        arrived=arrived,
        waited=np.zeros(len(at), np.bool_),
        in_flight=flying,
        unanswered=np.zeros(len(at), np.int64),
        overdue=np.where(kind == Look.BROKEN, 0, late - waiting),
        limit_ms=500.0,
        came_since=(arrived - since, baseline.seen - baseline.since),
        baseline=baseline,
        end=None,
    )


def seen_by_judges(made: Trajectory, window: float, limit: float) -> Iterator[Evidence | None]:
    """What a judge is shown at each look; None before the first one after a restart."""
    own, other = made, made.baseline
    assert other is not None
    overdue = made.overdue_by(limit)
    windows = {name: SlidingWindow(window) for name in (*CONTRACTS, "all")}
    fed = since = 0

    def counts(start: int, end: int) -> Counts:
        failed, slow = own.failed[start:end], own.latency_ms[start:end] > limit
        return Counts(
            requests=end - start,
            errors=int(failed.sum()),
            timed=end - start,
            slow=int(slow.sum()),
            violations=int((own.broken[start:end] > 0).sum()),
        )

    def breaks(start: int, end: int) -> dict[str, int]:
        of = own.broken[start:end]
        numbers = dict(enumerate(CONTRACTS, 1))
        return {name: int((of == k).sum()) for k, name in numbers.items() if name != "never"}

    for look in range(len(made.at)):
        at, seen = float(made.at[look]), int(made.seen[look])
        if made.since[look] != since:
            fed = since = int(made.since[look])
            for each in windows.values():
                each.clear()
            yield None
        for number in range(fed, seen):
            one = counts(number, number + 1)
            windows["all"].add(float(own.done[number]), 1, one.errors, 1, one.slow, one.violations)
            if own.broken[number]:
                name = CONTRACTS[own.broken[number] - 1]
                windows[name].add(float(own.done[number]), 0, violations=1)
        fed = seen
        until, begun = int(other.seen[look]), int(made.begun[look])
        start = int(other.since[look])
        theirs = Counts(
            requests=until - start,
            errors=int(other.failed[start:until].sum()),
            timed=until - start,
            slow=int((other.latency_ms[start:until] > limit).sum()),
        )
        yield Evidence(
            window=windows["all"].counts(at),
            stage=counts(begun, seen),
            broken={name: windows[name].counts(at).violations for name in ("summary", "total")},
            broken_in_stage=breaks(begun, seen),
            total=counts(since, seen),
            baseline_total=theirs,
            at=at,
            number=int(made.stage[look]),
            in_flight=InFlight(requests=int(made.in_flight[look]), overdue=int(overdue[look])),
        )


REASON_OF = {
    Trigger.CONTRACT_VIOLATION: Why.CONTRACT,
    Trigger.ERROR_RATE: Why.ERROR_RATE,
    Trigger.P95_LATENCY: Why.LATENCY,
}


def stepped_in(
    made: Trajectory, shown: list[Evidence | None], deployment: Deployment
) -> tuple[int, Why]:
    """The first look at which a judge of the plan's says that the canary is unhealthy, and why."""
    judge, look = make_judge(deployment), 0
    asked = {Look.CHECK: judge.check, Look.END_OF_STAGE: judge.end_of_stage}
    for each in shown:
        if each is None:
            judge.begin()
            continue
        verdict: Verdict | None = asked.get(Look(made.kind[look]), judge.broken)(each)
        if verdict is not None and verdict.kind is VerdictKind.UNHEALTHY:
            assert verdict.trigger is not None
            return look, REASON_OF[verdict.trigger]
        look += 1
    return look, Why.NOTHING


def agree(made: Trajectory, grid: Grid, like: Deployment = LIKE) -> set[Why]:
    """Ask a judge about every candidate; which reasons there were."""
    found = crossings(made, grid, like)
    assert found.look.shape == found.why.shape == grid.shape
    shown = {
        (window, limit): list(seen_by_judges(made, window, limit))
        for window in {*grid.metric_window_seconds, like.rollback_thresholds.metric_window_seconds}
        for limit in grid.max_p95_latency_ms
    }
    for place in grid.places():
        candidate = grid.at(place, like)
        limits = candidate.rollback_thresholds
        key = limits.metric_window_seconds, limits.max_p95_latency_ms
        expected = stepped_in(made, shown[key], candidate)
        assert (int(found.look[place]), Why(int(found.why[place]))) == expected, candidate
    return {Why(each) for each in np.unique(found.why).tolist()}


THRESHOLDS = replace(GRID, alpha=())
EVIDENCE = replace(GRID, metric_window_seconds=(60,), min_samples=(1, 30), max_error_rate=(0, 10))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("restart", [False, True])
def test_windows_of_the_thresholds(seed: int, restart: bool) -> None:
    why = agree(drawn(seed, restart=restart), THRESHOLDS)
    assert {Why.ERROR_RATE, Why.LATENCY} <= why


@pytest.mark.parametrize("seed", range(4))
def test_contracts_and_their_budgets(seed: int) -> None:
    agree(drawn(seed, bad=0.05, broken=True, restart=seed == 2), THRESHOLDS)


@pytest.mark.parametrize("seed", range(3))
def test_levels_of_evidence(seed: int) -> None:
    agree(drawn(seed, bad=0.2, broken=seed == 1, restart=seed == 2), EVIDENCE)


def test_a_window_begins_where_the_products_of_its_slices_do() -> None:
    """Slices of a tenth of a second and the like, which no float can be."""
    made = drawn(5, rate=20.0)
    # Requests and looks at the very edges of slices, as floats have them.
    done = np.sort(np.round(made.done / 0.1) * 0.1)
    made = dataclasses.replace(made, done=done, at=np.round(made.at / 0.1) * 0.1)
    seen = np.searchsorted(done, made.at, "left")
    made = dataclasses.replace(made, seen=seen, begun=np.where(made.stage == 1, seen[11], 0))
    agree(made, replace(THRESHOLDS, metric_window_seconds=(6, 42), max_error_rate=(0, 2, 5, 20)))


def test_error_rates_that_no_number_of_bits_holds() -> None:
    """Sixteen digits, of one that is small: parts of a whole that is more than 2^63, or 2^64."""
    for small in (0.0012345678901234567, 0.00012345678901234567, 1.2345678901234567e-7):
        rates = (small, 3.3333333333333335, 10, 33.333333333333336)
        grid = replace(THRESHOLDS, max_error_rate=rates, min_samples=(3,))
        assert grid.rates[1] > 2**63
        agree(drawn(1), grid)


@pytest.mark.parametrize(
    ("bad", "rate"),
    [(1, 14.285714285714285), (2, 28.57142857142857), (4, 57.14285714285714)],
)
def test_a_rate_that_rounding_alone_makes_equal_is_exceeded(bad: int, rate: float) -> None:
    """Sevenths: a limit that lies below by less than a float's last digit is passed."""
    assert Fraction(bad, 7) > Fraction(str(rate)) / 100
    grid = Grid(max_error_rate=(rate,), metric_window_seconds=(60,), min_samples=(1,), alpha=())
    assert agree(even(bad, n=7), grid) == {Why.ERROR_RATE}


def test_minimums_of_samples_may_be_others_than_the_grid_s() -> None:
    made = drawn(2, broken=True)
    whole = crossings(made, GRID, LIKE)
    for number, least in enumerate(GRID.min_samples):
        part = crossings(made, replace(GRID, min_samples=(99,)), LIKE, (least,))
        assert (part.look == whole.look[:, [number]]).all()
        assert (part.why == whole.why[:, [number]]).all()


def even(bad: int, *, broken: int = 0, slow: int = 0, n: int = 40) -> Trajectory:
    """A request each second, and one look when all are done: so many failed, broke, were slow."""
    number = np.arange(n)
    nothing, at = np.zeros(1, np.int64), np.array([n + 5.0])
    idle = Baseline(np.zeros(0, np.bool_), np.zeros(0), nothing, nothing)
    return dataclasses.replace(
        drawn(0),
        done=(number + 1.0).astype(np.float64),
        came=(number + 0.9).astype(np.float64),
        place=number,
        failed=number < bad,
        broken=np.where(number < broken, 1, 0),
        latency_ms=np.where(number < slow, 900.0, 100.0),
        given_up=np.zeros(n, np.bool_),
        first=number,
        at=at,
        kind=np.array([Look.CHECK]),
        stage=nothing,
        seen=np.array([n]),
        since=nothing,
        restarts=nothing,
        begun=nothing,
        arrived=np.array([n]),
        waited=np.zeros(1, np.bool_),
        in_flight=nothing,
        unanswered=nothing,
        overdue=nothing,
        came_since=(np.array([n]), nothing),
        baseline=idle,
    )


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (even(4), Why.NOTHING),  # 10 %
        (even(5), Why.ERROR_RATE),
        (even(0, broken=2), Why.NOTHING),  # 5 %
        (even(0, broken=3), Why.CONTRACT),
        (even(9, broken=3, slow=9), Why.CONTRACT),
        (even(0, slow=1), Why.NOTHING),
        (even(0, slow=2), Why.LATENCY),
        (even(5, slow=2), Why.ERROR_RATE),
    ],
)
def test_at_a_limit_nothing_is_exceeded(made: Trajectory, why: Why) -> None:
    """Of 40 requests, of which the limits are whole numbers."""
    limits = RollbackThresholds(contract_budgets={"summary": 5.0, "total": 100.0})
    grid = Grid(
        max_error_rate=(10,),
        max_p95_latency_ms=(100, 500),
        metric_window_seconds=(60,),
        min_samples=(40,),
        alpha=(),
    )
    assert agree(made, grid, replace(LIKE, rollback_thresholds=limits)) == {why}
    # One more than there are is too many.
    grid = replace(grid, min_samples=(41,))
    assert agree(made, grid, replace(LIKE, rollback_thresholds=limits)) == {Why.NOTHING}


def test_one_request_is_judged_where_one_is_enough() -> None:
    grid = Grid(max_error_rate=(60,), metric_window_seconds=(60,), min_samples=(1,), alpha=())
    assert agree(even(1, n=1), grid) == {Why.ERROR_RATE}
    assert agree(even(0, n=1), grid) == {Why.NOTHING}
    assert agree(even(0, n=0), grid) == {Why.NOTHING}


def test_at_the_end_of_a_stage_a_window_that_holds_enough_is_what_is_judged() -> None:
    """Of forty the first ten failed, of which the last ten tell nothing."""
    kind, at = np.array([Look.END_OF_STAGE]), np.array([41.0])
    made = dataclasses.replace(even(10), kind=kind, at=at)
    grid = Grid(max_error_rate=(20,), metric_window_seconds=(10,), min_samples=(10,), alpha=())
    assert agree(made, grid) == {Why.NOTHING}
    assert agree(made, replace(grid, min_samples=(11,))) == {Why.ERROR_RATE}


def test_what_a_window_has_left_behind_is_not_judged() -> None:
    made = dataclasses.replace(even(10, broken=3, slow=10), at=np.array([41.0]))
    grid = Grid(max_error_rate=(20,), metric_window_seconds=(10,), min_samples=(10,), alpha=())
    assert agree(made, grid) == {Why.NOTHING}
    assert agree(made, replace(grid, metric_window_seconds=(60,))) == {Why.CONTRACT}


def test_a_look_at_the_edge_of_a_slice_is_in_the_slice_that_begins() -> None:
    """450 slices of 0.1 s are 45 s, though the floats' quotient is less than 450."""
    assert 45.0 // 0.1 == 449
    made = even(40)
    made = dataclasses.replace(made, done=made.done - 0.05)
    grid = Grid(max_error_rate=(20,), metric_window_seconds=(6,), min_samples=(2,), alpha=())
    assert agree(made, grid) == {Why.NOTHING}
    assert agree(made, replace(grid, min_samples=(1,))) == {Why.ERROR_RATE}


def test_a_window_begins_with_the_slice_of_the_grids_products() -> None:
    """Also where a quotient says that an instant lies before its own slice."""
    at = np.arange(200, dtype=np.float64) * np.float64(0.1)
    assert (at // 0.1 < np.arange(200)).any()
    made = dataclasses.replace(drawn(1), at=at, done=at, since=np.zeros(200, np.int64))
    assert _starts(made, 6.0).tolist() == [max(0, k - 60) for k in range(200)]
