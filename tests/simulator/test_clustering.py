"""Failures that cluster: the rate stays as stated, and the correlation is the one asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import betabinom, chisquare

from canario.plan import Deployment, Plan, RollbackThresholds
from canario_sim import Scenario, run
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import Ahead, Requests
from canario_sim.distributions import Gamma
from canario_sim.scenario.broken_contracts import ByRate
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.clustering import Clustering
from canario_sim.scenario.faults import Errors
from canario_sim.scenario.request_kinds import Answer, Route
from canario_sim.scenario.service import Service
from canario_sim.streams import Flags, Floats, Ints
from canario_sim.traffic import Constant, Poisson, Population, Sessions

USERS = 4000
PER_USER = 10


def scenario(service: Service, **changes: object) -> Scenario:
    made: dict[str, Any] = {
        "name": "clustered",
        "teaches": "that failures come together",
        "traffic": Constant(rate=20, keys=Population(size=USERS)),
        "baseline": service,
        "horizon_seconds": 20_000,
    }
    return Scenario(**(made | changes))


def requests(made: Scenario, seed: int = 1) -> Requests:
    """All in one piece."""
    ahead = Ahead(Draws(made.settled(seed), seed), 500_000)
    ahead.reach(made.horizon)
    return ahead.requests


def by_cluster(cluster: Ints, failed: Flags) -> Floats:
    """Failures among the first ten requests of each user or session that has ten."""
    order = np.argsort(cluster, kind="stable")
    numbers = np.bincount(cluster)
    starts = np.cumsum(numbers) - numbers
    starts = starts[numbers >= PER_USER]
    picked = failed[order][starts[:, None] + np.arange(PER_USER)]
    counts: Floats = picked.sum(axis=1).astype(float)
    return counts


def failing(rate: float, clustering: Clustering | None) -> Service:
    return Service(latency=Gamma(mean_ms=10), error_rate=rate, clustering=clustering)


@pytest.mark.parametrize(
    ("rate", "correlation"), [(10, 0.3), (5, 0.05), (50, 0.8), (1, 0.5), (97, 0.2)]
)
def test_failures_of_a_user_are_beta_binomial(rate: float, correlation: float) -> None:
    """Their mean, their variance n p q (1 + (n − 1) ρ), and their whole distribution."""
    found = requests(scenario(failing(rate, Clustering(correlation=correlation))))
    seen = by_cluster(found.key, found.baseline.failed)
    p, both = rate / 100, 1 / correlation - 1
    law = betabinom(PER_USER, p * both, (1 - p) * both)
    assert len(seen) > 0.9 * USERS
    assert law.var() == pytest.approx(10 * p * (1 - p) * (1 + 9 * correlation))
    assert seen.mean() == pytest.approx(10 * p, abs=3.5 * law.std() / len(seen) ** 0.5)
    fourth = law.stats(moments="k") * law.var() ** 2 + 2 * law.var() ** 2
    assert seen.var() == pytest.approx(law.var(), abs=3.5 * (fourth / len(seen)) ** 0.5)
    expected = len(seen) * law.pmf(np.arange(PER_USER + 1))
    counts = np.bincount(seen.astype(int), minlength=PER_USER + 1)
    many = expected >= 5
    few = [np.append(part[many], part[~many].sum()) for part in (counts, expected)]
    few = [part[few[1] > 0.5] for part in few]
    assert chisquare(few[0], few[1] * few[0].sum() / few[1].sum()).pvalue > 0.01


def intraclass(values: Floats) -> float:
    """The correlation within rows, by analysis of variance (Fisher)."""
    k = values.shape[1]
    between = k * values.mean(axis=1).var(ddof=1)
    within = values.var(axis=1, ddof=1).mean()
    return float((between - within) / (between + (k - 1) * within))


@pytest.mark.parametrize("prone", [20.0, 60.0])
def test_the_prone_have_all_the_failures(prone: float) -> None:
    clustering = Clustering(prone=prone)
    found = requests(scenario(failing(10, clustering)))
    order = np.argsort(found.key, kind="stable")
    numbers = np.bincount(found.key, minlength=USERS)
    starts = (np.cumsum(numbers) - numbers)[numbers >= 60]
    rows = found.baseline.failed[order][starts[:, None] + np.arange(60)].astype(float)
    assert rows.mean() == pytest.approx(0.1, abs=3.5 * (0.1 * 0.9 / len(rows)) ** 0.5)
    # Var(p) / (m (1 − m)), where p is m/q for the part q of the users and 0 for the others.
    assert intraclass(rows) == pytest.approx((100 / prone - 1) / (100 / 10 - 1), abs=0.02)
    ever = rows.any(axis=1).mean()
    assert ever == pytest.approx(prone / 100, abs=0.03)


def test_failures_may_cluster_by_session() -> None:
    service = failing(8, Clustering(by="session", correlation=0.4))
    traffic = Poisson(
        rate=20,
        keys=Population(size=50),
        sessions=Sessions(requests=10, length="fixed", think=Gamma(mean_ms=2000)),
    )
    found = requests(scenario(service, traffic=traffic))
    seen = by_cluster(found.session, found.baseline.failed)
    law = betabinom(10, 0.08 * 1.5, 0.92 * 1.5)
    assert seen.mean() == pytest.approx(0.8, abs=3.5 * law.std() / len(seen) ** 0.5)
    assert seen.var() == pytest.approx(law.var(), rel=0.05)
    # Two sessions of one user have nothing in common: the users differ as means of 800 do.
    rates = np.bincount(found.key, found.baseline.failed) / np.bincount(found.key)
    assert rates.std() == pytest.approx(law.std() / 10 / 800**0.5, rel=0.35)


def test_faults_and_contracts_cluster_too_and_each_in_its_own_way() -> None:
    some = Clustering(prone=25)
    found = requests(
        scenario(
            Service(latency=Gamma(mean_ms=10)),
            faults=(Errors(rate=10, arm="both", ramp=500, clustering=some),),
            contract_failures=(ByRate(rate=10, clustering=some),),
        )
    )
    failed = np.bincount(found.key, found.canary.failed, USERS)
    broke = np.bincount(found.key, found.canary.broken > 0, USERS)
    assert (failed > 0).mean() == pytest.approx(0.25, abs=0.025)
    assert (broke > 0).mean() == pytest.approx(0.25, abs=0.025)
    # Who is prone to the one is no likelier to be prone to the other.
    assert ((failed > 0) & (broke > 0)).mean() == pytest.approx(0.0625, abs=0.02)
    # Who is prone on one arm is prone on the other.
    assert (found.canary.failed == found.baseline.failed).all()
    late = found.at > 500
    assert found.canary.failed[late].mean() == pytest.approx(0.1, abs=0.01)
    assert (found.canary.broken > 0).mean() == pytest.approx(0.1, abs=0.01)


def test_routes_with_rates_of_their_own_share_the_prone_users() -> None:
    routes = (
        Route(name="easy", weight=3),
        Route(name="hard", baseline=Answer(error_rate=20)),
    )
    found = requests(scenario(failing(4, Clustering(prone=40)), routes=routes))
    rates = [found.baseline.failed[found.route == number].mean() for number in (0, 1)]
    assert rates == pytest.approx([0.04, 0.2], rel=0.08)
    ever = np.bincount(found.key, found.baseline.failed, USERS) > 0
    assert ever.mean() == pytest.approx(0.4, abs=0.03)


@pytest.mark.parametrize("rate", [0.0, 100.0])
def test_never_and_always_leave_nothing_to_cluster(rate: float) -> None:
    found = requests(scenario(failing(rate, Clustering(correlation=0.5))))
    assert found.baseline.failed.all() == (rate == 100)
    assert found.baseline.failed.any() == (rate == 100)


def test_asking_again_does_not_help_the_prone() -> None:
    """Where ten percent of the users have all failures every one of their attempts fails."""
    plan = Plan(deployment=Deployment(rollback_thresholds=RollbackThresholds(max_error_rate=100)))
    for clustering, errors in ((None, 0.1 + 0.01 + 0.001), (Clustering(prone=10), 0.1 * 3)):
        made = scenario(
            failing(10, clustering),
            plan=plan,
            clients=Clients(attempts=3, backoff_ms=0),
            horizon_seconds=500,
        )
        done = run(made)
        assert done.ended_at == 500
        failed = done.baseline.errors + done.canary.errors
        assert failed / (20 * 500) == pytest.approx(errors, rel=0.08)
