"""What is counted of both arms, of a stage, and of contracts that may be broken now and then."""

from __future__ import annotations

import pytest

from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import abandoned
from canario.metrics.recorder import ArmMetrics, Recorder


def test_an_arm_counts_each_request_by_what_it_was() -> None:
    arm = ArmMetrics(60.0, 500.0)
    assert arm.quantiles(0.0, 0.5, 0.95) == (None, None)
    assert (arm.total(), arm.duration().count) == (NOTHING, 0)
    for bad, slow in ((False, False), (True, False), (True, True), (False, True), (False, True)):
        arm.record(1.0, bad, 700.0 if slow else 100.0)
    assert arm.total() == Counts(requests=5, errors=2, timed=5, slow=3)
    assert arm.window.counts(1.0) == arm.total()
    assert (arm.duration().count, arm.duration().sum_ms) == (5, 2300.0)
    assert arm.quantiles(1.0, 0.0, 1.0) == pytest.approx((100, 700), rel=0.01)


def test_who_is_given_up_is_counted_without_a_latency() -> None:
    arm = ArmMetrics(60.0, 500.0)
    given = Counts(requests=5, errors=4, timed=3, slow=2, abandoned=1)
    arm.give_up(1.0, given)
    arm.give_up(1.0, abandoned(2))
    assert arm.total() == given + abandoned(2)
    assert arm.duration().count == 0
    assert arm.quantiles(1.0, 0.5) == (None,)


def test_the_histogram_forgets_when_the_window_does() -> None:
    arm = ArmMetrics(6.0, 500.0)
    arm.record(1.0, False, 100.0)
    for now, kept in ((7.05, True), (7.15, False)):
        assert bool(arm.window.counts(now).requests) is kept
        assert (arm.quantiles(now, 0.5) != (None,)) is kept


def test_a_restart_forgets_all_but_the_totals_however_often() -> None:
    arm = ArmMetrics(60.0, 500.0)
    for times in (1, 2, 3):
        arm.record(1.0, True, 600.0)
        arm.clear()
        assert arm.window.counts(1.0) == NOTHING
        assert arm.quantiles(1.0, 0.5) == (None,)
        assert arm.total() == Counts(requests=times, errors=times, timed=times, slow=times)
        assert (arm.duration().count, arm.duration().sum_ms) == (times, 600.0 * times)
    arm.record(1.0, True, 600.0)
    assert arm.duration().count == arm.total().requests == 4


def test_a_stage_counts_what_the_canary_did_since_it_began() -> None:
    recorder = Recorder(60.0, 500.0)
    recorder.arm("baseline").record(1.0, True, 10.0)
    recorder.arm("canary").record(1.0, True, 10.0)
    assert recorder.stage() == Counts(requests=1, errors=1, timed=1)
    recorder.stage_begins()
    assert recorder.stage() == NOTHING
    recorder.canary.record(500.0, False, 900.0)
    assert recorder.stage() == Counts(requests=1, timed=1, slow=1)  # however long the stage is
    assert recorder.baseline.total().requests == 1


def test_a_contract_that_may_be_broken_is_counted_by_name_in_the_window_and_the_stage() -> None:
    recorder = Recorder(60.0, 500.0, ["summary", "total"])
    assert recorder.broken(0.0) == recorder.broken_in_stage() == {"summary": 0, "total": 0}
    assert recorder.broke("canary", "summary", 1.0)
    assert recorder.broke("canary", "summary", 1.0)
    assert not recorder.broke("canary", "other", 1.0)
    assert not recorder.broke("baseline", "summary", 1.0)
    assert recorder.canary.total() == Counts(violations=3)
    assert recorder.baseline.total() == Counts(violations=1)
    assert recorder.broken(1.0) == recorder.broken_in_stage() == {"summary": 2, "total": 0}
    recorder.stage_begins()
    assert recorder.broke("canary", "total", 40.0)
    assert recorder.broken(40.0) == {"summary": 2, "total": 1}
    assert recorder.broken_in_stage() == {"summary": 0, "total": 1}
    assert recorder.broken(70.0) == {"summary": 0, "total": 1}
    recorder.clear()
    assert recorder.broken(70.0) == recorder.broken_in_stage() == {"summary": 0, "total": 0}
    assert recorder.broke("canary", "summary", 70.0)
    assert recorder.broken_in_stage() == {"summary": 1, "total": 0}


def test_where_no_contract_may_be_broken_none_is_counted_by_name() -> None:
    recorder = Recorder(60.0, 500.0)
    assert not recorder.broke("canary", "summary", 1.0)
    assert recorder.broken(1.0) == recorder.broken_in_stage() == {}
    assert recorder.canary.total() == recorder.stage() == Counts(violations=1)


def test_a_rollout_that_starts_again_begins_its_stage_with_nothing() -> None:
    recorder = Recorder(60.0, 500.0)
    for arm in (recorder.canary, recorder.baseline):
        arm.record(1.0, True, 10.0)
    recorder.stage_begins()
    recorder.clear()
    assert recorder.stage() == NOTHING
    assert recorder.canary.window.counts(1.0) == recorder.baseline.window.counts(1.0) == NOTHING
    recorder.canary.record(2.0, False, 10.0)
    assert recorder.stage() == Counts(requests=1, timed=1)
