"""What the tests of reports are about: rehearsals, odds, and text that would be markup."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from itertools import cycle
from math import inf
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from canario.control.events import Started
from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario_sim import Run, Scenario, load_scenario, run
from canario_sim.backtest.backtest import Alarms, Backtest, Happened, Judged, TapeFacts, Window
from canario_sim.lab.assessment import Assessment, Described, assessment
from canario_sim.lab.experiment import Condition, Experiment, Policy, Row
from canario_sim.lab.replicate import Replications
from canario_sim.lab.summary import Estimate
from canario_sim.scenario.expect import Expect
from canario_sim.tuning.goals import Goals
from canario_sim.tuning.result import (
    Check,
    GoalName,
    HeatMap,
    Impossible,
    Point,
    Reason,
    Scores,
    Tuning,
)

SCENARIOS = Path(__file__).parents[2] / "scenarios"

# Every one of these is markup, code or a command somewhere.
HOSTILE = (
    "<script>window.harmed = 1</script>",
    "</script><script>window.harmed = 2</script>",
    "<img src=x onerror='window.harmed = 3'>",
    "<svg onload=window.harmed=4>",
    "<!-- --><b>bold</b> &amp; & &#65;",
    "{{7*7}} {% raw %} ${7*7}",
    "]]> <![CDATA[",
    "\"double\" 'single' `code`",
    "line\u2028separator\u2029s",
    "**bold** _em_ ~~gone~~ [a](javascript:window.harmed=5) ![i](https://evil.example/i.png)",
    "@team #12 https://evil.example www.evil.example :smile: |pipe|",
    '=HYPERLINK("https://evil.example")',
    "[bold red]rich[/]",
)


@cache
def rehearsal(name: str) -> tuple[Scenario, Run]:
    scenario = load_scenario(SCENARIOS / f"{name}.toml")
    return scenario, run(scenario)


@cache
def hostile_rehearsal() -> tuple[Scenario, Run]:
    """One that is not as expected, with all of `HOSTILE` in what its file may say."""
    scenario, _ = rehearsal("contract_violation_first_minute")
    (failure,) = scenario.contract_failures
    scenario = replace(
        scenario,
        teaches=" ".join(HOSTILE),
        weakness=" ".join(reversed(HOSTILE)),
        contract_failures=(
            replace(failure, contract="".join(HOSTILE[:4]), detail=" ".join(HOSTILE)),
        ),
        expect=Expect(outcome="completed"),
    )
    return scenario, run(scenario)


def odds(policies: tuple[str, ...] = ("release", "strict"), conditions: int = 6) -> Assessment:
    """An assessment whose rows are written down here: 20 rollouts of each."""
    plain = load_scenario(SCENARIOS / "healthy.toml")
    deployment = Deployment(canary_stages=(Stage(50, 60),))
    experiment = Experiment(
        conditions=tuple(
            Condition(
                scenario=replace(plain, name=f"condition-{number}", plan=Plan(), expect=None),
                kind="healthy" if number % 3 == 0 else "regression",
            )
            for number in range(conditions)
        ),
        policies=tuple(Policy(name=name, deployment=deployment) for name in policies),
    )
    rows = tuple(
        _row(condition, policy, replication)
        for condition in range(conditions)
        for replication in range(20)
        for policy in range(len(policies))
    )
    made = Replications(experiment=experiment, rows=rows, planned=len(rows), complete=True)
    return assessment(made)


def tuning(names: tuple[str, ...] = ("steady", "bad")) -> Tuning:
    """A search whose result is written down here."""
    assessed = odds(("recommended", "present"), 3)
    points = tuple(
        Point(
            deployment=Deployment(rollback_thresholds=RollbackThresholds(max_error_rate=rate)),
            scores=Scores(
                false_rollback=_share(false),
                detect=_share(1 - false / 2),
                within=_share(0.9),
                at_most=_share(1.0),
                exposure=40 - 30 * false,
                duration_seconds=600 + 100 * rate,
                shortfall=max(0.0, false - 0.1),
            ),
        )
        for rate, false in ((5.0, 0.0), (3.0, 0.25), (10.0, 0.6), (1.0, 1.0))
    )
    rates, limits = (1.0, 3.0, 5.0, 10.0), (200.0, 500.0, 1000.0)
    return Tuning(
        experiment="0123456789abcdef",
        seed=1,
        replications=20,
        held_out=20,
        confidence=0.95,
        complete=True,
        goals=Goals(false_rollback=0.1, within_seconds=120, at_most=50),
        slow_above_ms=500,
        conditions=tuple(Described(name=name, kind="healthy", about=name) for name in names),
        candidates=1234,
        rehearsals=80,
        repeated=3,
        front=points,
        recommended=points[0],
        present=points[2],
        plan=Plan(deployment=points[0].deployment),
        reasons=(
            Reason(key="deployment.rollback_thresholds.max_error_rate", value="5", why=names[0]),
        ),
        heat=HeatMap(
            max_error_rate=rates,
            max_p95_latency_ms=limits,
            false_rollback=tuple(tuple((i + j) / 5 for j in range(3)) for i in range(4)),
            detect=tuple(tuple(1 - i * j / 6 for j in range(3)) for i in range(4)),
            replications=20,
            recommended=(2, 1),
            present=(3, 1),
        ),
        characteristics=assessed.characteristics,
        checks=tuple(
            Check(
                goal=goal,
                policy=policy,
                condition=name,
                wanted=0.1 if goal == "false_rollback" else 0.99,
                share=_share(0.05 if goal == "false_rollback" else 0.95),
                met=goal == "false_rollback",
                shown=False,
            )
            for name in names
            for policy in ("recommended", "present")
            for goal in GOALS
        ),
        impossible=(Impossible(condition=names[-1], goal="detect", best=0.9, why=names[0]),),
    )


GOALS: tuple[GoalName, ...] = ("false_rollback", "detect")


def _share(value: float) -> Estimate:
    return Estimate(value=value, low=max(0.0, value - 0.05), high=min(1.0, value + 0.05))


def tape(policies: tuple[str, ...] = ("own plan", "strict")) -> Backtest:
    """A tape that is a rehearsal, judged as it was; it begins on a clock that is far on."""
    _, made = rehearsal("error_spike")
    began = 1_700_000_000.25
    started = made.events[0]
    assert isinstance(started, Started)
    happened = Happened(
        outcome="rolled_back",
        reason=made.reason,
        why=made.why,
        ended_at=began + made.ended_at,
        final_stage=made.final_stage,
        events=_later(made.events, began),
        exposure=made.exposure,
    )
    return Backtest(
        tape=_facts(began, made),
        happened=happened,
        fates="matched",
        within_seconds=300,
        seed=1,
        policies=tuple(
            Judged(
                policy=name,
                deployment=started.deployment,
                run=replace(
                    made,
                    scenario=name,
                    seed=None,
                    ended_at=happened.ended_at,
                    events=happened.events,
                    notes=_later(made.notes, began),
                    history=_later(made.history, began),
                    expectations=(),
                ),
                exact_until=began + 60 if number else None,
                drawn=10 * number,
                donors=5 * number,
                same_journal=True,
                tape_ends=None,
                difference=None,
            )
            for number, name in enumerate(policies)
        ),
    )


def alarms(policies: tuple[str, ...] = ("release", "strict")) -> Backtest:
    """Releases that change nothing, of which every fourth is rolled back."""
    _, made = rehearsal("error_spike")
    ends = cycle(("completed", "completed", "rolled_back", "completed"))
    outcomes = [next(ends) for _ in range(8)]
    windows = tuple(
        Window(
            start=60.0 * number,
            ended_at=60.0 * number + 50,
            outcome=outcome,  # type: ignore[arg-type]
            reason="error_rate" if outcome == "rolled_back" else None,
            why=made.why,
            canary_requests=100,
            bad_requests=number,
        )
        for number, outcome in enumerate(outcomes)
    )
    return Backtest(
        tape=_facts(0.0, made),
        happened=None,
        fates="recorded",
        within_seconds=0,
        seed=1,
        alarms=tuple(
            Alarms(
                policy=name,
                deployment=Deployment(),
                windows=windows,
                rolled_back=2,
                promoted=6,
                unfinished=0,
                share=0.25,
                low=0.07,
                high=0.59,
                per_week=inf,
                reasons={"error_rate": 2},
            )
            for name in policies
        ),
    )


def _facts(began: float, made: Run) -> TapeFacts:
    return TapeFacts(
        source="traffic.tape.sqlite",
        deployment_id="release-7",
        began=began,
        ends=began + 700,
        requests=12_000,
        canary_requests=made.exposure.canary_requests,
        errors=100,
        neutral=3,
        users=5000,
        routes=("/",),
        violations=0,
        whole=True,
        dropped=0,
        workers=1,
        restarts=0,
        closed=True,
    )


def _later(values: Iterable[Any], seconds: float) -> tuple[Any, ...]:
    return tuple(replace(each, at=each.at + seconds) for each in values)


def _row(condition: int, policy: int, replication: int) -> Row:
    back = (replication * 7 + condition * 3 + policy * 5) % 20 < 3 * condition + 2 * policy
    return Row(
        condition=condition,
        policy=policy,
        replication=replication,
        outcome="rolled_back" if back else "completed",
        reason="error_rate" if back else None,
        at=20.0 + 13 * replication if back else 600.0,
        stage=0,
        requests=1000,
        errors=replication,
        slow=0,
        violations=0,
        bad=replication * condition,
        users=500 + replication,
        budget_burnt=0.1 * replication,
    )
