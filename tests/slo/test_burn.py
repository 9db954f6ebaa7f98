"""Burn rates, against the figures of the SRE workbook, chapter 5 ("Alerting on SLOs")."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario import CanaryDeploymentController
from canario.alerts import Severity
from canario.plan import Objectives
from canario.slo import BURN_WINDOWS, BurnWindows, SLOMonitor, scaled_windows
from canario.slo.burn import (
    BurnRate,
    ErrorBudget,
    burn_rate,
    error_budget,
    measure_burn,
)
from canario.testing import ManualClock

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0

# The chapter's objective of 99.9 %.
BUDGET = 0.001


def test_the_rules_are_those_that_the_chapter_recommends() -> None:
    assert [
        (rule.factor, rule.long_seconds, rule.short_seconds, rule.severity) for rule in BURN_WINDOWS
    ] == [
        (14.4, HOUR, 5 * MINUTE, Severity.CRITICAL),
        (6, 6 * HOUR, 30 * MINUTE, Severity.CRITICAL),
        (3, DAY, 2 * HOUR, Severity.WARNING),
        (1, 3 * DAY, 6 * HOUR, Severity.WARNING),
    ]
    # The share of thirty days' budget that is spent when each fires.
    spent = [rule.factor * rule.long_seconds / (30 * DAY) for rule in BURN_WINDOWS]
    assert spent == pytest.approx([0.02, 0.05, 0.1, 0.1])


@pytest.mark.parametrize(
    ("rate", "bad_share", "exhausted"),
    [(1, 0.001, 30 * DAY), (2, 0.002, 15 * DAY), (10, 0.01, 3 * DAY), (1000, 1.0, 43.2 * MINUTE)],
)
def test_the_time_until_the_budget_is_spent(
    rate: float, bad_share: float, exhausted: float
) -> None:
    """The chapter's table of burn rates, error rates and times to exhaustion."""
    events = 100_000
    assert burn_rate(round(bad_share * events), events, BUDGET) == pytest.approx(rate)
    whole = error_budget(0, events, Fraction("0.001"), rate)
    assert whole.remaining_percent == 100
    if rate > 1:
        assert whole.exhausted_in_seconds == pytest.approx(exhausted)
    else:
        assert whole.exhausted_in_seconds is None  # it lasts for just as long as it is earned


def outage(monitor: SLOMonitor, clock: ManualClock, seconds: int, every: int) -> None:
    """One request a second, every so many-th of which fails; 0 for none."""
    for number in range(seconds):
        clock.advance(1)
        monitor.record_request("a", not (every and number % every == 0), 10.0)


def test_an_outage_is_detected_and_resets_when_the_chapter_says() -> None:
    """A window of w seconds shows f times a budget b after f·b·w of an outage, and for w − f·b·w
    after one that filled it."""
    clock = ManualClock(1e6)
    monitor = SLOMonitor(Objectives(availability_percent=99.9), clock=clock)
    outage(monitor, clock, 7200, 0)

    def pages() -> bool:
        return monitor.burn_rates("a")[0].breached is True

    seen = 0
    while not pages():
        outage(monitor, clock, 1, 1)
        seen += 1
    expected = 14.4 * BUDGET * HOUR
    # A window may be one slice too long, and is seen to the second.
    assert expected - 1 <= seen <= expected * (HOUR + 60) / HOUR + 1
    outage(monitor, clock, 600, 1)
    reset = 0
    while pages():
        outage(monitor, clock, 1, 0)
        reset += 1
    short = 5 * MINUTE * (1 - 14.4 * BUDGET)
    assert short - 1 <= reset <= short + 5 + 1


def test_a_burn_rate_needs_both_windows() -> None:
    rule = BURN_WINDOWS[0]
    budget = Fraction("0.001")

    def measured(long: tuple[int, int], short: tuple[int, int]) -> bool | None:
        counts = {rule.long_seconds: long, rule.short_seconds: short}
        return measure_burn(rule, counts.__getitem__, budget).breached

    assert measured((145, 10_000), (145, 10_000)) is True
    assert measured((145, 10_000), (144, 10_000)) is False  # 14.4 times is not more than 14.4
    assert measured((144, 10_000), (145, 10_000)) is False
    assert measured((145, 10_000), (0, 0)) is False
    assert measured((0, 0), (0, 0)) is None


