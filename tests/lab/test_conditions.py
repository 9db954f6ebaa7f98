"""Conditions made around a plan or a scenario, and from a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.lab.worlds import DEPLOYMENT, SERVICE, scenario

from canario.config import ConfigError
from canario.plan import Deployment, Plan
from canario_sim import find_scenarios, load_scenario, run
from canario_sim.lab import (
    Condition,
    Conditions,
    Contracts,
    Errors,
    Latency,
    Profile,
    load_conditions,
)
from canario_sim.scenario.broken_contracts import ByRate
from canario_sim.scenario.expect import Expect
from canario_sim.scenario.faults import AddedLatency, MultipliedLatency
from canario_sim.scenario.faults import Errors as Failing
from canario_sim.scenario.service import Service

PLAN = Plan(deployment=DEPLOYMENT)


def test_around_a_plan_there_are_healthy_profiles_and_graded_regressions_at_each_rate() -> None:
    table = Conditions(rates=(1, 5))
    made = table.of_plan(PLAN)
    healthy = [each.name for each in made if each.kind == "healthy"]
    assert healthy == [
        *("steady-1rps", "noisy-1rps", "slow_tail-1rps"),
        *("steady-5rps", "noisy-5rps", "slow_tail-5rps"),
    ]
    bad = [each.name for each in made if each.kind == "regression"]
    assert len(bad) == 2 * len(table.regressions)
    assert bad[:3] == ["errors_x2-1rps", "errors_x5-1rps", "errors_plus_1-1rps"]
    assert len({each.name for each in made}) == len(made)
    assert all(each.scenario.plan.slo == PLAN.slo for each in made)
    assert all(each.scenario.service("canary") == each.scenario.baseline for each in made)


@pytest.mark.parametrize(
    ("errors", "rate"),
    [(Errors(factor=2), 4.0), (Errors(points=5), 7.0), (Errors(factor=90), 100.0)],
)
def test_a_regression_of_errors_has_the_rate_that_it_names(errors: Errors, rate: float) -> None:
    assert errors.rate(SERVICE) == rate
    struck = errors.struck(scenario(rate=2000))
    made = run(
        replace(
            struck,
            plan=Plan(
                deployment=Deployment(
                    rollback_thresholds=replace(DEPLOYMENT.rollback_thresholds, max_error_rate=100),
                    canary_stages=DEPLOYMENT.canary_stages,
                )
            ),
        )
    )
    # Of about 30,000 requests: four standard errors.
    share = 100 * made.canary.errors / made.canary.requests
    spread = 400 * (rate / 100 * (1 - rate / 100) / made.canary.requests) ** 0.5
    assert share == pytest.approx(rate, abs=spread + 1e-9)
    assert 100 * made.baseline.errors / made.baseline.requests == pytest.approx(2, abs=0.5)


def test_a_regression_is_a_fault_of_the_canary_alone() -> None:
    for latency, fault in (
        (Latency(factor=2, at=5), MultipliedLatency(factor=2, at=5)),
        (Latency(ms=30), AddedLatency(ms=30)),
    ):
        assert latency.struck(scenario()).faults == (fault,)
    assert Contracts(rate=1).struck(scenario()).contract_failures == (ByRate(rate=1),)


def test_what_changes_nothing_is_left_out() -> None:
    perfect = replace(scenario(), baseline=replace(SERVICE, error_rate=0))
    table = Conditions(regressions=(Errors(factor=2), Errors(points=1), Latency(factor=2)))
    assert [each.name for each in table.around(perfect)] == [
        "healthy-good",
        "errors_plus_1-good",
        "latency_x2-good",
    ]
    assert table.without_effect(perfect.baseline) == ("errors_x2",)


def test_around_a_scenario_its_canary_s_own_faults_are_gone_and_the_world_s_stay() -> None:
    own, world = Failing(rate=50), Failing(rate=3, arm="both")
    tried = replace(scenario("incident"), faults=(own, world), weakness="known", seed=9)
    healthy, worse = Conditions(regressions=(Latency(factor=3),)).around(tried)
    assert healthy.scenario.faults == (world,)
    assert worse.scenario.faults == (world, MultipliedLatency(factor=3))
    assert (healthy.kind, worse.kind) == ("healthy", "regression")
    assert healthy.scenario.deployment.deployment_id == "incident"
    assert healthy.scenario.weakness is None


# -- what a scenario file is


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, "healthy"),
        ({"canary": replace(SERVICE, error_rate=3)}, "regression"),
        ({"canary": SERVICE}, "healthy"),
        ({"faults": (Failing(rate=1),)}, "regression"),
        ({"faults": (Failing(rate=1, arm="both"),)}, "healthy"),
        ({"contract_failures": (ByRate(rate=1),)}, "regression"),
        ({"expect": Expect(outcome="rolled_back")}, "regression"),
        ({"expect": Expect(outcome="completed")}, "healthy"),
        ({"expect": Expect(outcome="completed"), "weakness": "it misses it"}, "regression"),
        ({"expect": Expect(outcome="rolled_back"), "weakness": "a false one"}, "healthy"),
        ({"expect": Expect(outcome="held"), "faults": (Failing(rate=9),)}, "regression"),
    ],
)
def test_a_scenario_says_whether_its_release_is_a_good_one(
    changes: dict[str, object], kind: str
) -> None:
    assert Condition.of(replace(scenario(), **changes)).kind == kind


def test_every_scenario_of_the_library_is_a_condition() -> None:
    kinds = {
        file.stem: Condition.of(load_scenario(file)).kind for file in find_scenarios(["scenarios"])
    }
    assert kinds["healthy"] == kinds["noisy_service"] == kinds["incident_on_both_arms"] == "healthy"
    for bad in ("error_spike", "slow_leak", "twentyfold_errors_unseen", "latency_regression"):
        assert kinds[bad] == "regression"


# -- files


def test_a_table_is_read_from_a_file_with_its_latencies(tmp_path: Path) -> None:
    (tmp_path / "ms.csv").write_text("ms\n10\n20\n30\n")
    path = tmp_path / "table.toml"
    path.write_text(
        """
        rates = [2.5]
        regressions = [
          { kind = "errors", factor = 3, at = 10 }, { kind = "latency", ms = 40 },
          { kind = "contract", rate = 2, contract = "total is a number" },
        ]
        [[profiles]]
        name = "ours"
        service = { latency = { kind = "empirical", file = "ms.csv" }, error_rate = 1 }
        """
    )
    table = load_conditions(path)
    assert table.profiles[0].service.latency.values_ms == (10, 20, 30)  # type: ignore[union-attr]
    assert [each.name for each in table.of_plan(PLAN)] == [
        "ours-2.5rps",
        "errors_x3-2.5rps",
        "latency_plus_40ms-2.5rps",
        "total_is_a_number_2-2.5rps",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("rates = []", "rates"),
        ("rates = [0]", "rates[0]"),
        ("rates = [1, 1]", "rates has 1 twice"),
        ('regressions = [{ kind = "errors" }]', "give one of them"),
        ('regressions = [{ kind = "errors", factor = 2, points = 1 }]', "give one of them"),
        ('regressions = [{ kind = "errors", factor = 1 }]', "regressions[0].factor"),
        ('regressions = [{ kind = "crash" }]', "errors, latency, contract"),
        (
            'regressions = [{ kind = "latency", factor = 2 }, { kind = "latency", factor = 2 }]',
            "regressions has latency_x2 twice",
        ),
        ("regresions = []", "unknown key; did you mean regressions?"),
        ("profiles = []", "profiles"),
        ("rates = 3", "Expected `array`"),
    ],
)
def test_a_table_that_is_wrong_is_refused_with_the_place(
    tmp_path: Path, content: str, message: str
) -> None:
    path = tmp_path / "table.toml"
    path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        load_conditions(path)
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


def test_a_profile_s_file_that_is_missing_is_named(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    path.write_text(
        '[[profiles]]\nname = "a"\nservice = { latency = { kind = "empirical", file = "no.csv" } }'
    )
    with pytest.raises(ConfigError, match=r"no\.csv: cannot be read"):
        load_conditions(path)


def test_names_in_a_table_are_their_own() -> None:
    profile = Profile(name="a", service=Service(latency=SERVICE.latency))
    with pytest.raises(ValueError, match="profiles has a twice"):
        Conditions(profiles=(profile, profile))
