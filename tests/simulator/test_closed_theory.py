"""Requests that act on each other, against closed forms, a peer, and laws."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import ceil, sqrt
from types import ModuleType

import numpy as np
import pybreaker
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.simulator.closed_oracle import ClosedOracle
from tests.simulator.many import many
from tests.simulator.oracle import windows
from tests.simulator.test_closed import FREE, lived, plan, scenario, signals_of
from tests.simulator.test_queue import erlang_c

from canario.control.events import StageEntered
from canario.routing.router import TrafficRouter
from canario_sim import Scenario, report, run
from canario_sim.distributions import Empirical, Gamma
from canario_sim.scenario.capacity import Autoscaling, ColdStart, Pauses
from canario_sim.scenario.clients import Clients, RetryBudget
from canario_sim.scenario.dependencies import Breaker, Dependency, Trouble
from canario_sim.scenario.service import Service
from canario_sim.streams import Floats
from canario_sim.traffic import Constant, Poisson, Population
from canario_sim.world import jit
from canario_sim.world.block import Flown
from canario_sim.world.closed import loop, steps
from canario_sim.world.closed.columns import Columns
from canario_sim.world.closed.first_state import first_state, grown, rules_of
from canario_sim.world.flights import CANARY
from canario_sim.world.rehearsal import closed_driver_of
from canario_sim.world.unfinished import Patience


def flown(made: Scenario, seed: int) -> Flown:
    """All attempts, in order of arrival."""
    parts: list[Flown] = []
    closed_driver_of(made, seed, witness=parts.append).run()
    (whole,) = parts
    return whole


# -- closed forms


@pytest.mark.parametrize(("rate", "attempts"), [(30.0, 4), (50.0, 2), (80.0, 6)])
def test_the_mean_number_of_attempts_is_that_of_a_truncated_geometric(
    rate: float, attempts: int
) -> None:
    """(1 − p^N) / (1 − p), and p^N of the requests are given up."""
    service = Service(latency=Gamma(mean_ms=20), error_rate=rate)
    made = scenario(
        service,
        traffic=Poisson(rate=300),
        clients=Clients(attempts=attempts, backoff_ms=5),
    )
    told = run(made).feedback
    assert told is not None
    n, p = told.first, rate / 100
    number = np.arange(1, attempts + 1)
    weights = np.append(p ** (number[:-1] - 1) * (1 - p), p ** (attempts - 1))
    mean = (1 - p**attempts) / (1 - p)
    assert (weights * number).sum() == pytest.approx(mean)
    error = sqrt(((number - mean) ** 2 * weights).sum() / n)
    assert abs(1 + told.retries / n - mean) < 3 * error
    assert error < 0.02 * mean
    share = p**attempts
    assert told.gave_up / n == pytest.approx(share, abs=3.5 * sqrt(share * (1 - share) / n))


def test_waits_before_retries_are_exponential_back_off_with_jitter() -> None:
    service = Service(latency=Empirical(values_ms=(1.0,)), error_rate=100)
    clients = Clients(
        attempts=4, backoff_ms=100, backoff_factor=3, backoff_limit_ms=500, jitter=0.5
    )
    made = scenario(
        service, traffic=Constant(rate=2, keys=Population(size=10_000)), clients=clients
    )
    seen = flown(made, 1)
    waits: list[list[float]] = [[], [], []]
    for key in np.unique(seen.key):
        at = np.sort(seen.at[seen.key == key])
        if len(at) == 4:  # a key that sent one request
            for wait, gap in zip(waits, np.diff(at) - 0.001, strict=True):
                wait.append(float(gap))
    assert clients.waits() == [0.1, 0.3, 0.5]
    for wait, longest in zip(waits, clients.waits(), strict=True):
        assert len(wait) > 100
        assert longest / 2 <= min(wait)
        assert max(wait) <= longest + 1e-9
        # Uniform between a half and the whole.
        assert np.mean(wait) == pytest.approx(0.75 * longest, rel=0.04)


def test_waits_in_line_are_those_of_erlang_c() -> None:
    """M/M/c in the engine, whose clients would retry if anything failed."""
    service = Service(latency=Gamma(mean_ms=100), servers=4)
    made = scenario(
        service, traffic=Poisson(rate=28), plan=plan(min_samples=10**9), clients=Clients(attempts=2)
    )
    made = replace(made, horizon_seconds=400.0)
    means = []
    for seed in range(30):
        seen = flown(made, seed)
        settled = (seen.at > 50) & (seen.flights.done < np.inf)
        settled &= seen.flights.code & CANARY == 0
        means.append(float((seen.flights.done - seen.at)[settled].mean()))
    # The baseline keeps 80 % of the keys, as long as the canary is held for its samples.
    share = 1 - 0.2
    load = 28 * share * 0.1
    expected = 0.1 + erlang_c(4, load) * 0.1 / (4 - load)
    error = np.std(means, ddof=1) / sqrt(len(means))
    assert abs(np.mean(means) - expected) < 3.5 * error + 0.002
    assert error < 0.05 * expected


def test_random_pauses_come_as_a_poisson_process_of_their_gaps() -> None:
    pauses = Pauses(ms=500, every_seconds=10)
    drawn = [pauses.draw(np.random.SeedSequence(seed), 10_000.0) for seed in range(20)]
    gaps = np.concatenate([[b[0] - a[1] for a, b in pairwise(one)] for one in drawn])
    assert gaps.mean() == pytest.approx(10, abs=4 * 10 / sqrt(len(gaps)))
    assert gaps.std() == pytest.approx(10, rel=0.05)
    assert {round(end - start, 9) for one in drawn for start, end in one} == {0.5}
    steady = Pauses(ms=500, every_seconds=10, kind="periodic").draw(
        np.random.SeedSequence(1), 1000.0
    )
    assert steady[0][0] < 10
    assert np.diff([start for start, _ in steady]) == pytest.approx(10.5)


def test_pauses_lengthen_what_is_served_by_their_share_of_the_time() -> None:
    """One request after the other, never waiting: each second of work has d/m of pauses in it."""
    service = Service(
        latency=Empirical(values_ms=(2000.0,)),
        servers=200,
        pauses=Pauses(ms=300, every_seconds=5),
    )
    made = scenario(service, traffic=Poisson(rate=40), plan=plan(min_samples=10**9))
    seen = flown(replace(made, horizon_seconds=300.0), 1)
    over = seen.flights.done < np.inf
    took = (seen.flights.done - seen.at)[over]
    # A pause begins once in 5 s of work, and none is waited for: there are enough servers.
    assert took.mean() == pytest.approx(2 + 2 / 5 * 0.3, rel=0.01)
    assert took.min() == pytest.approx(2.0)


# -- autoscaling


def test_servers_come_to_what_the_target_asks_for() -> None:
    """10 requests a second of 0.3 s keep 3 servers busy; at 60 % that takes 3 / 0.6 = 5."""
    service = Service(
        latency=Empirical(values_ms=(300.0,)),
        servers=16,
        autoscaling=Autoscaling(
            min_servers=1,
            max_servers=30,
            interval_seconds=10,
            provisioning_seconds=20,
            scale_down_seconds=35,
            tolerance_percent=0,
        ),
    )
    made = scenario(service, traffic=Constant(rate=10.0), plan=plan(min_samples=10**9))
    made = replace(made, horizon_seconds=300.0, canary=FREE)
    carrier, _, _ = lived(made, 1, compiled=False)
    scaled = [(signal.at, signal.value) for signal in carrier.loop.signals]
    # Four decisions remember that there were 16; then there are as many as it takes for the
    # baseline's four fifths of the keys.
    assert scaled[0][0] == 50
    assert scaled[0][1] == ceil(10 * 0.3 * 0.8 / 0.6)
    late = Service(
        latency=Empirical(values_ms=(300.0,)),
        servers=1,
        autoscaling=Autoscaling(
            max_servers=30, interval_seconds=10, provisioning_seconds=20, target_percent=50
        ),
    )
    carrier, _, _ = lived(replace(made, baseline=late), 1, compiled=False)
    # One server that is always busy: 1 × 1 / 0.5; again when the second has come, at once.
    assert [(signal.at, signal.value) for signal in carrier.loop.signals][:2] == [(10, 2), (30, 4)]


# -- circuit breakers, beside pybreaker's


class _Clock:
    """The `datetime` that pybreaker asks."""

    at = 0.0

    @classmethod
    def now(cls, _: object = None) -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=cls.at)


class _Ours:
    """The engine's breaker around one dependency, asked by hand."""

    def __init__(self, rule: Breaker) -> None:
        dependency = Dependency(name="it", latency=Gamma(mean_ms=1), breaker=rule)
        made = scenario(FREE, dependencies=(dependency,)).settled(1)
        columns = Columns(False)
        self.rules = rules_of(made, 1, Patience(500.0, np.array([60.0])), columns)
        state = first_state(made, 1, self.rules, 1, columns)
        self.state = grown(state, self.rules, columns)

    def call(self, now: float, fails: bool) -> str:
        s, r = self.state, self.rules
        if not steps._allowed(s, r, 0, 0, now):
            return "refused"
        call = steps._new(s, steps.NOBODY, now)
        s.jobs[call + steps.J_PHASE] = s.jobs[call + steps.J_ARM] = 0
        s.jobs[call + steps.J_GENERATION] = s.breakers[steps.B_GENERATION]
        steps._heard(s, r, call, int(fails), now)
        steps._end(s, call)
        return "failed" if fails else "good"

    @property
    def closed(self) -> bool:
        return bool(self.state.breakers[steps.B_STATE] == steps.CLOSED)