RULE = BurnWindows(
    name="twice", factor=2, long_seconds=60, short_seconds=5, severity=Severity.WARNING
)


def twice(
    long: tuple[int, int], short: tuple[int, int], budget: str = "0.1", min_samples: int = 1
) -> BurnRate:
    counts = {60.0: long, 5.0: short}
    return measure_burn(RULE, counts.__getitem__, Fraction(budget), min_samples)


def test_a_rule_is_told_as_it_was_measured() -> None:
    assert twice((30, 100), (2, 8)) == BurnRate(
        name="twice",
        factor=2,
        long_seconds=60,
        short_seconds=5,
        severity=Severity.WARNING,
        rate=0.3 / 0.1,
        short_rate=2.5,
        breached=True,
        clear=False,
        samples=100,
        bad=30,
    )


def test_an_alert_may_end_at_nine_tenths_of_its_rate_in_either_window() -> None:
    def clear(long: tuple[int, int], short: tuple[int, int]) -> bool:
        return twice(long, short, "0.25").clear

    assert clear((46, 100), (45, 100))
    assert clear((45, 100), (46, 100))
    assert clear((46, 100), (0, 1))
    assert not clear((46, 100), (46, 100))
    assert not clear((46, 100), (0, 0))  # who sees nothing does not know that it is over
    assert not clear((0, 0), (0, 0))


def test_a_rule_is_broken_by_enough_events_alone() -> None:
    assert twice((9, 9), (9, 9), min_samples=10).breached is None
    assert twice((9, 10), (9, 10), min_samples=10).breached is True
    assert twice((1, 10), (1, 10), min_samples=10).breached is False
    # However few are asked for, none says nothing.
    assert twice((0, 0), (0, 0), min_samples=0).breached is None
    assert twice((1, 1), (1, 1), min_samples=0).breached is True


def test_burn_rates_of_nothing_and_of_no_budget() -> None:
    assert burn_rate(0, 0, 0.1) is None
    assert burn_rate(1, 2, 0.0) == math.inf
    assert burn_rate(0, 2, 0.0) == 0
    assert burn_rate(3, 60, 0.05) == pytest.approx(1)


@pytest.mark.parametrize(
    ("bad", "events", "budget", "rate", "left", "exhausted"),
    [
        (0, 0, "0.1", None, None, None),
        (5, 100, "0.1", 0.5, 50, None),
        (5, 100, "0.1", 1.0, 50, None),  # what is spent is earned again
        (5, 100, "0.1", 1.25, 50, 0.5 * 1000 / 1.25),
        (5, 100, "0.1", None, 50, None),
        (10, 100, "0.1", 4.0, 0, 0),
        (10, 100, "0.1", 1.0, 0, 0),
        (20, 100, "0.1", 0.0, -100, 0),
        (0, 100, "0", 0.0, 100, None),
        (1, 100, "0", math.inf, 0, 0),
    ],
)
def test_what_is_left_of_a_budget_and_for_how_long(
    bad: int,
    events: int,
    budget: str,
    rate: float | None,
    left: float | None,
    exhausted: float | None,
) -> None:
    assert error_budget(bad, events, Fraction(budget), rate, 1000) == ErrorBudget(
        events=events,
        bad=bad,
        allowed=events * float(budget),
        remaining_percent=left,
        burn_rate=rate,
        exhausted_in_seconds=exhausted,
        period_seconds=1000,
    )


@given(
    st.integers(0, 1000), st.integers(0, 1000), st.sampled_from(["0.001", "0.005", "0.5", "0", "1"])
)
def test_a_rate_that_is_clear_is_not_breached(bad: int, good: int, share: str) -> None:
    budget = Fraction(share)
    for rule in BURN_WINDOWS:
        found = measure_burn(rule, lambda _: (bad, bad + good), budget)
        assert not (found.breached and found.clear)
        if bad + good:
            assert found.breached == (
                Fraction(bad, bad + good) > Fraction(str(rule.factor)) * budget
            )


def test_without_a_budget_any_bad_event_burns_it() -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(Objectives(availability_percent=100), clock=clock)
    monitor.record_request("a", True, 1.0)
    assert monitor.error_budget("a").remaining_percent == 100
    assert [rate.rate for rate in monitor.burn_rates("a")] == [0.0] * 4
    monitor.record_request("a", False, 1.0)
    assert monitor.error_budget("a").remaining_percent == 0
    assert all(rate.breached and rate.rate == math.inf for rate in monitor.burn_rates("a"))


