"""What it costs to try a thousand pairs of thresholds instead of one.

python -m benchmarks.tuning [--quick]
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from msgspec.structs import replace

from canario.plan import Deployment
from canario_sim import Scenario, run
from canario_sim.scenario.faults import Errors
from canario_sim.tuning import Grid
from canario_sim.tuning.crossings import crossings
from canario_sim.tuning.judged import judge_all
from canario_sim.tuning.trajectory import Trajectory, record

from .measure import Rounds, Row, Table, Timer, options, ratio_text, report, rounds_of, time_text
from .simulation import QUICK_STAGES, STAGES, scenario_of

ONE = Grid(
    max_error_rate=(10,),
    max_p95_latency_ms=(500,),
    metric_window_seconds=(60,),
    min_samples=(10,),
    alpha=(),
)
# 40 error rates × 25 latencies, from below what the service does to far above it.
PAIRS = replace(
    ONE,
    max_error_rate=tuple(0.25 * number for number in range(1, 41)),
    max_p95_latency_ms=tuple(80.0 + 20 * number for number in range(25)),
)
# The same for four windows and four minimums of samples, and for two levels of the sequential
# judge.
WINDOWS = replace(PAIRS, metric_window_seconds=(30, 60, 120, 300), min_samples=(10, 20, 50, 100))
ALL = Grid()

RUNS = 50  # pairs that are rehearsed one by one, to say what a thousand would take


def main() -> None:
    """Measure and print the tables."""
    quick = options("A thousand pairs of thresholds beside one.")
    stages, rounds = (QUICK_STAGES, 3) if quick else (STAGES, 31)
    healthy = scenario_of(stages)
    failing = Errors(rate=3, at=sum(stage.hold_seconds for stage in stages) / 4)
    report([pairs(healthy, rounds), afterwards(replace(healthy, faults=(failing,)), rounds)])


def pairs(scenario: Scenario, rounds: int) -> Table:
    """From the first random number to the outcome of every candidate."""
    scenario = replace(scenario, horizon_seconds=scenario.horizon)
    assert agree(scenario)
    timers: dict[str, Timer] = {
        name: _timer(partial(_judge, scenario, count()), grid)
        for name, grid in (("one", ONE), ("pairs", PAIRS), ("windows", WINDOWS), ("all", ALL))
    }
    seeds = count()
    timers["run"] = _timer(lambda _: run(scenario, next(seeds)), ONE)
    measured = rounds_of(timers, rounds)
    more = measured.ratio("pairs", "one") - 1
    each = measured.median("run")
    return Table(
        f"{len(PAIRS):,} pairs of thresholds on one rollout of "
        f"{_requests(scenario):,} requests, generation included",
        [
            Row("one pair", time_text(measured.median("one"))),
            Row(
                f"{len(PAIRS):,} pairs",
                time_text(measured.median("pairs")),
                f"{100 * more:.1f} % more than one",
                "≤ 5 % more",
                more <= 0.05,
            ),
            _more(measured, "windows", f"{len(WINDOWS):,} with windows and minimums of samples"),
            _more(measured, "all", f"{len(ALL):,} of `canario tune`, the sequential judge's too"),
            Row(
                "`canario_sim.run` for each pair",
                f"{time_text(each * len(PAIRS))} (from one)",
                ratio_text(each * len(PAIRS) / measured.median("pairs"), "all pairs at once"),
            ),
        ],
        f"CPU time, medians of {rounds} rounds; the percentage is the median of each round's own. "
        "In a round all meet the same requests, in the next one others. Before, "
        f"{RUNS} of the pairs are rehearsed by `run` one by one, and must end at the same instant, "
        "for the same reason and with the same bad requests and users.",
    )


def afterwards(scenario: Scenario, rounds: int) -> Table:
    """The search for crossings alone, on a trajectory that is there."""
    scenario = replace(scenario, horizon_seconds=scenario.horizon)
    trajectory = record(scenario, 1, 10)
    like = scenario.plan.deployment
    timers = {
        name: _timer(partial(_cross, trajectory, like), grid)
        for name, grid in (("one", ONE), ("pairs", PAIRS))
    }
    measured = rounds_of(timers, rounds)
    added = measured.added("pairs", "one")
    return Table(
        "The crossings alone, on a trajectory that is there",
        [
            Row("one pair", time_text(measured.median("one"))),
            Row(f"{len(PAIRS):,} pairs", time_text(measured.median("pairs"))),
            Row("each further pair", time_text(added / (len(PAIRS) - 1))),
        ],
        "A release whose errors rise to about 3.5 %. Measured as above.",
    )


def _judge(scenario: Scenario, seeds: Iterator[int], grid: Grid) -> object:
    return judge_all(scenario, next(seeds), grid)


def _cross(trajectory: Trajectory, like: Deployment, grid: Grid) -> object:
    return crossings(trajectory, grid, like)


def _more(measured: Rounds, name: str, what: str) -> Row:
    more = measured.ratio(name, "one") - 1
    return Row(what, time_text(measured.median(name)), f"{100 * more:.1f} % more than one")


def _timer(work: Callable[[Grid], object], grid: Grid) -> Timer:
    def measure() -> float:
        start = time.process_time()
        work(grid)
        return time.process_time() - start

    return measure


def _requests(scenario: Scenario) -> int:
    made = run(scenario, 1)
    return made.baseline.requests + made.canary.requests


def agree(scenario: Scenario) -> bool:
    """Some of the pairs, one by one. Raises `RuntimeError` where two ways disagree."""
    (judged,) = judge_all(scenario, 1, PAIRS)
    places = list(PAIRS.places())
    for place in places[:: len(places) // RUNS]:
        deployment = PAIRS.at(place, scenario.plan.deployment)
        own = judged.ended(place, deployment.rollback_thresholds.max_p95_latency_ms)
        made = run(replace(scenario, plan=replace(scenario.plan, deployment=deployment)), 1)
        mine = (own.outcome, own.reason, own.at, own.bad, own.users)
        exposure = made.exposure
        if mine != (
            made.outcome,
            made.reason,
            made.ended_at,
            exposure.bad_requests,
            exposure.users,
        ):
            raise RuntimeError(f"two ways to judge the same requests disagreed: {deployment}")
    return True


if __name__ == "__main__":
    main()