@settings(max_examples=60)
@given(
    failures=st.integers(1, 4),
    trials=st.integers(1, 3),
    calls=st.lists(st.tuples(st.sampled_from([1, 4, 9, 30]), st.booleans()), max_size=60),
)
def test_a_breaker_does_what_pybreakers_does(
    failures: int, trials: int, calls: list[tuple[int, bool]]
) -> None:
    """One call after the other, as pybreaker has it: of `failures` in a row."""
    ours = _Ours(Breaker(failures=failures, open_seconds=10, trials=trials))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pybreaker, "datetime", _Clock)
        theirs = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=10,
            success_threshold=trials,
            throw_new_error_on_trip=False,
        )
        _Clock.at = 0.0
        for gap, fails in calls:
            _Clock.at += gap
            assert ours.call(_Clock.at, fails) == _theirs(theirs, fails)
            assert ours.closed == (theirs.current_state == "closed")


def _theirs(breaker: pybreaker.CircuitBreaker, fails: bool) -> str:
    def called() -> str:
        if fails:
            raise RuntimeError
        return "good"

    try:
        return str(breaker.call(called))
    except pybreaker.CircuitBreakerError:
        return "refused"
    except RuntimeError:
        return "failed"


# -- laws

SECONDS = st.sampled_from([0.5, 3.0, 11.0])
LATENCY = st.builds(
    Gamma, mean_ms=st.sampled_from([20.0, 90.0, 240.0]), shape=st.sampled_from([0.7, 4.0])
)
SERVICES = st.builds(
    lambda latency, errors, servers, scaling, cold, pauses, contention: Service(
        latency=latency,
        error_rate=errors,
        servers=servers,
        autoscaling=scaling if scaling is None else replace(scaling, max_servers=servers + 5),
        cold_start=cold,
        pauses=pauses,
        contention=contention,
    ),
    latency=LATENCY,
    errors=st.sampled_from([0.0, 2.0, 30.0]),
    servers=st.integers(1, 6),
    scaling=st.none()
    | st.builds(
        Autoscaling,
        max_servers=st.just(1),
        interval_seconds=SECONDS,
        provisioning_seconds=SECONDS,
        scale_down_seconds=SECONDS,
    ),
    cold=st.none() | st.builds(ColdStart, seconds=SECONDS, factor=st.sampled_from([1.0, 4.0])),
    pauses=st.none()
    | st.builds(
        Pauses,
        ms=st.sampled_from([50.0, 700.0]),
        every_seconds=SECONDS,
        kind=st.sampled_from(["random", "periodic"]),
    ),
    contention=st.sampled_from([1.0, 1.7]),
)
CLIENTS = st.builds(
    Clients,
    timeout_ms=st.sampled_from([90.0, 400.0]),
    attempts=st.integers(2, 4),
    backoff_ms=st.sampled_from([0.0, 30.0, 300.0]),
    jitter=st.sampled_from([0.0, 0.4, 1.0]),
    budget=st.none() | st.builds(RetryBudget, percent=st.sampled_from([0.0, 15.0, 100.0])),
    abandoned=st.sampled_from(["served", "dropped"]),
)
DEPENDENCIES = st.builds(
    Dependency,
    name=st.just("it"),
    latency=LATENCY,
    error_rate=st.sampled_from([0.0, 20.0]),
    servers=st.none() | st.integers(1, 3),
    timeout_ms=st.none() | st.sampled_from([40.0, 200.0]),
    optional=st.booleans(),
    arm=st.sampled_from(["both", "canary"]),
    breaker=st.none()
    | st.builds(
        Breaker,
        failures=st.integers(1, 3),
        calls=st.sampled_from([None, 5]),
        open_seconds=SECONDS,
        trials=st.integers(1, 3),
    ),
    troubles=st.just(())
    | st.builds(
        lambda rate: (Trouble(at=9, lasts=6, every=15, error_rate=rate, factor=2),),
        st.sampled_from([0.0, 70.0]),
    ),
)


