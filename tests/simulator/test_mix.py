"""Routes, payload classes, and what happens to certain requests; faults that overlap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from scipy.stats import chisquare, kstest

from canario_sim import Scenario, run
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import Requests
from canario_sim.distributions import Component as Part
from canario_sim.distributions import Gamma, Lognormal, Mixture
from canario_sim.scenario.broken_contracts import ByKey, ByPayload, ByRate, ByRoute
from canario_sim.scenario.faults import (
    AddedLatency,
    Errors,
    Fault,
    Hang,
    MultipliedLatency,
    Outage,
    SlowLeak,
)
from canario_sim.scenario.request_kinds import Answer, Payload, Route
from canario_sim.scenario.service import Service
from canario_sim.streams import Flags
from canario_sim.traffic import Poisson, Population

ROUTES = (
    Route(name="/evaluate", weight=5, baseline=Answer(latency=Gamma(mean_ms=300, shape=3))),
    Route(name="/upload", weight=3, canary=Answer(error_rate=20)),
    Route(
        name="/health",
        weight=2,
        baseline=Answer(latency=Gamma(mean_ms=2), error_rate=0),
        canary=Answer(latency=Gamma(mean_ms=4)),
    ),
)
PAYLOADS = (Payload(name="small", weight=9), Payload(name="large", weight=1, factor=5))
SCENARIO = Scenario(
    name="mixed",
    teaches="that requests are for something",
    traffic=Poisson(rate=50, keys=Population(size=200)),
    baseline=Service(latency=Lognormal(p50_ms=80, p95_ms=250), error_rate=5),
    routes=ROUTES,
    payloads=PAYLOADS,
    horizon_seconds=2000,
)


def requests(made: Scenario, seed: int = 1) -> Requests:
    return next(Draws(made.settled(seed), seed).chunks(60_000))


FOUND = requests(SCENARIO)


def test_routes_and_payloads_come_as_often_as_they_weigh() -> None:
    for numbers, weights in ((FOUND.route, [5, 3, 2]), (FOUND.payload, [9, 1])):
        counts = np.bincount(numbers)
        expected = len(FOUND) * np.array(weights) / sum(weights)
        assert chisquare(counts, expected).pvalue > 0.01
    # One does not depend on the other, nor on the key.
    both = np.bincount(FOUND.route.astype(int) * 2 + FOUND.payload)
    assert chisquare(both, len(FOUND) * np.outer([0.5, 0.3, 0.2], [0.9, 0.1]).ravel()).pvalue > 0.01


@pytest.mark.parametrize("arm", ["baseline", "canary"])
def test_each_route_is_answered_in_its_own_way(arm: str) -> None:
    """A route says what differs on the present version, and what on the new one from that."""
    fates = FOUND.baseline if arm == "baseline" else FOUND.canary
    ms = fates.seconds * 1000
    small = FOUND.payload == 0
    laws = {
        0: ("gamma", (3, 0, 100)),
        1: ("lognorm", (np.log(250 / 80) / 1.6448536, 0, 80)),
        2: ("expon", (0, 2 if arm == "baseline" else 4)),
    }
    for number, (law, arguments) in laws.items():
        own = ms[(FOUND.route == number) & small][:3000]
        assert kstest(own, law, args=arguments).pvalue > 0.01, number
        large = ms[(FOUND.route == number) & ~small] / 5
        assert kstest(large[:1000], law, args=arguments).pvalue > 0.01, number
    rates = [fates.failed[FOUND.route == number].mean() for number in range(3)]
    # The health check of the canary says nothing of errors: they are the baseline's there.
    expected = [0.05, 0.05, 0.0] if arm == "baseline" else [0.05, 0.2, 0.0]
    assert rates == pytest.approx(expected, abs=0.012)


def test_what_one_route_draws_does_not_depend_on_the_others() -> None:
    """A route's latencies are a stream of its own: another law on one route leaves all others."""
    other = (
        *ROUTES[:2],
        Route(name="/health", weight=2, baseline=Answer(latency=Gamma(mean_ms=9))),
    )
    changed = requests(replace(SCENARIO, routes=other))
    same = FOUND.route < 2
    assert (changed.baseline.seconds[same] == FOUND.baseline.seconds[same]).all()
    assert (changed.route == FOUND.route).all()
    assert (changed.at == FOUND.at).all()
    assert (changed.key == FOUND.key).all()


def test_a_mixture_as_a_route_s_latency_has_streams_of_its_own() -> None:
    mixture = Mixture(components=(Part(weight=1, latency=Gamma(mean_ms=10)),) * 2)
    service = Service(latency=mixture)
    routes = tuple(Route(name=str(n), baseline=Answer(latency=replace(mixture))) for n in range(2))
    found = requests(replace(SCENARIO, baseline=service, routes=routes, payloads=()))
    first, second = (found.baseline.seconds[found.route == number][:5000] for number in (0, 1))
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.05


