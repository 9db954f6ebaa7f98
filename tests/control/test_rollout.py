"""The state machine: what follows from what, and the laws that hold for any history."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate, pairwise
from math import inf
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canario.control.events import (
    Aborted,
    Checked,
    Event,
    Held,
    Paused,
    Promoted,
    Restarted,
    Resumed,
    RollbackReason,
    RolledBack,
    StageEntered,
    Started,
    Unwatched,
)
from canario.control.journal import JournalError, Watched, dump_journal, parse_journal
from canario.control.machine import Command, CommandRefusedError, next_due
from canario.control.rollout import Outcome, Rollout
from canario.control.state import Phase, State, apply, replay
from canario.control.violation import Violation
from canario.control.words import describe
from canario.judges.verdict import VerdictKind
from canario.metrics.counts import Counts
from canario.plan import Deployment, MissingEvidence, RollbackThresholds, Stage

SHORT = Deployment(
    deployment_id="short",
    canary_stages=(Stage(5, 20), Stage(50, 12.5), Stage(100, 7)),
    rollback_thresholds=RollbackThresholds(metric_window_seconds=10, min_samples=3),
)


def run(rollout: Rollout, until: float, **rates: Any) -> list[Event]:
    """Feed one canary request every half second, good and quick unless told otherwise."""
    bad: Callable[[float], bool] = rates.get("bad", lambda now: False)
    latency: Callable[[float], float] = rates.get("latency", lambda now: 50.0)
    events = []
    now = rollout._cursor
    while now + 0.5 <= until:
        now += 0.5
        outcome = Outcome.BAD if bad(now) else Outcome.GOOD
        events += rollout.observe(now, "canary", outcome, latency(now))
    return events + rollout.advance(until)


def started(deployment: Deployment = SHORT, now: float = 0.0) -> Rollout:
    rollout = Rollout(deployment)
    rollout.start(now)
    return rollout


def kinds(events: list[Event]) -> list[type]:
    return [type(event) for event in events]


def test_a_healthy_canary_goes_through_every_stage() -> None:
    rollout = Rollout(SHORT)
    events = rollout.start(100.0) + run(rollout, 200.0)
    entered = [(e.at, e.percentage) for e in events if isinstance(e, StageEntered)]
    assert entered == [(100, 5), (120, 50), (132.5, 100)]
    assert events[-1] == Promoted(at=139.5)
    assert (rollout.state.phase, rollout.state.share) == (Phase.COMPLETED, 100)
    assert rollout.due == inf


def test_errors_roll_back_at_the_next_check() -> None:
    rollout = started()
    events = run(rollout, 60, bad=lambda now: now > 11)
    end = events[-1]
    assert isinstance(end, RolledBack)
    assert (end.at, end.reason, end.stage) == (15, RollbackReason.ERROR_RATE, 0)
    # 5 s to 15 s lie in the window: 20 requests, of which those at 11.5 … 14.5 failed.
    assert (end.verdict.samples, end.verdict.observed, end.verdict.limit) == (20, 35, 10)
    assert rollout.state.share == 0


def test_latency_rolls_back() -> None:
    end = run(started(), 60, latency=lambda now: 500.001 if now > 21 else 500)[-1]
    assert isinstance(end, RolledBack)
    assert (end.at, end.reason, end.stage) == (25, RollbackReason.P95_LATENCY, 1)


def test_a_violation_rolls_back_at_its_own_instant_without_samples() -> None:
    rollout = started()
    rollout.observe(1.234, "canary", Outcome.GOOD, 10)
    events = rollout.violate(1.234, "canary", Violation(message="/evaluate: no score"))
    assert kinds(events) == [Checked, RolledBack]
    end = events[-1]
    assert isinstance(end, RolledBack)
    assert (end.at, end.reason) == (1.234, RollbackReason.CONTRACT_VIOLATION)
    assert str(end.violation) == "/evaluate: no score"
    assert (end.verdict.samples, end.verdict.observed) == (1, 1)
    assert rollout.violate(2.0, "canary", Violation(message="again")) == []


def test_a_violation_of_the_baseline_rolls_nothing_back() -> None:
    rollout = started()
    assert rollout.violate(1.0, "baseline", Violation(message="x")) == []
    assert isinstance(run(rollout, 100)[-1], Promoted)


def test_a_stage_shorter_than_the_check_interval_is_judged_at_its_end() -> None:
    deployment = Deployment(
        canary_stages=(Stage(5, 0.4), Stage(100, 0.4)),
        rollback_thresholds=RollbackThresholds(min_samples=3),
    )
    rollout = started(deployment)
    for _ in range(3):
        rollout.observe(0.1, "canary", Outcome.BAD, 10)
    end = rollout.advance(10)[-1]
    assert isinstance(end, RolledBack)
    assert end.at == 0.4


def test_a_stage_without_evidence_is_held_until_it_comes() -> None:
    rollout = started()
    events = rollout.advance(10_000)
    assert [e for e in events if isinstance(e, Held)] == [Held(at=20, stage=0, samples=0, needed=3)]
    assert (rollout.state.phase, rollout.state.share) == (Phase.RUNNING, 5)
    for now in (10_001.0, 10_500.0):  # far apart: never three in one window
        assert not rollout.observe(now, "canary", Outcome.GOOD, 10)
    assert rollout.observe(11_000.0, "canary", Outcome.GOOD, 10) == []
    events = rollout.advance(11_005)
    assert events[-1] == StageEntered(at=11_005, stage=1, percentage=50)


def test_what_comes_late_is_judged_too() -> None:
    rollout = started()
    rollout.advance(10_000)
    for now in (10_001.0, 10_500.0, 11_000.0):
        rollout.observe(now, "canary", Outcome.BAD, 10)
    end = rollout.advance(11_005)[-1]
    assert isinstance(end, RolledBack)
    assert end.reason is RollbackReason.ERROR_RATE


@pytest.mark.parametrize(
    ("then", "seconds", "last"),
    [
        ("rollback", 33, RolledBack),
        ("pause", 33, Paused),
        ("advance", 33, StageEntered),
        ("rollback", 0, RolledBack),
        ("pause", 0, Paused),
        ("advance", 0, StageEntered),
    ],
)
def test_at_the_deadline_for_evidence(then: Any, seconds: float, last: type) -> None:
    missing = MissingEvidence(deadline_seconds=seconds, then=then)
    deployment = Deployment(
        canary_stages=(Stage(5, 20), Stage(100, 1000)), missing_evidence=missing
    )
    rollout = started(deployment)
    events = rollout.advance(20 + seconds)
    assert type(events[-1]) is last
    assert events[-1].at == 20 + seconds
    if isinstance(events[-1], RolledBack):
        assert events[-1].reason is RollbackReason.MISSING_EVIDENCE
        assert events[-1].verdict.kind is VerdictKind.INSUFFICIENT
    elif isinstance(events[-1], Paused | StageEntered):
        assert events[-1].by == "deadline"


def test_after_a_pause_at_the_deadline_the_wait_begins_anew() -> None:
    missing = MissingEvidence(deadline_seconds=30, then="pause")
    rollout = started(Deployment(canary_stages=(Stage(5, 20),), missing_evidence=missing))
    rollout.advance(1000)
    assert rollout.state.phase is Phase.PAUSED
    rollout.command(Command.RESUME, 2000)
    assert rollout.advance(2029) == []
    assert rollout.advance(2031)[-1:] == [Paused(at=2030, stage=0, by="deadline")]


def test_a_pause_stops_the_hold_and_not_the_guard() -> None:
    rollout = started()
    run(rollout, 10)
    rollout.command(Command.PAUSE, 10)
    assert not [e for e in run(rollout, 500) if isinstance(e, StageEntered)]
    rollout.command(Command.RESUME, 500)
    events = run(rollout, 515)
    assert [e.at for e in events if isinstance(e, StageEntered)] == [510]
    rollout.command(Command.PAUSE, 515)
    assert isinstance(run(rollout, 600, bad=lambda now: True)[-1], RolledBack)


def test_operator_commands() -> None:
    rollout = started()
    assert rollout.command(Command.SKIP, 1)[-1] == StageEntered(
        at=1, stage=1, percentage=50, by="operator"
    )
    assert kinds(rollout.command(Command.RESTART, 2)) == [Restarted, StageEntered]
    assert (rollout.state.stage, rollout.state.share) == (0, 5)
    assert rollout.command(Command.PROMOTE, 3) == [Promoted(at=3, by="operator")]
    rollout = started(Deployment(canary_stages=(Stage(5, 20),)))
    assert rollout.command(Command.SKIP, 1) == [Promoted(at=1, by="operator")]


def test_a_restart_forgets_what_was_counted() -> None:
    rollout = started()
    rollout.observe(1, "canary", Outcome.BAD, 10)
    rollout.command(Command.RESTART, 2)
    assert rollout.recorder.canary.window.counts(2) == rollout.recorder.stage() == Counts()


def test_a_command_that_cannot_be_obeyed_says_which_can() -> None:
    rollout = started()
    with pytest.raises(CommandRefusedError, match="running; valid: promote, pause, skip, abort"):
        rollout.command(Command.RESUME, 1)
    with pytest.raises(CommandRefusedError, match="pending; valid: abort"):
        Rollout(SHORT).command(Command.PAUSE, 1)
    rollout.command(Command.PROMOTE, 2)
    with pytest.raises(CommandRefusedError, match="completed; valid: abort"):
        rollout.command(Command.PAUSE, 3)
    rollout.command(Command.ABORT, 3)
    with pytest.raises(CommandRefusedError, match="aborted; valid: none"):
        rollout.command(Command.PAUSE, 3)


def test_an_abort_after_the_promotion_takes_the_release_back() -> None:
    rollout = started()
    rollout.command(Command.PROMOTE, 1)
    assert rollout.command(Command.ABORT, 2) == [Aborted(at=2, stage=0)]
    assert (rollout.state.phase, rollout.state.share) == (Phase.ABORTED, 0)
    assert rollout.command(Command.ABORT, 3) == []


def test_an_abort_precedes_a_promotion_that_was_due() -> None:
    rollout = started(Deployment(canary_stages=(Stage(5, 20),)))
    for _ in range(20):
        rollout.observe(19, "canary", Outcome.GOOD, 10)
    assert rollout.command(Command.ABORT, 20) == [Aborted(at=20, stage=0)]
    assert rollout.command(Command.ABORT, 21) == []


# -- laws

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("observe"),
            st.floats(0, 3),
            st.sampled_from(["baseline", "canary"]),
            st.sampled_from(
                [Outcome.GOOD, Outcome.GOOD, Outcome.GOOD, Outcome.BAD, Outcome.NEUTRAL]
            ),
            st.sampled_from([None, 10.0, 10.0, 10.0, 900.0]),
        ),
        st.tuples(st.just("advance"), st.floats(0, 15)),
        st.tuples(st.just("command"), st.floats(0, 3), st.sampled_from(Command)),
        st.tuples(st.just("violate"), st.floats(0, 3), st.just("baseline")),
    ),
    max_size=80,
)
PLANS = st.builds(
    Deployment,
    deployment_id=st.just("any"),
    canary_stages=st.sampled_from(
        [SHORT.canary_stages, (Stage(1, 0), Stage(100, 3.3)), (Stage(20, 11),)]
    ),
    rollback_thresholds=st.builds(
        RollbackThresholds,
        metric_window_seconds=st.sampled_from([10.0, 7.0]),
        min_samples=st.integers(1, 4),
        check_interval_seconds=st.sampled_from([5.0, 0.7]),
    ),
    missing_evidence=st.sampled_from(
        [
            MissingEvidence(),
            MissingEvidence(deadline_seconds=4, then="rollback"),
            MissingEvidence(deadline_seconds=4, then="pause"),
            MissingEvidence(deadline_seconds=0, then="advance"),
        ]
    ),
)


def drive(rollout: Rollout, steps: list[Any], *, every: float | None = None) -> list[Event]:
    """Take the steps; with `every`, let somebody call `advance` that often in between."""
    now = 1000.0
    events = rollout.start(now)
    for kind, gap, *rest in steps:
        until = now + gap
        while every and now + every < until:
            now += every
            events += rollout.advance(now)
        now = until
        if kind == "observe":
            events += rollout.observe(now, *rest)
        elif kind == "violate":
            events += rollout.violate(now, rest[0], Violation(message="broken"))
        elif kind == "advance":
            events += rollout.advance(now)
        else:
            if rest[0] is not Command.ABORT:
                events += rollout.advance(now)
            try:
                events += rollout.command(rest[0], now)
            except CommandRefusedError:
                continue
    return events


@given(PLANS, STEPS)
def test_replaying_the_journal_gives_the_state(plan: Deployment, steps: list[Any]) -> None:
    rollout = Rollout(plan)
    events = drive(rollout, steps)
    assert replay(plan, events) == rollout.state
    journal = parse_journal(dump_journal(events))
    assert list(journal.events) == events
    assert replay(plan, journal.events) == rollout.state


@given(PLANS, STEPS, st.floats(0.05, 20))
def test_it_does_not_matter_who_drives_it_or_how_often(
    plan: Deployment, steps: list[Any], every: float
) -> None:
    """An abort is not waited for: nothing precedes it, so it is left out here."""
    steps = [step for step in steps if step[-1] is not Command.ABORT]
    seldom, often = Rollout(plan), Rollout(plan)
    assert drive(seldom, steps) == drive(often, steps, every=every)
    assert seldom.state == often.state


@given(PLANS, STEPS)
def test_nothing_follows_a_terminal_event_and_instants_never_go_back(
    plan: Deployment, steps: list[Any]
) -> None:
    events = drive(Rollout(plan), steps)
    assert isinstance(events[0], Started)
    ends = [event for event in events if event.terminal]
    assert events[len(events) - len(ends) :] == ends
    # An operator may take a finished release back, and nothing else follows an end.
    assert len(ends) <= 1 or kinds(ends) == [Promoted, Aborted]
    assert [e.at for e in events] == sorted(e.at for e in events)


@given(PLANS, STEPS)
def test_an_abort_wins_in_every_state(plan: Deployment, steps: list[Any]) -> None:
    rollout = Rollout(plan)
    drive(rollout, steps)
    rollout.command(Command.ABORT, rollout._cursor)
    assert rollout.state.phase.withdrawn
    assert rollout.state.share == 0


def test_an_abort_wins_before_the_start() -> None:
    rollout = Rollout(SHORT)
    assert rollout.command(Command.ABORT, 5) == [Aborted(at=5, stage=0)]
    assert rollout.start(6) == []


@given(PLANS, STEPS)
def test_the_share_only_falls_when_the_canary_is_withdrawn_or_restarted(
    plan: Deployment, steps: list[Any]
) -> None:
    state = State()
    for event in drive(Rollout(plan), steps):
        after = apply(plan, state, event)
        if after.share < state.share:
            assert isinstance(event, RolledBack | Aborted | Restarted)
        state = after


@given(PLANS, st.floats(0, 1e4))
def test_the_next_instant_is_always_later(plan: Deployment, after: float) -> None:
    rollout = started(plan, 1e9)
    assert next_due(plan, rollout.state, 1e9 + after) > 1e9 + after


@pytest.mark.parametrize("interval", [0.7, 2.5, 5.0])
@pytest.mark.parametrize("entered", [0.1, 0.7, 3.3, 1003.7])
def test_from_check_to_check_the_grid_goes_on_by_one_interval(
    entered: float, interval: float
) -> None:
    """Also where the division says that the present check is still to come."""
    thresholds = RollbackThresholds(check_interval_seconds=interval)
    plan = Deployment(canary_stages=(Stage(5, 1e4),), rollback_thresholds=thresholds)
    state = started(plan, entered).state
    grid = [entered + k * interval for k in range(1, 41)]
    assert [next_due(plan, state, at) for at in grid[:-1]] == grid[1:]


ENTERED: list[Event] = [Started(at=0, deployment=SHORT), StageEntered(at=0, stage=0, percentage=5)]


@pytest.mark.parametrize(
    "events",
    [
        [Aborted(at=1, stage=0), Aborted(at=2, stage=0)],
        [Promoted(at=1)],
        [Resumed(at=1, stage=0)],
        [ENTERED[1]],
        [ENTERED[0], ENTERED[0]],
        [ENTERED[0], StageEntered(at=0, stage=1, percentage=50)],
        [ENTERED[0], Promoted(at=1)],
        [*ENTERED, ENTERED[0]],
        [*ENTERED, StageEntered(at=1, stage=0, percentage=5)],
        [*ENTERED, StageEntered(at=1, stage=2, percentage=100)],
        [*ENTERED, StageEntered(at=1, stage=99, percentage=100)],
        [*ENTERED, StageEntered(at=1, stage=-1, percentage=100)],
        [*ENTERED, StageEntered(at=1, stage=1, percentage=100)],
        [*ENTERED, StageEntered(at=-1, stage=1, percentage=50)],
        [*ENTERED, Held(at=1, stage=1, samples=0, needed=3)],
        [*ENTERED, Resumed(at=1, stage=0)],
        [*ENTERED, Paused(at=1, stage=0), Paused(at=2, stage=0)],
        [*ENTERED, Unwatched(at=1, stage=1, since=1)],
        [*ENTERED, Paused(at=5, stage=0), Unwatched(at=9, stage=0, since=4)],
        [*ENTERED, Promoted(at=1), Restarted(at=2)],
        [*ENTERED, Promoted(at=1), Unwatched(at=2, stage=0, since=1)],
    ],
)
def test_events_that_cannot_follow_are_refused_and_change_nothing(events: list[Event]) -> None:
    with pytest.raises(JournalError):
        replay(SHORT, events)
    rollout = Rollout(SHORT)
    with pytest.raises(JournalError):
        rollout.restore(events, 10)
    assert rollout.state == State()
    assert rollout.due == inf


# -- the journal


@settings(max_examples=30)
@given(PLANS, STEPS, st.data())
def test_a_journal_cut_anywhere_is_read_up_to_its_last_whole_event(
    plan: Deployment, steps: list[Any], data: st.DataObject
) -> None:
    events = drive(Rollout(plan), steps)
    raw = dump_journal(events)
    cut = raw[: data.draw(st.integers(0, len(raw)))]
    journal = parse_journal(cut)
    ends = accumulate(len(line) + 1 for line in raw.splitlines())
    whole = sum(end - 1 <= len(cut) for end in ends)  # one that lacks but its line feed is whole
    assert list(journal.events) == events[:whole]
    assert cut[journal.whole_bytes :] == journal.truncated
    assert dump_journal(events[:whole]).startswith(cut[: journal.whole_bytes])
    replay(plan, journal.events)


def test_a_line_that_is_no_event_is_named() -> None:
    raw = dump_journal([Promoted(at=1)])
    with pytest.raises(JournalError, match="line 2"):
        parse_journal(raw + b'{"event":"nonsense"}\n')
    with pytest.raises(JournalError, match="line 1"):
        parse_journal(b"\n")


ENDLESS = b'{"event":"started","at":1,"deployment":' + b"[" * 100_000


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"promoted","at":-1e308}',
        b'{"event":"promoted","at":1e400}',
        b'{"event":"promoted","at":NaN}',
        b'{"event":"promoted","at":"1"}',
        b'{"event":"promoted"}',
        b'{"event":"stage_entered","at":1,"stage":-1,"percentage":5}',
        b'{"event":"stage_entered","at":1,"stage":1e99,"percentage":5}',
        b'{"event":"watched","at":1e12,"pid":1}',
        b'{"event":"promoted","at":1,"by":"\xff"}',
        b"\xff\xfe{\x00",
        b"ts,arm,outcome",
        b"[]",
        b'{"event":"resu{"event":"resumed","at":1,"stage":0}',
        ENDLESS,
    ],
)
def test_lines_of_other_tools_and_wrong_values_are_refused(line: bytes) -> None:
    with pytest.raises(JournalError, match="line 1"):
        parse_journal(line + b"\n")


@pytest.mark.parametrize("rest", [b"ts,arm,outcome", b'{"at":', b"\xff", b"x\0\0"])
def test_a_last_line_that_never_was_one_is_not_taken_for_one_that_was_cut_off(rest: bytes) -> None:
    """A file of another tool, given by mistake, must not be cut to nothing."""
    with pytest.raises(JournalError, match="line 2"):
        parse_journal(dump_journal([Promoted(at=1)]) + rest)


def test_bytes_that_a_file_system_did_not_keep_are_a_cut_off_line() -> None:
    whole = dump_journal([Promoted(at=1)])
    for rest in (b"\0" * 9, b'{"event":"abo\0\0'):
        assert parse_journal(whole + rest).truncated == rest


def test_notes_are_no_events_and_tell_until_when_it_was_watched() -> None:
    raw = dump_journal([*ENTERED, Watched(at=15, pid=7)])
    journal = parse_journal(raw)
    assert list(journal.events) == ENTERED
    assert (journal.watched, journal.pid) == (15, 7)
    later = parse_journal(raw + dump_journal([Paused(at=17, stage=0)]))
    assert (later.watched, later.pid) == (17, 7)


# -- what nobody watched


def test_a_hold_goes_on_where_it_stood_when_it_was_last_watched() -> None:
    """Whatever the date of the host says: a minute, an hour, a year later, or before."""
    for away in (0.5, 3600, 3e7, -8, -1e6):
        first = started(now=1e6)
        run(first, 1e6 + 12)
        rollout = Rollout(SHORT)
        now = 1e6 + 12 + away
        rollout.restore(
            [Started(at=1e6, deployment=SHORT), StageEntered(at=1e6, stage=0, percentage=5)],
            now,
            since=1e6 + 12,
        )
        entered = [e.at for e in run(rollout, now + 30) if isinstance(e, StageEntered)]
        assert entered[0] == pytest.approx(now + 8)


def test_a_wait_and_a_pause_go_on_too() -> None:
    missing = MissingEvidence(deadline_seconds=30, then="rollback")
    deployment = Deployment(canary_stages=(Stage(5, 20),), missing_evidence=missing)
    first = started(deployment)
    past = [Started(at=0, deployment=deployment), ENTERED[1], *first.advance(35)]
    rollout = Rollout(deployment)
    rollout.restore(past, 1000, since=35)
    assert rollout.advance(1014.9) == []
    assert rollout.advance(1015)[-1].at == 1015
    first = started()
    run(first, 5)
    past = [*ENTERED, *first.command(Command.PAUSE, 5)]
    rollout = Rollout(SHORT)
    rollout.restore(past, 1000, since=8)
    rollout.command(Command.RESUME, 1003)
    assert rollout.state.ends_at == 1003 + 15


def test_what_is_late_is_one_check_at_the_present_instant() -> None:
    rollout = started()
    run(rollout, 12)
    events = rollout.unwatched(12, 612)
    assert kinds(events) == [Unwatched, Checked]
    assert {event.at for event in events} == {612}
    assert isinstance(events[-1], Checked)
    assert events[-1].verdict.kind is VerdictKind.INSUFFICIENT  # what had been seen is old
    assert (rollout.state.ends_at, rollout.due) == (620, 615)
    assert len(rollout.history) == 3


def test_what_was_due_before_nobody_watched_is_as_ever() -> None:
    rollout = started()
    rollout.observe(1, "canary", Outcome.BAD, 10)
    rollout.observe(2, "canary", Outcome.BAD, 10)
    rollout.observe(3, "canary", Outcome.BAD, 10)
    events = rollout.unwatched(6, 700)
    assert isinstance(events[-1], RolledBack)
    assert events[-1].at == 5


@given(PLANS, STEPS, st.lists(st.tuples(st.integers(0, 79), st.floats(0, 1e5)), max_size=4))
def test_a_stage_is_served_by_what_was_watched_alone(
    plan: Deployment, steps: list[Any], gaps: list[tuple[int, float]]
) -> None:
    rollout = Rollout(plan)
    events = rollout.start(1000.0)
    now, lost = 1000.0, 0.0
    lost_at: list[tuple[float, float]] = []
    for number, (kind, gap, *rest) in enumerate(steps):
        for _, away in (each for each in gaps if each[0] == number):
            events += rollout.unwatched(now, now + away)
            now, lost = now + away, lost + away
            lost_at.append((now, away))
        now += gap
        if kind == "observe":
            events += rollout.observe(now, *rest)
    assert replay(plan, events) == rollout.state
    entered = [event for event in events if isinstance(event, StageEntered)]
    for one, after in pairwise(entered):
        if after.by != "evidence":
            continue
        away = sum(seconds for at, seconds in lost_at if one.at < at <= after.at)
        hold = plan.canary_stages[one.stage].hold_seconds
        assert after.at - one.at - away >= hold - 1e-6


def test_a_restored_rollout_is_not_judged_before_its_next_check() -> None:
    """And its stage gathers samples anew, since what was counted died with the process."""
    first = Rollout(SHORT)
    past = first.start(0) + run(first, 12)
    rollout = Rollout(SHORT)
    assert rollout.restore(past, 3600, since=12) == [
        Unwatched(at=3600, stage=0, since=12, restart=True)
    ]
    assert rollout.due == 3603
    assert kinds(rollout.advance(3608)) == [Checked, Checked, Held]


@pytest.mark.parametrize("cut", range(1, 6))
def test_a_decision_that_a_crash_cut_in_two_is_completed(cut: int) -> None:
    whole = started()
    events: list[Event] = [
        Started(at=0, deployment=SHORT),
        StageEntered(at=0, stage=0, percentage=5),
    ]
    whole.observe(1, "canary", Outcome.GOOD, 1)
    events += whole.violate(1, "canary", Violation(message="x"))
    rollout = Rollout(SHORT)
    missing = rollout.restore(events[:cut], 50)
    if cut == 1:
        assert kinds(missing) == [StageEntered]
        assert rollout.state.share == 5
    elif cut == 3:
        assert kinds(missing) == [RolledBack]
        assert rollout.state.phase is Phase.ROLLED_BACK
    else:
        assert kinds(missing) == ([Unwatched] if cut == 2 else [])


def test_every_event_has_words() -> None:
    rollout = started()
    run(rollout, 30)
    rollout.command(Command.PAUSE, 30)
    rollout.command(Command.RESUME, 31)
    rollout.command(Command.RESTART, 32)
    verdict = run(started(), 60, bad=lambda now: True)[-1]
    events: list[Event] = [
        Started(at=0, deployment=SHORT),
        StageEntered(at=0, stage=1, percentage=50, by="deadline"),
        Held(at=1, stage=0, samples=1, needed=3),
        Paused(at=1, stage=0),
        Resumed(at=1, stage=0),
        Restarted(at=1),
        Unwatched(at=601, stage=0, since=1),
        Unwatched(at=1, stage=0, since=601, restart=True),
        Promoted(at=1, by="operator"),
        Aborted(at=1, stage=0),
        verdict,
    ]
    said = [describe(event, SHORT) for event in events]
    assert said[0] == "rollout of short started"
    assert said[1] == "stage canary_50 entered at the deadline: 50 % of the keys for 12.5 s"
    assert said[-1].startswith("rolled back, error_rate: ")
    assert len(set(said)) == len(said)


def test_a_failed_request_that_is_not_timed_is_an_error() -> None:
    """HEAD, OPTIONS and health checks have no latency, and fail like others."""
    rollout = Rollout(Deployment(deployment_id="release"))
    rollout.start(0.0)
    for outcome in (Outcome.BAD, Outcome.GOOD, Outcome.BAD):
        rollout.observe(1.0, "canary", outcome, None)
    counts = rollout.recorder.canary.window.counts(1.0)
    assert (counts.requests, counts.errors, counts.timed) == (3, 2, 0)