@many(25)
@example(  # A server that was to leave ended with a client in line whose own had left.
    service=Service(
        latency=Gamma(mean_ms=240, shape=4),
        error_rate=2,
        servers=5,
        autoscaling=Autoscaling(
            max_servers=10, interval_seconds=0.5, provisioning_seconds=3, scale_down_seconds=0.5
        ),
        cold_start=ColdStart(seconds=11, factor=4),
        pauses=Pauses(ms=50, every_seconds=3),
    ),
    clients=Clients(
        timeout_ms=400,
        attempts=4,
        backoff_ms=30,
        budget=RetryBudget(percent=100),
        abandoned="dropped",
    ),
    dependency=Dependency(
        name="it",
        latency=Gamma(mean_ms=240, shape=0.7),
        timeout_ms=200,
        optional=True,
        arm="canary",
        troubles=(Trouble(at=9, lasts=6, every=15, error_rate=70, factor=2),),
    ),
    seed=492,
    compiled=False,
)
@given(
    service=SERVICES,
    clients=CLIENTS,
    dependency=DEPENDENCIES,
    seed=st.integers(0, 1000),
    compiled=st.booleans(),
)
def test_whatever_is_put_together_is_the_oracles(
    service: Service, clients: Clients, dependency: Dependency, seed: int, compiled: bool
) -> None:
    made = scenario(
        service,
        traffic=Poisson(rate=12, keys=Population(size=60)),
        clients=clients,
        dependencies=(dependency, replace(dependency, name="again", servers=None)),
        horizon_seconds=40.0,
    )
    slow = ClosedOracle(made, seed).run()
    carrier, told, seen = lived(made, seed, compiled=compiled)
    assert seen == slow.seen
    assert told.events == slow.controller.events
    in_flight = [left.in_flight for left in carrier.left]
    assert in_flight == list(slow.flying.values())
    assert windows(told.history) == windows(slow.controller.metrics_history)
    assert signals_of(carrier) == slow.signals
    feedback = told.feedback
    assert feedback is not None
    # Nobody is lost: what was sent is over, under way, or about to be sent again.
    arrived = carrier.loop.count(steps.ARRIVED)
    assert arrived == len(seen) + sum(in_flight)
    assert feedback.first <= arrived <= feedback.first + feedback.retries
    assert feedback.retries <= (clients.attempts - 1) * feedback.first
    if clients.budget is not None:
        allowed = clients.budget.burst + clients.budget.percent / 100 * feedback.first
        assert feedback.retries <= allowed + 1e-6


