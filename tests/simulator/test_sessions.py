"""Users who come for several requests: how many, with which pauses, and no busier than stated."""

from __future__ import annotations

from math import log
from statistics import NormalDist

import numpy as np
import pytest
from scipy.stats import kstest

from canario.plan import Deployment, Plan, Stage
from canario_sim import Scenario, run
from canario_sim.chance.draws import Draws
from canario_sim.distributions import Gamma, Lognormal
from canario_sim.scenario.service import Service
from canario_sim.traffic import Arrivals, Diurnal, Poisson, Population, Sessions, Traffic

THINK = Lognormal(p50_ms=4000, p95_ms=20_000)
SIGMA = log(5) / NormalDist().inv_cdf(0.95)


def drawn(traffic: Traffic, seed: int, until: float) -> Arrivals:
    parts = list(traffic.requests(seed, 10_000, until))
    at = np.concatenate([part.at for part in parts])
    mine = at < until
    session = np.concatenate([part.session for part in parts if part.session is not None])
    return Arrivals(at[mine], np.concatenate([part.key for part in parts])[mine], session[mine])


@pytest.mark.parametrize("length", ["geometric", "fixed"])
def test_sessions_have_their_lengths_and_their_pauses(length: str) -> None:
    sessions = Sessions(requests=5, length=length, think=THINK)  # type: ignore[arg-type]
    made = drawn(Poisson(rate=40, sessions=sessions), 3, 4000)
    assert made.session is not None
    order = np.lexsort((made.at, made.session))
    at, session, key = made.at[order], made.session[order], made.key[order]
    first = np.concatenate([[True], np.diff(session) > 0])
    # Those that began after 0, and so long before the end that they are over.
    whole = (session[first] >= _under_way(made)) & (at[first] < 3000)
    lengths = np.bincount(session)[session[first]][whole]
    if length == "fixed":
        assert set(lengths.tolist()) == {5}
    else:
        share = np.array([(lengths == n).mean() for n in range(1, 8)])
        expected = [0.2 * 0.8 ** (n - 1) for n in range(1, 8)]
        assert share.tolist() == pytest.approx(expected, abs=3.5 * (0.16 / len(lengths)) ** 0.5)
    same = np.diff(session) == 0
    early = at[:-1][same] < 2500
    pauses = np.diff(at)[same][early]
    assert kstest(np.log(pauses[:4000] / 4) / SIGMA, "norm").pvalue > 0.01
    assert (key[1:][same] == key[:-1][same]).all()


def _under_way(made: Arrivals) -> int:
    """How many sessions had begun before 0, or one or two more."""
    assert made.session is not None
    # Numbers are given in the order in which sessions begin, to those under way first.
    firsts = np.full(made.session.max() + 1, np.inf)
    np.minimum.at(firsts, made.session, made.at)
    return int(np.flatnonzero(np.diff(firsts) < 0).max(initial=-1)) + 2


@pytest.mark.parametrize(
    "sessions",
    [
        Sessions(requests=6, think=THINK),
        Sessions(requests=6, think=Gamma(mean_ms=9000, shape=1)),
        Sessions(requests=4, length="fixed", think=Gamma(mean_ms=30_000, shape=8)),
        Sessions(requests=1, think=THINK),
        Sessions(requests=2.5, think=Lognormal(p50_ms=20_000, p95_ms=20_000)),
    ],
)
def test_the_rate_of_requests_is_as_stated_from_the_first_second_on(sessions: Sessions) -> None:
    """Sessions under way at 0 are there: without them the first minutes would be half empty."""
    traffic = Poisson(rate=10, sessions=sessions)
    edges = np.array([0.0, 1, 3, 10, 30, 60, 100])
    seen = np.array([np.histogram(drawn(traffic, s, 100).at, edges)[0] for s in range(250)])
    expected = 250 * 10 * np.diff(edges)
    # Requests of a session make the counts vary by up to E N² / E N times Poisson's.
    mean = sessions.requests
    spread = (2 * mean - 1 if sessions.length == "geometric" else mean) ** 0.5
    z = (seen.sum(axis=0) - expected) / np.sqrt(expected) / spread
    assert np.abs(z).max() < 3.3


@pytest.mark.parametrize(("length", "dispersion"), [("geometric", 9.0), ("fixed", 5.0)])
def test_sessions_make_counts_vary(length: str, dispersion: float) -> None:
    """Over windows much longer than a session the index of dispersion is E N² / E N."""
    sessions = Sessions(requests=5, length=length, think=Gamma(mean_ms=50))  # type: ignore[arg-type]
    at = drawn(Poisson(rate=20, sessions=sessions), 4, 60_000).at
    counts = np.histogram(at, 3000, (0, 60_000))[0]
    assert counts.mean() == pytest.approx(400, abs=3.5 * (dispersion * 400 / 3000) ** 0.5)
    # The deviation of a variance of 3,000: 2.6 %; the ends of windows cut few sessions.
    assert counts.var() / counts.mean() == pytest.approx(dispersion, rel=0.1)


def test_sessions_follow_a_rate_that_changes() -> None:
    sessions = Sessions(requests=3, think=Gamma(mean_ms=500))
    traffic = Diurnal(rate=30, peak_to_mean=1.9, period_seconds=1000, sessions=sessions)
    at = drawn(traffic, 9, 1000).at
    counts = np.histogram(at, [0, 100, 450, 550, 900, 1000])[0] / [100, 350, 100, 350, 100]
    middle = 30 * (1 + 0.9 * np.sin(np.pi / 10 * 2) / (2 * np.pi / 10))
    assert counts[0] == pytest.approx(middle, rel=0.1)
    assert counts[2] == pytest.approx(60 - middle, rel=0.35)


def test_a_session_goes_on_across_stages_on_the_arm_of_its_user() -> None:
    scenario = Scenario(
        name="sessions",
        teaches="that a user who is thinking may come back in the next stage",
        plan=Plan(deployment=Deployment(canary_stages=(Stage(20, 60), Stage(100, 60)))),
        traffic=Poisson(
            rate=20, keys=Population(size=50), sessions=Sessions(requests=8, think=THINK)
        ),
        baseline=Service(latency=Gamma(mean_ms=30)),
    )
    chunk = next(Draws(scenario.settled(1), 1).chunks(60_000))
    both = set(chunk.session[chunk.at < 60].tolist()) & set(
        chunk.session[(chunk.at > 60) & (chunk.at < 120)].tolist()
    )
    assert len(both) > 50
    for session in list(both)[:20]:
        assert len(set(chunk.key[chunk.session == session].tolist())) == 1
    made = run(scenario)
    assert made.outcome == "completed"
    assert made.exposure.users <= 50
