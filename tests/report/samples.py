"""What the tests of reports are about: rehearsals, odds, and text that would be markup."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from msgspec.structs import replace

from canario.plan import Deployment, Plan, Stage
from canario_sim import Run, Scenario, load_scenario, run
from canario_sim.expect import Expect
from canario_sim.lab.assessment import Assessment, assessment
from canario_sim.lab.experiment import Condition, Experiment, Policy, Row
from canario_sim.lab.replicate import Replications

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