@pytest.mark.parametrize("compiled", [False, True], ids=["interpreted", "compiled"])
def test_who_has_left_is_dropped_when_a_server_is_free_for_them(compiled: bool) -> None:
    """And not when others join the line: of one server's answers, each takes a second."""
    service = Service(latency=Empirical(values_ms=(1000.0,)), servers=1)
    clients = Clients(timeout_ms=400, attempts=2, abandoned="dropped")
    made = scenario(service, traffic=Poisson(rate=9), clients=clients, horizon_seconds=60.0)
    _, _, seen = lived(made, 3, compiled=compiled)
    for arm in ("baseline", "canary"):
        ends = [each.done for each in seen if each.arm == arm]
        assert np.diff(np.unique(ends)).min() > 0.999
        assert len(ends) > 2 * len(np.unique(ends))


def test_every_attempt_meets_the_share_of_the_instant_at_which_it_arrives() -> None:
    """Those that are sent again after a stage has begun are routed by the new one."""
    made = scenario(
        replace(FREE, error_rate=40.0),
        traffic=Poisson(rate=60, keys=Population(size=500)),
        clients=Clients(attempts=5, backoff_ms=4000, jitter=0.5),
    )
    seen = flown(made, 2)
    entered = [event for event in run(made, 2).events if isinstance(event, StageEntered)]
    stages = made.plan.deployment.canary_stages
    routers = [TrafficRouter("closed", stages[event.stage].percentage) for event in entered]
    starts = np.array([event.at for event in entered])
    names = made.traffic.names()
    crossed = 0
    for at, key, code in zip(
        seen.at.tolist(), seen.key.tolist(), seen.flights.code.tolist(), strict=True
    ):
        router = routers[int(np.searchsorted(starts, at, "right")) - 1]
        assert (router.route_request(names[key]) == "canary") == (code & CANARY > 0)
        crossed += at > starts[1]
    assert crossed > 1000


