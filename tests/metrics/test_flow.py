"""A flow's counts, request by request, and its windows, slice by slice."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import pytest

from canario.metrics.flow import FlowCounts, FlowMetrics, Point
from canario.metrics.histogram import BATCH

DAY = 86_400.0


def flow(now: float = 0.0, window: float = 300.0) -> FlowMetrics:
    return FlowMetrics(now, window, 200.0)


def test_each_request_counts_as_what_it_was() -> None:
    """Good or failed, in time or late or untimed, its contract kept or broken."""
    made = flow()
    requests = list(product((True, False), (200.0, 200.1, None), (True, False)))
    for success, latency, valid in requests:
        made.record(1.0, success, latency, valid)
        made.total()
    assert made.total() == made.present(1.0) == made.window(1.0, 5.0)
    assert made.total() == FlowCounts(requests=12, errors=6, bad=9, timed=8, slow=4, violations=6)
    assert made.duration().count == 8
    assert made.duration().sum_ms == pytest.approx(4 * 400.1)


@pytest.mark.parametrize(
    ("success", "latency", "valid", "counted"),
    [
        (True, 5.0, True, FlowCounts(requests=1, timed=1)),
        (True, 500.0, True, FlowCounts(requests=1, timed=1, slow=1)),
        (True, None, True, FlowCounts(requests=1)),
        (True, 500.0, False, FlowCounts(requests=1, bad=1, timed=1, slow=1, violations=1)),
        (False, 5.0, True, FlowCounts(requests=1, errors=1, bad=1, timed=1)),
        (False, None, True, FlowCounts(requests=1, errors=1, bad=1)),
        (False, None, False, FlowCounts(requests=1, errors=1, bad=1, violations=1)),
    ],
)
def test_a_request_that_failed_and_broke_its_contract_is_bad_once(
    success: bool, latency: float | None, valid: bool, counted: FlowCounts
) -> None:
    made = flow()
    made.record(1.0, success, latency, valid)
    assert made.total() == counted


def test_a_broken_contract_makes_a_good_request_bad() -> None:
    made = flow()
    made.record(1.0, True, 5.0, True)
    made.violate(1.0)
    assert made.total() == FlowCounts(requests=1, bad=1, timed=1, violations=1)


def test_what_waits_is_counted_before_anything_is_read() -> None:
    made = flow()
    made.waiting += [300.0, 100.0]
    made.failing += [400.0, 50.0, 10.0]
    expected = FlowCounts(requests=5, errors=3, bad=3, timed=5, slow=2)
    assert made.total() == expected
    assert (made.waiting, made.failing) == ([], [])
    made.waiting += [20.0]
    assert made.duration().count == 6
    made.waiting += [20.0]
    assert made.present(1.0).requests == 7
    made.waiting += [20.0]
    assert made.window(1.0, 5.0).requests == 8
    made.waiting += [20.0]
    assert made.history(1.0, 5.0)[-1].requests == 9
    made.failing += [900.0]
    assert made.p95(1.0) == pytest.approx(900, rel=0.01)


def test_what_waits_belongs_to_the_slice_in_which_it_came() -> None:
    """At whichever call the slice is found to be over."""
    calls: list[tuple[Callable[[FlowMetrics], object], FlowCounts]] = [
        (lambda made: made.settle(5.0), FlowCounts()),
        (lambda made: made.record(5.0, True, None, True), FlowCounts(requests=1)),
        (lambda made: made.violate(5.0), FlowCounts(bad=1, violations=1)),
    ]
    for call, counted in calls:
        made = flow()
        made.record(4.0, True, 7.0, True)
        call(made)
        assert made.ends == 10.0
        assert made.waiting == []
        before, present = made.history(5.0, 10.0)
        assert (before.requests, before.timed, before.violations) == (1, 1, 0)
        assert (present.requests, present.timed) == (counted.requests, 0)
        assert (present.bad, present.violations) == (counted.bad, counted.violations)


def test_no_more_than_a_batch_waits() -> None:
    made = flow()
    for _ in range(BATCH - 1):
        made.record(1.0, True, 5.0, True)
    assert len(made.waiting) == BATCH - 1
    made.record(1.0, True, 5.0, True)
    assert made.waiting == []
    for _ in range(BATCH):
        made.record(1.0, False, 5.0, True)
    assert made.failing == []
    assert made.total() == FlowCounts(requests=2 * BATCH, errors=BATCH, bad=BATCH, timed=2 * BATCH)


def test_the_window_holds_its_slice_and_sixty_before_it() -> None:
    made = flow(window=60.0)
    made.record(0.5, False, 100.0, True)
    for now, kept in ((0.5, 1), (60.99, 1), (61.0, 0)):
        assert made.present(now).errors == kept
        assert made.p95(now) == (pytest.approx(100, rel=0.01) if kept else None)
    assert made.total().errors == 1


def test_the_p95_is_the_latency_of_its_rank() -> None:
    made = flow()
    assert made.p95(0.0) is None
    for n in range(1, 41):
        made.record(0.0, True, 10.0 * n, True)
        assert made.p95(0.0) == pytest.approx(10.0 * (n * 95 // 100 + 1), rel=0.01)


def test_a_window_is_cut_in_the_shortest_slices_that_reach_back_so_far() -> None:
    made = flow()
    slices = {
        1.0: 5.0,
        1800.0: 5.0,
        1801.0: 60.0,
        21_600.0: 60.0,
        21_601.0: 1800.0,
        3 * DAY: 1800.0,
        3 * DAY + 1: 21_600.0,
        30 * DAY: 21_600.0,
        1e9: 21_600.0,
    }
    assert {seconds: made.slice_seconds(seconds) for seconds in slices} == slices
    # A window of a day has slices of 24 minutes, which reach further than those of half an hour.
    assert flow(window=DAY).slice_seconds(3 * DAY) == 1440.0
    # One of 60 days has slices of a day, which reach further than anything else.
    assert flow(window=60 * DAY).slice_seconds(1e9) == DAY


def test_windows_of_every_length_lose_what_is_older() -> None:
    made = flow()
    made.record(1.0, False, None, True)
    for seconds, ends in (
        (300.0, 305.0),
        (3600.0, 3660.0),
        (DAY, DAY + 1800.0),
        (30 * DAY, 30.25 * DAY),
    ):
        assert made.window(ends - 1e-3, seconds).errors == 1
        assert made.window(ends, seconds).errors == 0


def test_a_history_tells_each_slice_from_the_first_on() -> None:
    made = flow(now=1003.0)
    made.record(1004.0, True, 100.0, True)
    made.record(1006.0, False, 300.0, True)
    made.record(1017.0, True, None, False)
    nothing = {"requests": 0, "errors": 0, "bad": 0, "timed": 0, "slow": 0, "violations": 0}
    expected = [
        Point(at=1000.0, seconds=5.0, **nothing | {"requests": 1, "timed": 1}),
        Point(
            at=1005.0,
            seconds=5.0,
            **nothing | {"requests": 1, "errors": 1, "bad": 1, "timed": 1, "slow": 1},
        ),
        Point(at=1010.0, seconds=5.0, **nothing),
        Point(at=1015.0, seconds=5.0, **nothing | {"requests": 1, "bad": 1, "violations": 1}),
    ]
    # It begins with the flow, and not before.
    assert made.history(1017.0, 600.0) == expected
    assert made.history(1017.0, 5.0) == expected[-2:]
    assert made.history(1017.0, 1.0) == expected[-1:]
    # An older instant than has been seen is taken for the present slice's beginning.
    assert made.history(900.0, 5.0) == expected[-2:]
    assert made.window(900.0, 5.0).requests == 1


def test_a_flow_that_has_just_begun_has_one_slice() -> None:
    made = flow(now=7.0)
    assert made.since == 7.0
    assert made.ends == 10.0
    assert [point.at for point in made.history(7.0, 300.0)] == [5.0]
    assert [point.at for point in flow().history(0.0, 300.0)] == [0.0]
    assert made.window(7.0, 300.0) == made.present(7.0) == made.total() == FlowCounts()
