"""Arrival processes against their closed forms, and whatever the size of the arrays."""

from __future__ import annotations

from math import exp
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import expm
from scipy.stats import kstest

from canario_sim.distributions import Gamma, Lognormal
from canario_sim.streams import Floats
from canario_sim.traffic import (
    Bursts,
    Constant,
    Diurnal,
    LognormalActivity,
    MarkovModulated,
    ParetoActivity,
    Poisson,
    Population,
    Ramp,
    Schedule,
    SelfExciting,
    Sessions,
    State,
    Traffic,
    Weekly,
)
from canario_sim.traffic.lookup import Lookup

HOUR = 3600.0


def arrivals(traffic: Traffic, seed: int, until: float) -> Floats:
    """Those before `until`, sessions or not."""
    at = np.concatenate([part.at for part in traffic.requests(seed, 16_384, until)])
    return at[at < until]


def counts(traffic: Traffic, seed: int, width: float, windows: int) -> Floats:
    """Numbers of arrivals in windows one after the other."""
    edges = np.arange(windows + 1) * width
    return np.histogram(arrivals(traffic, seed, edges[-1]), edges)[0].astype(float)


# -- written rates


SCHEDULE = ((0.0, 5.0), (100.0, 40.0), (130.0, 0.0), (200.0, 20.0))


def stepped(at: Floats) -> Floats:
    """∫ of the steps."""
    points = np.array([*SCHEDULE, (1000.0, 0.0)])
    work = np.concatenate([[0], np.cumsum(np.diff(points[:, 0]) * points[:-1, 1])])
    done: Floats = np.interp(at, points[:, 0], work)
    return done


def sloping(at: Floats) -> Floats:
    """∫ of the lines through the points, by Simpson's rule, which is exact for them."""
    grid = np.arange(0, 1000.5, 0.5)
    rate = np.interp(grid, *np.array(SCHEDULE).T)
    middle = np.interp(grid[:-1] + 0.25, *np.array(SCHEDULE).T)
    work = np.concatenate([[0], np.cumsum((rate[:-1] + 4 * middle + rate[1:]) / 12)])
    done: Floats = np.interp(at, grid, work)
    return done


@pytest.mark.parametrize("linear", [False, True])
def test_on_the_clock_of_its_work_a_schedule_is_a_poisson_process(linear: bool) -> None:
    """Gaps between the integrals of the rate are exponential of mean 1 (time rescaling)."""
    work = (sloping if linear else stepped)(
        arrivals(Schedule(points=SCHEDULE, linear=linear), 5, 999)
    )
    assert kstest(np.diff(work), "expon").pvalue > 0.01
    total = (sloping if linear else stepped)(np.array([999.0]))[0]
    assert len(work) == pytest.approx(total, abs=3.5 * total**0.5)


def test_a_schedule_repeats() -> None:
    once = Schedule(points=((0, 50), (10, 1)), repeat_seconds=40)
    at = np.arange(0.5, 200)
    assert once.rate_at(at).tolist() == [50 if t % 40 < 10 else 1 for t in at]
    ring = Schedule(points=((0, 0), (10, 20)), repeat_seconds=20, linear=True)
    assert ring.rate_at(np.array([0.0, 5, 10, 15, 20, 25])).tolist() == [0, 10, 20, 10, 0, 10]


OFFICE = (0.2,) * 8 + (2.0,) * 9 + (0.5,) * 7


def test_a_week_has_its_mean_and_its_factors() -> None:
    week = Weekly(rate=3, days=(1, 1, 1, 1, 1.5, 0.5, 0), hours=OFFICE)
    rates = week.rates
    assert rates.mean() == pytest.approx(3)
    assert rates[4 * 24 + 10] / rates[10] == pytest.approx(1.5)
    assert rates[10] / rates[3] == pytest.approx(10)
    assert not rates[6 * 24 :].any()
    hours = np.array(
        [np.histogram(arrivals(week, s, 168 * HOUR), 168, (0, 168 * HOUR))[0] for s in range(2)]
    ).sum(axis=0)
    expected = 2 * HOUR * rates
    busy = expected > 0
    assert not hours[~busy].any()
    # χ² with 144 degrees of freedom: a standard deviation of 17.
    chi = ((hours - expected)[busy] ** 2 / expected[busy]).sum()
    assert chi == pytest.approx(144, abs=4 * 17)