def test_what_happens_does_not_depend_on_when_the_controller_looks() -> None:
    """Checks that decide nothing change nothing: no draw, no order of events."""
    service = Service(latency=Gamma(mean_ms=150), servers=4, pauses=Pauses(ms=300, every_seconds=9))
    seen = [
        flown(
            scenario(
                service,
                plan=plan(min_samples=10**9, check_interval_seconds=interval),
                clients=Clients(attempts=3, timeout_ms=300),
                horizon_seconds=60.0,
            ),
            4,
        )
        for interval in (5.0, 0.7)
    ]
    often, seldom = seen
    assert len(often.at) > 1000
    assert often.at.tolist() == seldom.at.tolist()
    assert often.flights.done.tolist() == seldom.flights.done.tolist()
    assert often.flights.code.tolist() == seldom.flights.code.tolist()


def test_a_storm_outlives_its_cause_and_a_budget_ends_it() -> None:
    """Metastable: overload by retries stays when what has caused it is gone."""
    service = Service(latency=Gamma(mean_ms=100, shape=4), servers=6)
    storm = scenario(
        service,
        traffic=Poisson(rate=30, keys=Population(size=400)),
        plan=plan(min_samples=10**9, max_p95_latency_ms=500),
        clients=Clients(timeout_ms=400, attempts=4),
        dependencies=(
            Dependency(
                name="it",
                latency=Empirical(values_ms=(1.0,)),
                troubles=(Trouble(at=50, lasts=3, added_ms=900),),
            ),
        ),
        horizon_seconds=200.0,
    )
    budget = replace(
        storm, clients=Clients(timeout_ms=400, attempts=4, budget=RetryBudget(percent=5))
    )
    slow = {name: _slow_late(made) for name, made in (("storm", storm), ("budget", budget))}
    assert slow["storm"] > 0.9
    assert slow["budget"] < 0.01


def _slow_late(made: Scenario) -> float:
    """Part of the baseline's requests of the second half that was slow."""
    seen = flown(made, 1)
    late: Floats = (seen.at > 120) & (seen.flights.code & CANARY == 0)
    took = (seen.flights.done - seen.at)[late]
    return float((took > 0.5).mean())