def test_a_stage_s_hold_is_the_longest_window_that_pages() -> None:
    rules = scaled_windows(1800)
    assert [(rule.long_seconds, rule.short_seconds) for rule in rules] == [
        (300, 25),
        (1800, 150),
        (7200, 600),
        (21_600, 1800),
    ]
    told = [(rule.name, rule.factor, rule.severity) for rule in rules]
    assert told == [(rule.name, rule.factor, rule.severity) for rule in BURN_WINDOWS]


def test_no_window_grows_and_none_is_shorter_than_what_is_told_apart() -> None:
    assert scaled_windows(None) is BURN_WINDOWS
    assert scaled_windows(6 * HOUR) == scaled_windows(12 * HOUR) == BURN_WINDOWS
    assert [(rule.long_seconds, rule.short_seconds) for rule in scaled_windows(0.5, 1.0)] == [
        *((1, 1), (1, 1), (2, 1), (6, 1))
    ]
    assert scaled_windows(0.5)[1].long_seconds == 0.5


@given(st.floats(1, 1e7), st.sampled_from([0.0, 5.0]))
def test_scaled_windows_keep_their_proportions(stage: float, slice_seconds: float) -> None:
    def windows(rules: tuple[BurnWindows, ...]) -> list[float]:
        return [length for rule in rules for length in (rule.long_seconds, rule.short_seconds)]

    scale = min(stage / (6 * HOUR), 1)
    expected = [max(length * scale, slice_seconds) for length in windows(BURN_WINDOWS)]
    assert windows(scaled_windows(stage, slice_seconds)) == pytest.approx(expected)


def test_a_rollout_is_watched_over_its_stage() -> None:
    """What would take an hour to matter pages within minutes of a stage of 5 minutes."""
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    outage(monitor, clock, 4 * 3600, 0)
    outage(monitor, clock, 120, 5)
    assert not any(rate.breached for rate in monitor.burn_rates("a"))
    assert monitor.burn_rates("a", stage_seconds=300)[0].breached
    assert monitor.burn_rates("a", stage_seconds=300)[0].short_seconds == 5  # a slice
    monitor.during(300)
    assert monitor.burn_rates("a")[0].breached
    monitor.during(None)
    assert not any(rate.breached for rate in monitor.burn_rates("a"))


def test_a_monitor_follows_the_stages_of_a_rollout() -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    controller = CanaryDeploymentController(deployment_id="stages", clock=clock)
    monitor.follow(controller)

    def longest_page() -> float:
        return monitor.burn_rates("a")[1].long_seconds

    assert longest_page() == 6 * HOUR
    controller.start()
    assert longest_page() == 300
    controller.skip()
    assert longest_page() == 600
    controller.pause()
    assert longest_page() == 600
    controller.abort()
    assert longest_page() == 6 * HOUR


@pytest.mark.parametrize("stage", [0, -1.0, math.nan])
def test_a_stage_without_length_is_refused(stage: float) -> None:
    with pytest.raises(ValueError, match="stage_seconds is"):
        SLOMonitor(clock=ManualClock()).during(stage)


def test_the_budget_that_is_left() -> None:
    clock = ManualClock(1e6)
    monitor = SLOMonitor(clock=clock)
    assert monitor.error_budget("a").remaining_percent is None
    for number in range(1000):
        clock.advance(10)
        monitor.record_request("a", number != 500, 1.0)
    left = monitor.error_budget("a")
    assert (left.events, left.bad, left.allowed) == (1000, 1, 5.0)
    assert left.remaining_percent == pytest.approx(80)
    assert left.burn_rate == 0
    assert left.exhausted_in_seconds is None
    for _ in range(3):
        monitor.record_request("a", False, 1.0)
    left = monitor.error_budget("a")
    assert left.burn_rate is not None
    assert left.remaining_percent == pytest.approx(100 * (1 - 4 / 5.015))
    assert left.exhausted_in_seconds == pytest.approx((1 - 4 / 5.015) * 30 * DAY / left.burn_rate)
    for _ in range(9):
        monitor.record_request("a", False, 1.0)
    left = monitor.error_budget("a")
    assert left.remaining_percent is not None
    assert left.remaining_percent < 0
    assert left.exhausted_in_seconds == 0