def test_a_week_begins_when_the_rollout_does() -> None:
    week = Weekly(rate=1, days=(1, 2, 3, 4, 5, 6, 7), hours=tuple(range(1, 25)), start="sun 23:30")
    factors = np.outer(range(1, 8), range(1, 25)).ravel()
    expected = factors / factors.mean()
    at = np.array([0.0, 1799, 1800, 1800 + HOUR, 168 * HOUR, 7 * 168 * HOUR])
    found = week.rate_at(at)
    assert found.tolist() == pytest.approx(expected[[-1, -1, 0, 1, -1, -1]].tolist())


# -- Markov-modulated


CALM, BUSY = State(rate=8, mean_seconds=4), State(rate=50, mean_seconds=1.5)


def dispersion(width: float) -> float:
    """Variance over mean of the number in a window, for two states (Heffes and Lucantoni 1986)."""
    leave, back = 1 / CALM.mean_seconds, 1 / BUSY.mean_seconds
    both = leave + back
    part = 2 * (CALM.rate - BUSY.rate) ** 2 * leave * back
    part /= both**2 * (CALM.rate * back + BUSY.rate * leave)
    return 1 + part * (1 - (1 - exp(-both * width)) / (both * width))


@pytest.mark.parametrize("width", [0.5, 4.0, 30.0])
def test_two_states_have_their_mean_and_their_dispersion(width: float) -> None:
    traffic = MarkovModulated(states=(CALM, BUSY))
    seen = np.array([counts(traffic, seed, width, int(12_000 / width)) for seed in range(4)])
    mean = (8 * 4 + 50 * 1.5) / 5.5
    assert traffic.mean_rate == pytest.approx(mean)
    # 48,000 s at a limiting dispersion of 38.
    spread = (dispersion(1e9) * mean / 48_000) ** 0.5
    assert seen.mean() / width == pytest.approx(mean, abs=3.5 * spread)
    assert seen.var() / seen.mean() == pytest.approx(dispersion(width), rel=0.12)