def test_a_world_may_be_compiled_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scenario(
        Service(latency=Gamma(mean_ms=150), servers=4, pauses=Pauses(ms=300, every_seconds=9)),
        clients=Clients(attempts=3, timeout_ms=300),
    )
    drivers = [
        closed_driver_of(made, 4, compiled=compiled, chunk=200) for compiled in (False, None)
    ]
    monkeypatch.setattr(loop, "_carried", 0)
    monkeypatch.setattr(loop, "COMPILED_AFTER", 900)
    monkeypatch.setattr(loop, "MADE_AFTER", 900)
    assert jit.installed()
    for driver in drivers:
        driver.run()
    never, later = drivers
    assert isinstance(never.carrier.loop._state.n, list)
    assert isinstance(later.carrier.loop._state.n, np.ndarray)
    assert never.controller.events == later.controller.events
    assert never.served.tolist() == later.served.tolist()
    assert report(run(made, 4, chunk=200)) == report(run(made, 4))


@pytest.mark.parametrize("kept", [True, False])
def test_what_is_not_compiled_yet_is_compiled_for_long_worlds_alone(
    monkeypatch: pytest.MonkeyPatch, kept: bool
) -> None:
    """Compiling takes a quarter of a minute, loading what is compiled a second."""
    made = scenario(Service(latency=Gamma(mean_ms=150), servers=4))
    monkeypatch.setattr(loop, "_carried", 0)
    monkeypatch.setattr(loop, "COMPILED_AFTER", 900)
    monkeypatch.setattr(loop, "MADE_AFTER", 2000)
    monkeypatch.setattr(jit, "kept", lambda module: kept and module is steps)
    begun: list[int] = []
    compiled = jit.compiled

    def compiling(module: ModuleType) -> ModuleType | None:
        begun.append(loop._carried)
        return compiled(module)

    monkeypatch.setattr(jit, "compiled", compiling)
    closed_driver_of(made, 4).run()
    assert len(begun) == 1
    assert (900 < begun[0] < 1500) if kept else (2000 < begun[0] < 2600)


def test_what_contradicts_itself_is_refused() -> None:
    wrong: list[tuple[object, str]] = [
        (lambda: Clients(budget=RetryBudget(percent=5)), "attempts is 1"),
        (lambda: Clients(abandoned="dropped"), "without a timeout_ms"),
        (lambda: Clients(attempts=0), "attempts is 0"),
        (lambda: Service(latency=Gamma(mean_ms=1), contention=2), "servers is missing"),
        (
            lambda: Service(
                latency=Gamma(mean_ms=1), servers=9, autoscaling=Autoscaling(max_servers=4)
            ),
            "servers is 9; autoscaling asks for 1 to 4",
        ),
        (lambda: Autoscaling(min_servers=4, max_servers=3), "max_servers is 3"),
        (lambda: Breaker(failures=5, calls=4), "calls is 4"),
        (lambda: Trouble(at=3), "does nothing"),
        (lambda: Trouble(at=3, every=5, error_rate=1), "needs a for"),
        (lambda: Pauses(ms=0, every_seconds=1), "ms is 0"),
        (
            lambda: Dependency(
                name="x", latency=Gamma(mean_ms=1), troubles=(Trouble(at=1, lost_servers=2),)
            ),
            "no servers",
        ),
        (
            lambda: scenario(
                FREE, dependencies=(Dependency(name="x", latency=Gamma(mean_ms=1)),) * 2
            ),
            "'x' twice",
        ),
        (
            lambda: scenario(
                FREE,
                dependencies=(Dependency(name="x", latency=Gamma(mean_ms=1), routes=("/a",)),),
            ),
            "has the route '/a'",
        ),
        (
            lambda: scenario(
                FREE,
                dependencies=(
                    Dependency(
                        name="x",
                        latency=Gamma(mean_ms=1),
                        troubles=(Trouble(at=1e6, error_rate=1),),
                    ),
                ),
            ),
            "troubles has at = 1e\\+06",
        ),
    ]
    for make, says in wrong:
        assert callable(make)
        with pytest.raises(ValueError, match=says):
            make()