def test_arms_serve_alike_when_they_do_on_every_route() -> None:
    assert not SCENARIO.serves_alike
    same = replace(SCENARIO, routes=tuple(replace(route, canary=Answer()) for route in ROUTES))
    assert same.serves_alike
    # What a route says of the canary is nothing new when it is what the baseline does.
    health = replace(ROUTES[2], canary=Answer(latency=Gamma(mean_ms=2)))
    assert replace(same, routes=(*same.routes[:2], health)).serves_alike
    slower = Service(latency=Lognormal(p50_ms=90, p95_ms=250), error_rate=5)
    assert not replace(same, canary=slower).serves_alike


def struck(fault: Fault) -> Flags:
    """Which requests of the canary a fault changes."""
    calm, wild = requests(SCENARIO), requests(replace(SCENARIO, faults=(fault,)))
    changed: Flags = calm.canary.seconds != wild.canary.seconds
    return changed


def test_a_fault_strikes_certain_keys_routes_and_payloads() -> None:
    since = FOUND.at >= 10
    route, payload, key = FOUND.route, FOUND.payload, FOUND.key
    slow = AddedLatency(ms=100, at=10)
    for targets, expected in (
        ({"routes": ("/upload",)}, route == 1),
        ({"routes": ("/upload", "/health")}, route > 0),
        ({"payloads": ("large",)}, payload == 1),
        ({"routes": ("/evaluate",), "payloads": ("large",)}, (route == 0) & (payload == 1)),
        (
            {"routes": ("/evaluate",), "keys": ("user-7", "user-9")},
            (route == 0) & ((key == 7) | (key == 9)),
        ),
    ):
        assert (struck(replace(slow, **targets)) == (since & expected)).all()


def test_contracts_break_by_key_route_and_payload() -> None:
    failures = (
        ByRoute(routes=("/upload",), at=1000, contract="schema"),
        ByPayload(payloads=("large",), routes=("/evaluate",), arm="both"),
        ByKey(keys=("user-3",)),
        ByRate(rate=30, routes=("/health",), payloads=("small",)),
    )
    found = requests(replace(SCENARIO, contract_failures=failures))
    route, payload, key = found.route, found.payload, found.key
    large = (payload == 1) & (route == 0)
    expected = np.select([(route == 1) & (found.at >= 1000), large, key == 3], [1, 2, 3], default=0)
    rest = found.canary.broken == 4
    assert (found.canary.broken[~rest] == expected[~rest]).all()
    assert (found.baseline.broken == 2 * large).all()
    assert not expected[rest].any()
    candidates = (route == 2) & (payload == 0) & (key != 3)
    assert rest[candidates].mean() == pytest.approx(0.3, abs=0.02)
    assert not rest[~candidates].any()


def test_the_journal_names_the_one_route_that_broke_its_contract() -> None:
    made = replace(SCENARIO, contract_failures=(ByRoute(routes=("/upload",), detail="no id"),))
    done = run(made)
    assert done.reason == "contract_violation"
    violation = Draws(made.settled(1), 1).violations[0]
    assert (violation.route, violation.message) == ("/upload", "no id")
    several = ByRoute(routes=("/upload", "/health"))
    assert several.violation.route is None
    assert replace(several, route="/api").violation.route == "/api"


def test_the_timeline_says_whom_a_fault_strikes() -> None:
    fault = Outage(at=0, lasts=5, routes=("/upload",), payloads=("large",))
    notes = run(replace(SCENARIO, faults=(fault,))).notes
    assert notes[0].text == "fault on the canary (route /upload and payload large) starts: outage"


# -- faults that overlap

STRENGTH = st.floats(1, 60)
SLOWING: st.SearchStrategy[Fault] = st.one_of(
    st.builds(AddedLatency, ms=STRENGTH, at=STRENGTH, ramp=STRENGTH, arm=st.just("both")),
    st.builds(MultipliedLatency, factor=STRENGTH, at=STRENGTH, lasts=STRENGTH, arm=st.just("both")),
    st.builds(SlowLeak, ms_per_second=STRENGTH, at=STRENGTH, arm=st.just("both")),
)
FAILING: st.SearchStrategy[Fault] = st.one_of(
    st.builds(Errors, rate=STRENGTH, at=STRENGTH, ramp=STRENGTH),
    st.builds(Errors, rate=STRENGTH, routes=st.just(("/upload",))),
    st.builds(Outage, at=STRENGTH, ramp=st.floats(100, 500)),
)
SMALL = replace(SCENARIO, traffic=Poisson(rate=10), horizon_seconds=100)