def test_states_take_the_time_that_their_chain_gives_them() -> None:
    states = (
        State(rate=1, mean_seconds=10, then=(0, 3, 1)),
        State(rate=10, mean_seconds=2, then=(1, 0, 1)),
        State(rate=0, mean_seconds=5),
    )
    traffic = MarkovModulated(states=states)
    jumps = np.array([[0, 0.75, 0.25], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    generator = (jumps - np.eye(3)) / np.array([[10], [2], [5]])
    in_the_end = expm(generator * 1e4)[0]
    assert traffic.shares == pytest.approx(in_the_end)
    mean = in_the_end @ [1, 10, 0]
    seen = np.array([counts(traffic, seed, 50, 400) for seed in range(2)])
    assert seen.mean() / 50 == pytest.approx(mean, rel=0.05)
    # No instant is busier than another: the first windows are like the others.
    early = np.array([counts(traffic, seed, 2, 3) for seed in range(100, 500)])
    assert early.mean(axis=0) / 2 == pytest.approx([mean] * 3, rel=0.18)


# -- self-exciting


@pytest.mark.parametrize(("branching", "decay"), [(0.5, 2.0), (0.8, 0.5), (0.0, 1.0)])
def test_self_excitation_has_its_mean_and_its_variance(branching: float, decay: float) -> None:
    """Var N(t) / E N(t) = κ² + (1 − κ²) (1 − e^−γt) / γt with κ = 1 / (1 − n), γ = (1 − n) / τ;
    in the limit 1 / (1 − n)² (Da Fonseca and Zaatour 2014)."""
    traffic = SelfExciting(rate=20, branching=branching, decay_seconds=decay)
    ratio = 1 / (1 - branching) ** 2
    gamma = (1 - branching) / decay
    for width in (0.5, 5.0, 100.0):
        seen = np.array([counts(traffic, seed, width, int(8000 / width)) for seed in range(4)])
        spread = (ratio * 20 / 32_000) ** 0.5
        assert seen.mean() / width == pytest.approx(20, abs=3.5 * spread)
        exact = ratio + (1 - ratio) * (1 - exp(-gamma * width)) / (gamma * width)
        assert seen.var() / seen.mean() == pytest.approx(exact, rel=0.2 if width > 50 else 0.1)


def test_on_the_clock_of_its_intensity_it_is_a_poisson_process() -> None:
    """μ + Σ n/τ e^−(t − tᵢ)/τ is what drives it: the integrals between requests are exponential."""
    traffic = SelfExciting(rate=15, branching=0.6, decay_seconds=3)
    at = arrivals(traffic, 7, 1000)
    own, gaps = 15 * 0.4, np.diff(at)
    excited, work = 0.0, np.empty(len(gaps))
    for number, gap in enumerate(gaps):
        excited += 0.6 / 3
        fades = exp(-gap / 3)
        work[number] = own * gap + excited * 3 * (1 - fades)
        excited *= fades
    # What came before 0 is not seen; after twenty decays it has no effect.
    assert kstest(work[at[1:] > 60], "expon").pvalue > 0.01


def test_self_excitation_begins_in_its_steady_state() -> None:
    traffic = SelfExciting(rate=10, branching=0.8, decay_seconds=5)
    early = np.array([counts(traffic, seed, 2, 4) for seed in range(200)])
    # At a dispersion of up to 25, the mean of 200 windows of 20 has a deviation of at most 1.6.
    assert early.mean(axis=0) == pytest.approx([20] * 4, abs=4.7)


def test_a_past_too_long_to_draw_leaves_the_same_steady_state() -> None:
    """26 million requests would have to be drawn; the first windows have the mean and variance
    that they have at any time."""
    traffic = SelfExciting(rate=200, branching=0.97, decay_seconds=250)
    seen = np.array([counts(traffic, seed, 5, 3) for seed in range(300)])
    ratio, gamma = 1 / 0.03**2, 0.03 / 250
    exact = ratio + (1 - ratio) * (1 - exp(-gamma * 5)) / (gamma * 5)
    # A third more than Poisson's: all of that comes from the past.
    assert exact == pytest.approx(1.333, abs=0.001)
    assert seen.mean(axis=0) == pytest.approx([1000] * 3, abs=3.5 * (exact * 1000 / 300) ** 0.5)
    assert seen.var(axis=0).mean() == pytest.approx(exact * 1000, rel=0.2)


# -- users


def test_a_fifth_of_the_users_sends_four_fifths() -> None:
    """Pareto's own rule: with the shape log 5 / log 4 the top fifth has (1/5)^(1 − 1/shape)."""
    shape = np.log(5) / np.log(4)
    shares = Population(size=100_000, activity=ParetoActivity(shape=shape)).shares()
    assert shares[:20_000].sum() == pytest.approx(0.8)
    assert (np.diff(shares) <= 0).all()


def test_lognormal_activity_has_its_concentration() -> None:
    """The top half of a lognormal has Φ(σ) of the whole."""
    shares = Population(size=50_000, activity=LognormalActivity(sigma=1.5)).shares()
    assert shares[:25_000].sum() == pytest.approx(NormalDist().cdf(1.5))
    flat = Population(size=7, activity=LognormalActivity(sigma=0)).shares()
    assert flat.tolist() == pytest.approx([1 / 7] * 7)


def test_users_are_drawn_by_their_activity() -> None:
    population = Population(size=300, activity=ParetoActivity(shape=1.5))
    drawn = np.bincount(population.sampler(3)(100_000), minlength=300)
    expected = 100_000 * population.shares()
    # χ² with 299 degrees of freedom: a standard deviation of 24.
    assert ((drawn - expected) ** 2 / expected).sum() == pytest.approx(299, abs=4 * 24)


@settings(max_examples=100)
@given(
    weights=st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=60),
    parts=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=60),
)
def test_the_lookup_finds_what_a_search_finds(weights: list[float], parts: list[float]) -> None:
    shares = np.array(weights) / sum(weights)
    upto = np.cumsum(shares)
    # The sums themselves and the edges of cells are where a mistake would show.
    lower = np.nextafter(upto, 0)
    given = np.concatenate([parts, upto[upto < 1], lower[lower < 1], np.arange(256) / 256])
    found = np.minimum(np.searchsorted(upto, given, "right"), len(shares) - 1)
    for most_cells in (1 << 22, 8, 1):
        assert Lookup(shares, most_cells).find(given).tolist() == found.tolist()


# -- how many there will be


