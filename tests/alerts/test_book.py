"""The life of alerts: told once, resolved by themselves, silenced, acknowledged, bounded."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from canario.alerts import (
    Alert,
    AlertBook,
    AlertState,
    AlertType,
    Condition,
    Resolution,
    Severity,
    UnknownAlertError,
)
from canario.alerts.life import badness
from canario.alerts.runbook import look_at

FIRING, RESOLVED = AlertState.FIRING, AlertState.RESOLVED


def condition(breached: bool | None = True, clear: bool | None = None, **more: Any) -> Condition:
    """About the latency of `/evaluate`; clear whenever it is not breached, unless said."""
    fields: dict[str, Any] = {
        "alert_type": AlertType.LATENCY_EXCEEDED,
        "severity": Severity.WARNING,
        "flow_name": "/evaluate",
        "observed": 250.0,
        "limit": 200.0,
        "unit": "ms",
        "samples": 100,
        "message": "p95 of /evaluate is 250 ms",
    }
    if clear is None:
        clear = breached is False
    return Condition(breached=breached, clear=clear, **{**fields, **more})


BAD, BETTER, GOOD, NOTHING = (
    condition(),
    condition(False, clear=False),
    condition(False),
    condition(None),
)


def states(told: list[Alert]) -> list[str]:
    return [alert.state.value for alert in told]


# -- firing


def test_it_fires_at_the_first_breach_and_carries_what_was_seen() -> None:
    book = AlertBook()
    (alert,) = book.update([condition(trace_id="a" * 32)], 1000.0)
    assert (alert.state, alert.fired_at, alert.pending_since) == (FIRING, 1000.0, 1000.0)
    assert (alert.observed, alert.limit, alert.unit, alert.samples) == (250.0, 200.0, "ms", 100)
    assert alert.trace_id == "a" * 32
    assert alert.look_at == look_at(AlertType.LATENCY_EXCEEDED)
    assert alert.alert_id == "latency_exceeded:/evaluate:1"
    assert book.active() == [alert]


def test_the_same_condition_does_not_fire_twice_while_it_fires() -> None:
    book = AlertBook()
    book.update([condition(trace_id="a" * 32)], 0)
    assert book.update([condition(observed=300.0, samples=7)], 1) == []
    (alert,) = book.active()
    assert (alert.observed, alert.samples, alert.fired_at) == (300.0, 7, 0)
    assert alert.trace_id == "a" * 32  # an example is kept until there is a newer one


def test_it_is_pending_first_where_that_is_asked_for() -> None:
    book = AlertBook(pending_seconds={AlertType.LATENCY_EXCEEDED: 30})
    assert book.update([BAD], 0) == []
    assert book.active() == []
    assert [alert.state for alert in book.pending()] == [AlertState.PENDING]
    assert book.update([BAD], 29) == []
    assert book.update([NOTHING], 30) == []  # no data neither fires nor ends it
    (alert,) = book.update([BAD], 31)
    assert (alert.pending_since, alert.fired_at) == (0, 31)


@pytest.mark.parametrize("end", [BETTER, GOOD])
def test_a_breach_that_ends_while_pending_is_forgotten(end: Condition) -> None:
    book = AlertBook(pending_seconds=30)
    book.update([BAD], 0)
    assert book.update([end], 20) == []
    assert book.pending() == []
    assert book.update([BAD], 30) == []  # it begins anew
    assert book.history() == []


def test_rules_flows_and_types_are_apart() -> None:
    book = AlertBook()
    told = book.update(
        [
            condition(),
            condition(flow_name="b"),
            condition(rule="1h"),
            condition(alert_type=AlertType.BURN_RATE, rule="1h"),
        ],
        0,
    )
    assert len({alert.alert_id for alert in told}) == 4
    names = [condition(flow_name="a", rule="b:c"), condition(flow_name="a:b", rule="c")]
    assert len({alert.alert_id for alert in AlertBook().update(names, 0)}) == 2


def test_the_worse_of_two_conditions_under_one_key_counts() -> None:
    for pair in itertools.permutations([BAD, GOOD]):
        assert states(AlertBook().update(pair, 0)) == ["firing"]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (GOOD, BAD),
        (BETTER, BAD),
        (NOTHING, GOOD),
        (NOTHING, BAD),
        (GOOD, BETTER),
        (condition(samples=200), condition(severity=Severity.CRITICAL)),
        (condition(message="z"), condition(samples=101)),
        (condition(observed=900.0), condition(message="z")),
        (condition(observed=None), condition(observed=-1.0)),
        (condition(observed=0.0), condition(observed=0.5)),
        (condition(observed=-0.5), condition(observed=0.0)),
        (condition(unit="s"), condition(limit=201.0)),
        (condition(trace_id="f"), condition(unit="s")),
        (condition(), condition(trace_id="a")),
        (condition(trace_id="a"), condition(trace_id="b")),
    ],
)
def test_which_of_two_is_the_worse(better: Condition, worse: Condition) -> None:
    assert badness(worse) > badness(better)
    for one in (better, worse):
        assert badness(one) == badness(replace(one))


# -- resolving


def test_it_resolves_when_it_has_been_clear_for_long_enough() -> None:
    book = AlertBook()
    book.update([BAD], 0)
    assert book.update([GOOD], 10) == []
    assert book.update([BETTER], 40) == []  # within the band: the wait begins anew
    assert book.update([GOOD], 50) == []
    assert book.update([GOOD], 109.9) == []
    (alert,) = book.update([GOOD], 110)
    assert (alert.state, alert.resolution) == (RESOLVED, Resolution.CLEARED)
    assert (alert.fired_at, alert.resolved_at, alert.observed) == (0, 110, 250.0)
    assert book.active() == []
    assert book.history() == [alert]


def test_a_breach_within_the_wait_is_the_same_alert() -> None:
    book = AlertBook(resolve_seconds=60)
    book.update([BAD], 0)
    book.update([GOOD], 30)
    assert book.update([BAD], 60) == []
    assert book.update([GOOD], 70) == book.update([GOOD], 129) == []
    assert states(book.update([GOOD], 130)) == ["resolved"]


def test_an_alert_that_flaps_gets_a_new_id_each_time() -> None:
    book = AlertBook(resolve_seconds=0)
    ids = []
    for at in range(0, 10, 2):
        (fired,) = book.update([BAD], at)
        (resolved,) = book.update([GOOD], at + 1)
        assert fired.alert_id == resolved.alert_id
        ids.append(fired.alert_id)
    assert len(set(ids)) == 5


def test_no_data_neither_fires_nor_resolves_until_it_is_stale() -> None:
    book = AlertBook(stale_seconds=3600)
    assert book.update([NOTHING], 0) == []
    book.update([BAD], 1)
    assert book.update([NOTHING], 1800) == []
    assert book.update([], 3600) == []  # left out is no data, too
    (alert,) = book.update([NOTHING], 3601)
    assert (alert.state, alert.resolution) == (RESOLVED, Resolution.STALE)
    assert alert.message == "p95 of /evaluate is 250 ms (stale: no data for 1 h)"
    assert states(book.update([BAD], 3602)) == ["firing"]


def test_it_is_stale_so_long_after_it_was_last_heard_of() -> None:
    book = AlertBook(stale_seconds=100)
    book.update([BAD], 0)
    book.update([BETTER], 70)
    assert book.update([], 169) == []
    (alert,) = book.update([], 170)
    assert alert.resolution is Resolution.STALE
    assert alert.message.endswith("(stale: no data for 1 min 40 s)")


def test_a_pending_one_goes_stale_without_a_word() -> None:
    book = AlertBook(pending_seconds=10, stale_seconds=100)
    book.update([BAD], 0)
    assert book.update([], 100) == []
    assert (book.pending(), book.history()) == ([], [])


def test_resolved_by_hand_it_fires_anew_once_it_was_clear() -> None:
    book = AlertBook()
    (fired,) = book.update([BAD], 0)
    resolved = book.resolve(fired.alert_id, 5)
    assert (resolved.state, resolved.resolution) == (RESOLVED, Resolution.BY_HAND)
    assert book.take(5) == [resolved]
    assert book.update([BAD], 6) == book.update([BETTER], 7) == book.update([BAD], 8) == []
    assert book.update([GOOD], 9) == []
    (again,) = book.update([BAD], 10)
    assert again.alert_id != fired.alert_id
    assert book.resolve(fired.alert_id, 11) == resolved  # what is over stays as it is


def test_resolved_by_hand_and_still_breached_an_hour_later_it_fires_anew() -> None:
    book = AlertBook(quiet_seconds=3600)
    (fired,) = book.update([BAD], 0)
    book.resolve(fired.alert_id, 0)
    told = [book.update([BAD], at) for at in range(60, 3661, 60)]
    assert [len(each) for each in told] == [1] + [0] * 58 + [1, 0]


def test_the_hour_after_a_resolution_by_hand_begins_with_it() -> None:
    book = AlertBook(quiet_seconds=3600)
    (fired,) = book.update([BAD], 10_000)
    book.resolve(fired.alert_id, 10_100)
    assert book.update([BAD], 13_699) == [book.by_id(fired.alert_id)]  # that it is over
    assert states(book.update([BAD], 13_700)) == ["firing"]


def test_types_that_are_left_out_fire_at_once_and_resolve_after_a_minute() -> None:
    book = AlertBook(
        pending_seconds={AlertType.BURN_RATE: 30}, resolve_seconds={AlertType.BURN_RATE: 5}
    )
    burning = condition(alert_type=AlertType.BURN_RATE)
    assert [alert.alert_type for alert in book.update([BAD, burning], 0)] == [BAD.alert_type]
    assert states(book.update([BAD, burning], 30)) == ["firing"]
    book.update([GOOD, replace(burning, breached=False, clear=True)], 40)
    over = [replace(burning, breached=False, clear=True), GOOD]
    assert [alert.alert_type for alert in book.update(over, 45)] == [AlertType.BURN_RATE]
    assert book.update(over, 99.9) == []
    assert states(book.update(over, 100)) == ["resolved"]


# -- people


def test_an_acknowledged_alert_fires_on_and_is_not_told_again() -> None:
    book = AlertBook()
    (fired,) = book.update([BAD], 0)
    known = book.acknowledge(fired.alert_id, "ops", 5)
    assert (known.acknowledged_by, known.acknowledged_at, known.state) == ("ops", 5, FIRING)
    assert book.acknowledge(fired.alert_id, "others", 6) == known
    assert book.update([BAD], 7) == []
    assert book.active() == [known]
    book.update([GOOD], 10)
    (resolved,) = book.update([GOOD], 70)
    assert resolved.acknowledged_by == "ops"
    assert book.acknowledge(fired.alert_id, "late", 80) == resolved


def test_a_silenced_alert_lives_in_the_book_and_is_told_when_the_silence_ends() -> None:
    book = AlertBook()
    book.silence(100, flow_name="/evaluate")
    assert book.update([BAD], 0) == []
    (alert,) = book.active()
    assert alert.silenced_until == 100
    assert book.update([BAD], 99) == []
    (told,) = book.update([BAD], 100)
    assert (told.alert_id, told.silenced_until, told.fired_at) == (alert.alert_id, None, 0)
    assert book.update([BAD], 101) == []


def test_a_silence_that_is_over_is_not_listed() -> None:
    book = AlertBook()
    short, long = book.silence(100), book.silence(200)
    assert book.silences() == book.silences(99.9) == [short, long]
    assert book.silences(100) == book.silences() == [long]
    book.update([BAD], 150)
    assert [alert.silenced_until for alert in book.active(199.9)] == [200]
    assert [alert.silenced_until for alert in book.active(200)] == [None]


def test_the_longest_of_the_silences_counts() -> None:
    book = AlertBook()
    book.silence(100)
    book.silence(300)
    book.silence(200)
    book.update([BAD], 0)
    assert [alert.silenced_until for alert in book.active()] == [300]


def test_a_silence_is_about_its_type_and_flow() -> None:
    book = AlertBook()
    book.silence(100, alert_type=AlertType.BURN_RATE)
    book.silence(100, flow_name="b", alert_type=AlertType.LATENCY_EXCEEDED)
    conditions = [BAD, condition(flow_name="b"), condition(alert_type=AlertType.BURN_RATE)]
    assert [alert.flow_name for alert in book.update(conditions, 0)] == ["/evaluate"]
    assert len(book.active()) == 3


def test_whoever_was_told_that_it_fires_is_told_that_it_is_over_and_nobody_else() -> None:
    told, quiet = AlertBook(resolve_seconds=0), AlertBook(resolve_seconds=0)
    told.update([BAD], 0)
    for book in (told, quiet):
        book.silence(100)
    quiet.update([BAD], 0)
    assert states(told.update([GOOD], 1)) == ["resolved"]
    assert quiet.update([GOOD], 1) == []
    assert len(quiet.history()) == 1


def test_a_silenced_alert_that_somebody_acknowledged_is_not_told_later() -> None:
    book = AlertBook()
    book.silence(100)
    book.update([BAD], 0)
    book.acknowledge(book.active()[0].alert_id, "ops", 1)
    assert book.update([BAD], 200) == []


def test_a_silence_can_be_lifted() -> None:
    book = AlertBook()
    silence = book.silence(100, by="ops")
    book.update([BAD], 0)
    assert book.silences() == [silence]
    book.lift(silence.silence_id)
    assert states(book.take(1)) == ["firing"]
    with pytest.raises(UnknownAlertError, match="no silence has the id 1"):
        book.lift(silence.silence_id)


def test_an_unknown_id_is_refused_with_those_that_are_known() -> None:
    book = AlertBook()
    book.update([BAD], 0)
    said = r"'x'.*latency_exceeded:/evaluate:1"
    with pytest.raises(UnknownAlertError, match=said):
        book.resolve("x", 1)
    with pytest.raises(UnknownAlertError, match=said):
        book.acknowledge("x", "ops", 1)
    with pytest.raises(UnknownAlertError, match=said):
        book.by_id("x")


# -- bounds and bad values


def test_the_history_is_bounded() -> None:
    book = AlertBook(resolve_seconds=0, keep=3)
    for at in range(10):
        book.update([BAD], 2 * at)
        book.update([GOOD], 2 * at + 1)
    assert [alert.fired_at for alert in book.history()] == [14, 16, 18]


def test_critical_ones_come_first_then_the_oldest() -> None:
    book = AlertBook()
    book.update([condition(flow_name="old")], 0)
    urgent = condition(flow_name="urgent", severity=Severity.CRITICAL)
    book.update([condition(flow_name="new"), urgent], 1)
    assert [alert.flow_name for alert in book.active()] == ["urgent", "old", "new"]


def test_at_one_instant_the_order_is_that_of_type_flow_and_rule() -> None:
    book = AlertBook(pending_seconds={AlertType.LATENCY_EXCEEDED: 10})
    slow = [condition(flow_name="b"), condition(flow_name="a", rule="2"), condition(flow_name="a")]
    book.update(slow, 0)
    assert [(alert.flow_name, alert.rule) for alert in book.pending()] == [
        ("a", ""),
        ("a", "2"),
        ("b", ""),
    ]
    # By when it fired, and not by when it was pending.
    early = condition(flow_name="0", alert_type=AlertType.FAULT_RECOVERY)
    book.update([*slow, early], 5)
    burning = condition(alert_type=AlertType.BURN_RATE, flow_name="z")
    book.update([*slow, early, burning], 10)
    assert [alert.flow_name for alert in book.active()] == ["0", "z", "a", "a", "b"]


@pytest.mark.parametrize("value", [True, None, "1"])
def test_what_is_no_number_of_seconds_is_refused(value: Any) -> None:
    with pytest.raises(TypeError, match=r"quiet_seconds is .* must be a number of seconds"):
        AlertBook(quiet_seconds=value)


def test_an_instant_before_one_already_seen_counts_as_that_one() -> None:
    book = AlertBook()
    book.update([], 100)
    (alert,) = book.update([BAD], 50)
    assert alert.fired_at == 100


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"pending_seconds": -1}, "pending_seconds is -1"),
        ({"resolve_seconds": float("nan")}, "resolve_seconds is nan"),
        ({"resolve_seconds": {"burn_rate": -2}}, r"resolve_seconds\[burn_rate\] is -2"),
        ({"pending_seconds": {"typo": 1}}, "pending_seconds has 'typo'; valid are contract_v"),
    ],
)
def test_a_wrong_duration_is_refused(options: Any, error: str) -> None:
    with pytest.raises(ValueError, match=error):
        AlertBook(**options)
    with pytest.raises(TypeError, match="stale_seconds is '1'"):
        AlertBook(stale_seconds="1")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="alert_type has 'typo'; valid are contract_violation, "):
        AlertBook().silence(1, alert_type="typo")  # type: ignore[arg-type]


def test_every_type_has_steps_and_contract_violations_have_the_documented_ones() -> None:
    for alert_type in AlertType:
        assert len(look_at(alert_type)) >= 4
        assert all(step == step.strip() and "\n" not in step for step in look_at(alert_type))
    words = " ".join(look_at(AlertType.CONTRACT_VIOLATION)).lower()
    for word in ("violation's details", "trace", "logs", "baseline version", "re-deploy"):
        assert word in words


# -- laws

KEYS = [("a", ""), ("a", "1h"), ("b", "")]

measured = st.builds(
    lambda key, kind: replace(kind, flow_name=key[0], rule=key[1]),
    st.sampled_from(KEYS),
    st.sampled_from([BAD, BAD, BETTER, GOOD, GOOD, NOTHING]),
)
updates = st.tuples(st.just("update"), st.lists(measured, max_size=5))
acts = st.one_of(
    updates,
    updates,
    st.tuples(st.sampled_from(["resolve", "acknowledge", "silence"]), st.integers(0, 2)),
)
steps = st.lists(st.tuples(st.sampled_from([0.0, 1.0, 7.0, 40.0, 200.0]), acts), max_size=40)
options = st.fixed_dictionaries(
    {
        "pending_seconds": st.sampled_from([0.0, 5.0]),
        "resolve_seconds": st.sampled_from([0.0, 10.0]),
        "stale_seconds": st.just(150.0),
        "quiet_seconds": st.sampled_from([0.0, 100.0]),
    }
)


def live(book: AlertBook, story: Any, *, backwards: bool = False) -> tuple[list[Alert], list[Any]]:
    """What is told, and after every step the active alerts."""
    now, told, active = 0.0, [], []
    for seconds, (act, what) in story:
        now += seconds
        firing = book.active(now)
        if act == "update":
            told += book.update(list(reversed(what)) if backwards else what, now)
        elif act == "silence":
            book.silence(now + 30, flow_name=KEYS[what][0])
        elif firing:
            alert_id = firing[what % len(firing)].alert_id
            if act == "resolve":
                book.resolve(alert_id, now)
            else:
                book.acknowledge(alert_id, "ops", now)
            told += book.take(now)
        active.append(book.active(now))
    return told, active


def key(alert: Alert) -> tuple[str, str, str]:
    return alert.alert_type, alert.flow_name, alert.rule


@given(steps, options)
def test_each_key_has_one_active_alert_at_most_and_firing_alternates_with_resolved(
    story: Any, chosen: Any
) -> None:
    book = AlertBook(**chosen)
    told, active = live(book, story)
    for present in active:
        assert len({key(alert) for alert in present}) == len(present)
    for flow_name, rule in KEYS:
        mine = [alert for alert in told if (alert.flow_name, alert.rule) == (flow_name, rule)]
        assert states(mine) == (["firing", "resolved"] * len(mine))[: len(mine)]
        for fired, resolved in itertools.pairwise(mine):
            if fired.state is FIRING:
                assert fired.alert_id == resolved.alert_id
    once = [(alert.alert_id, alert.state) for alert in told]
    assert len(set(once)) == len(once)


@given(steps, options)
def test_what_fired_is_active_or_resolved_after_it_and_ids_are_never_used_again(
    story: Any, chosen: Any
) -> None:
    book = AlertBook(**chosen)
    told, _ = live(book, story)
    ids = [alert.alert_id for alert in (*book.history(), *book.active())]
    assert len(set(ids)) == len(ids)
    assert {alert.alert_id for alert in told} <= set(ids)
    for alert in book.history():
        assert alert.fired_at is not None
        assert alert.resolved_at is not None
        assert alert.pending_since <= alert.fired_at <= alert.resolved_at
        assert alert.fired_at - alert.pending_since >= chosen["pending_seconds"]


@given(steps, options)
def test_the_order_of_conditions_within_an_update_does_not_matter(story: Any, chosen: Any) -> None:
    assert live(AlertBook(**chosen), story) == live(AlertBook(**chosen), story, backwards=True)


@given(st.lists(st.sampled_from([BAD, BETTER, NOTHING]), max_size=30))
def test_nothing_but_a_clear_condition_ends_what_fires(conditions: list[Condition]) -> None:
    book = AlertBook()
    book.update([BAD], 0)
    told = [book.update([one], at + 1) for at, one in enumerate(conditions)]
    assert not any(told)
    assert len(book.active()) == 1