@settings(max_examples=60)
@given(faults=st.lists(SLOWING, max_size=4), seed=st.integers(0, 1000))
def test_latency_faults_apply_one_after_the_other_as_listed(faults: list[Fault], seed: int) -> None:
    calm = requests(SMALL, seed)
    seconds = calm.canary.seconds.copy()
    for fault in faults:
        since = fault.elapsed(calm.at)
        met = since >= 0
        seconds[met] = fault.slows(seconds[met], since[met])
    wild = requests(replace(SMALL, faults=tuple(faults)), seed)
    assert (wild.canary.seconds == seconds).all()
    assert (wild.canary.failed == calm.canary.failed).all()
    # Both arms suffer alike; where they serve alike they stay alike.
    other = calm.route == 1
    assert (wild.baseline.seconds > calm.baseline.seconds)[other].tolist() == (
        wild.canary.seconds > calm.canary.seconds
    )[other].tolist()


@settings(max_examples=60)
@given(
    slowing=st.lists(SLOWING, max_size=3),
    failing=st.lists(FAILING, max_size=4),
    seed=st.integers(0, 1000),
    data=st.data(),
)
def test_causes_of_failure_are_independent_and_in_any_order(
    slowing: list[Fault], failing: list[Fault], seed: int, data: st.DataObject
) -> None:
    """A request survives when it survives each; where latency faults stand between them does not
    matter, nor the order among themselves. Each more can only add failures."""
    shuffled = data.draw(st.permutations([*slowing[:1], *failing]))
    listed = requests(replace(SMALL, faults=(*slowing[:1], *failing)), seed)
    mixed = requests(replace(SMALL, faults=tuple(shuffled)), seed)
    # A product of four factors may differ in its last bit, and a draw lie just there: not seen.
    assert (listed.canary.failed == mixed.canary.failed).all()
    assert (listed.canary.seconds == mixed.canary.seconds).all()
    fewer = requests(replace(SMALL, faults=tuple(failing[1:])), seed)
    assert not (fewer.canary.failed & ~listed.canary.failed).any()


def test_overlapping_causes_leave_the_product_of_the_survivals() -> None:
    faults = (Errors(rate=30), Errors(rate=50, at=500), Outage(ramp=4000))
    found = requests(replace(SCENARIO, routes=(), faults=faults))
    for first, last in ((0, 500), (500, 1000)):
        mine = (found.at >= first) & (found.at < last)
        survive = 0.95 * 0.7 * (0.5 if first else 1) * (1 - (first + last) / 2 / 4000)
        assert 1 - found.canary.failed[mine].mean() == pytest.approx(survive, abs=0.012)


def test_how_long_a_failure_takes_is_said_by_its_cause() -> None:
    """The same requests fail, each after its cause's time; the others take as long as before."""
    faults = (
        Errors(rate=30, at=500, arm="both"),
        Outage(at=900, lasts=50),
        AddedLatency(ms=700, at=100),
    )
    timed = (
        replace(faults[0], failure_ms=7.0),
        replace(faults[1], failure_ms=11.0),
        faults[2],
    )
    plain = replace(SCENARIO, faults=faults)
    quick = replace(plain, faults=timed, baseline=replace(SCENARIO.baseline, failure_ms=3.0))
    before, after = requests(plain), requests(quick)
    for arm in ("baseline", "canary"):
        was, now = getattr(before, arm), getattr(after, arm)
        assert (was.failed == now.failed).all()
        assert (was.seconds[~was.failed] == now.seconds[~was.failed]).all()
        took = now.seconds[was.failed]
        at = before.at[was.failed]
        assert set(took[at < 500]) == {0.003}
        assert {0.003, 0.007} <= set(took[at >= 500]) <= {0.003, 0.007, 0.011}
        assert (0.011 in took) == (arm == "canary")
        struck = took[(at >= 900) & (at < 950)]
        # An arm's own errors come first, then the faults as they are listed.
        assert ((struck == 0.011).mean() > 0.5) == (arm == "canary")


def test_a_cause_that_says_nothing_takes_as_long_as_a_success() -> None:
    made = replace(SCENARIO, faults=(Errors(rate=50), Errors(rate=50, failure_ms=2)))
    plain = replace(made, faults=(Errors(rate=50), Errors(rate=50)))
    now, was = requests(made).canary, requests(plain).canary
    assert (now.failed == was.failed).all()
    quick = now.seconds == 0.002
    assert 0.2 < quick[now.failed].mean() < 0.5
    assert (now.seconds[~quick] == was.seconds[~quick]).all()


def test_routes_have_failures_of_their_own_length() -> None:
    slow = Route(name="/upload", weight=3, canary=Answer(error_rate=20, failure_ms=40))
    made = replace(SCENARIO, routes=(ROUTES[0], slow, ROUTES[2]))
    made = replace(made, baseline=replace(SCENARIO.baseline, failure_ms=4.0))
    found = requests(made)
    failed, took = found.canary.failed, found.canary.seconds
    assert set(took[failed & (found.route == 1)]) == {0.04}
    assert set(took[failed & (found.route == 0)]) == {0.004}
    assert set(found.baseline.seconds[found.baseline.failed]) == {0.004}
    with pytest.raises(ValueError, match="failure_ms"):
        Errors(rate=1, failure_ms=-1)
    with pytest.raises(ValueError, match="ramp"):
        Hang(ramp=3)