@pytest.mark.parametrize(
    ("traffic", "until", "expected"),
    [
        (Constant(rate=0), 100, 0),
        (Poisson(rate=7), 60, 420),
        (Diurnal(rate=20, peak_to_mean=1.8, peak_at=1000), 86_400, 20 * 86_400),
        (Ramp(from_rate=0, to_rate=40, over_seconds=100), 100, 2000),
        (Bursts(rate=1, burst_rate=101, every_seconds=10, burst_seconds=2), 100, 100 + 9 * 200),
        (Schedule(points=SCHEDULE), 250, float(stepped(np.array([250.0]))[0])),
        (Schedule(points=SCHEDULE, linear=True), 250, float(sloping(np.array([250.0]))[0])),
        (Weekly(rate=5, start="mon 00:00"), 7 * 24 * HOUR, 5 * 7 * 24 * HOUR),
        (SelfExciting(rate=9, branching=0.5, decay_seconds=3), 50, 450),
    ],
)
def test_it_is_said_how_many_are_expected(traffic: Traffic, until: float, expected: float) -> None:
    assert traffic.expected(until) == pytest.approx(expected, rel=2e-3)


# -- laws


RATES = st.floats(0.5, 30)
SPANS = st.floats(0.5, 60)
THINKING = st.one_of(
    st.builds(Gamma, mean_ms=st.floats(10, 20_000), shape=st.floats(0.3, 5)),
    st.builds(Lognormal, p50_ms=st.just(500), p95_ms=st.floats(500, 9000)),
)
SESSIONS = st.one_of(
    st.none(),
    st.builds(Sessions, requests=st.floats(1, 9), think=THINKING),
    st.builds(
        Sessions,
        requests=st.integers(1, 9).map(float),
        length=st.just("fixed"),
        think=THINKING,
    ),
)
TRAFFIC: st.SearchStrategy[Traffic] = st.one_of(
    st.builds(Constant, rate=RATES, sessions=SESSIONS),
    st.builds(Poisson, rate=RATES, sessions=SESSIONS),
    st.builds(Diurnal, rate=RATES, period_seconds=SPANS, sessions=SESSIONS),
    st.builds(Ramp, from_rate=RATES, to_rate=RATES, over_seconds=SPANS, sessions=SESSIONS),
    st.builds(
        Bursts,
        rate=RATES,
        burst_rate=RATES,
        every_seconds=st.just(61.0),
        burst_seconds=SPANS,
        sessions=SESSIONS,
    ),
    st.builds(
        Schedule,
        points=st.lists(RATES, min_size=1, max_size=5).map(
            lambda rates: tuple((10.0 * number, rate) for number, rate in enumerate(rates))
        ),
        linear=st.booleans(),
        repeat_seconds=st.one_of(st.none(), st.just(55.0)),
        sessions=SESSIONS,
    ),
    st.builds(Weekly, rate=RATES, start=st.just("sat 17:59"), sessions=SESSIONS),
    st.builds(
        MarkovModulated,
        states=st.lists(
            st.builds(State, rate=RATES, mean_seconds=SPANS), min_size=2, max_size=4
        ).map(tuple),
        sessions=SESSIONS,
    ),
    st.builds(
        SelfExciting,
        rate=RATES,
        branching=st.just(0.0) | st.floats(1e-6, 0.9),
        decay_seconds=SPANS,
        sessions=SESSIONS,
    ),
)


@settings(max_examples=80)
@given(traffic=TRAFFIC, seed=st.integers(0, 2**32), size=st.integers(1, 700))
def test_arrivals_rise_and_do_not_depend_on_the_size_of_the_arrays(
    traffic: Traffic, seed: int, size: int
) -> None:
    until = 100.0
    seen = []
    for arrays in (size, 5000):
        parts = [part for part in traffic.requests(seed, arrays, until) if len(part.at)]
        assert all(len(part.at) <= arrays for part in parts)
        at = np.concatenate([np.empty(0), *(part.at for part in parts)])
        key = np.concatenate([np.empty(0, np.int64), *(part.key for part in parts)])
        assert (np.diff(at) >= 0).all()
        assert not len(at) or at[0] >= 0
        mine = at < until
        sessions = [part.session for part in parts if part.session is not None]
        assert bool(sessions) == (traffic.sessions is not None and bool(parts))
        session = np.concatenate([np.empty(0, np.int64), *sessions])
        seen.append((at[mine].tolist(), key[mine].tolist(), session[: mine.sum()].tolist()))
    assert seen[0] == seen[1]


@settings(max_examples=40)
@given(traffic=TRAFFIC, seed=st.integers(0, 2**32), later=st.floats(60, 400))
def test_a_later_end_changes_nothing_before_it(traffic: Traffic, seed: int, later: float) -> None:
    short, long = arrivals(traffic, seed, 50), arrivals(traffic, seed, later)
    assert long[: len(short)].tolist() == short.tolist()
    assert not (long[len(short) :] < 50).any()
