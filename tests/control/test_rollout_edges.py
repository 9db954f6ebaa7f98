"""A rollout at its edges: instants that meet, what is counted where, and what a judge is shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any

import pytest
from msgspec.structs import replace
from tests.control.test_open_requests import Waiting

from canario.control import machine
from canario.control import rollout as module
from canario.control.events import (
    Checked,
    Event,
    Held,
    Paused,
    Promoted,
    RolledBack,
    StageEntered,
    Started,
    Unwatched,
)
from canario.control.machine import Command
from canario.control.open_requests import OpenRequests
from canario.control.rollout import ArmSnapshot, Outcome, Rollout, refuse_no_observation
from canario.control.state import JournalError, Phase, State, apply, replay
from canario.control.violation import Violation
from canario.judges.verdict import Evidence, Verdict, VerdictKind
from canario.limits import LATEST, LONGEST_MS, MOST
from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight, Seen, SeenOfArm
from canario.plan import Deployment, MissingEvidence, RollbackThresholds, Stage
from canario.routing.router import Arm

GOOD, BAD, NEUTRAL = Outcome.GOOD, Outcome.BAD, Outcome.NEUTRAL


def verdict(kind: VerdictKind = VerdictKind.HEALTHY, contract: str | None = None) -> Verdict:
    return Verdict(kind=kind, samples=3, needed=1, why="so", contract=contract)


@dataclass
class Noting:
    """A judge that says what it is told to, and notes what it is shown."""

    says: list[Verdict] = field(default_factory=list)
    breaks: list[Verdict | None] = field(default_factory=list)
    begun: int = 0
    shown: list[tuple[str, Evidence]] = field(default_factory=list)

    def begin(self) -> None:
        self.begun += 1

    def broken(self, evidence: Evidence) -> Verdict | None:
        self.shown.append(("broken", evidence))
        return self.breaks.pop(0) if self.breaks else None

    def check(self, evidence: Evidence) -> Verdict:
        self.shown.append(("check", evidence))
        return self.says.pop(0) if self.says else verdict()

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        self.shown.append(("end", evidence))
        return self.says.pop(0) if self.says else verdict()


PLAN = Deployment(
    deployment_id="edges",
    canary_stages=(Stage(5, 20), Stage(50, 12.5)),
    rollback_thresholds=RollbackThresholds(
        metric_window_seconds=10, min_samples=1, contract_budgets={"loose": 50.0}
    ),
)


def begun(*says: Verdict, flights: Any = None) -> tuple[Rollout, Noting]:
    judge = Noting(list(says))
    rollout = Rollout(PLAN, judge, flights)
    rollout.start(0.0)
    return rollout, judge


def counted(rollout: Rollout, arm: Arm, at: float) -> Counts:
    return rollout.recorder.arm(arm).window.counts(at)


# -- instants


def test_an_instant_before_one_already_seen_counts_as_that_one() -> None:
    rollout, _ = begun()
    assert [rollout.counts_at(at) for at in (-1.0, 0.0, 3.0)] == [0.0, 0.0, 3.0]
    rollout.advance(4.0)
    rollout.advance(2.0)
    assert [rollout.counts_at(at) for at in (3.0, 4.0, 4.5)] == [4.0, 4.0, 4.5]
    rollout.observe(1.0, "canary", GOOD, 1.0)
    rollout.observe_counts(1.0, "baseline", Counts(requests=1))
    rollout.violate(1.0, "baseline", Violation(message="x", contract="loose"))
    # Of the window that holds (4 − 10, 4], at 13.9 nothing has left it.
    assert counted(rollout, "canary", 13.9).requests == 1
    assert counted(rollout, "baseline", 13.9) == Counts(requests=1, violations=1)
    assert rollout.command(Command.PAUSE, 1.0) == [Paused(at=4.0, stage=0)]


def test_a_check_comes_before_what_comes_at_its_instant() -> None:
    rollout, judge = begun()
    calls: tuple[Callable[[float], object], ...] = (
        lambda at: rollout.observe(at, "canary", GOOD, 1.0),
        lambda at: rollout.observe_counts(at, "canary", Counts(requests=1)),
        lambda at: rollout.violate(at, "canary", Violation(message="x", contract="loose")),
    )
    for call in calls:
        judge.shown.clear()
        due = rollout.due
        before = counted(rollout, "canary", due)
        call(due)
        kind, evidence = judge.shown[0]
        assert (kind, evidence.at, evidence.window) == ("check", due, before)
        assert rollout.due == due + 5
    assert [kind for kind, _ in judge.shown] == ["check", "broken"]


def test_how_far_one_may_leap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHECKS_AT_ONCE", 3)
    rollout, _ = begun()
    with pytest.raises(ValueError, match="at most 3 checks ahead"):
        rollout.advance(20.5)
    assert (rollout.due, rollout.counts_at(-1)) == (5.0, 0.0)
    rollout.advance(20.0)  # 15 s, of 5 s each, after the first that was due
    assert rollout.counts_at(-1) == 20.0


@pytest.mark.parametrize("at", [-LATEST, LATEST])
def test_the_last_instants_that_there_are(at: float) -> None:
    assert Rollout(PLAN).start(at)[-1] == StageEntered(at=at, stage=0, percentage=5)
    pending = Rollout(PLAN)
    pending.observe_counts(at, "canary", Counts(requests=1))
    pending.violate(at, "canary", Violation(message="x"))
    assert counted(pending, "canary", at) == Counts(requests=1, violations=1)
    refuse_no_observation(at, "canary", GOOD, None)
    beyond = at * (1 + 1e-12)
    for call in (
        lambda: Rollout(PLAN).start(beyond),
        lambda: pending.observe_counts(beyond, "canary", Counts(requests=1)),
        lambda: pending.violate(beyond, "canary", Violation(message="x")),
        lambda: refuse_no_observation(beyond, "canary", GOOD, None),
    ):
        with pytest.raises(ValueError, match="now is"):
            call()
    assert pending.state == State()
    # What is due is refused too where its instant is none.
    running = Rollout(PLAN)
    running.start(0.0)
    with pytest.raises(ValueError, match="now is"):
        running.advance(LATEST * (1 + 1e-12))


def test_the_longest_latency_and_the_least() -> None:
    for latency in (0, LONGEST_MS):
        refuse_no_observation(0.0, "baseline", GOOD, latency)
    for latency in (-1e-9, LONGEST_MS * (1 + 1e-12)):
        with pytest.raises(ValueError, match="latency_ms is"):
            refuse_no_observation(0.0, "baseline", GOOD, latency)


def test_what_is_no_observation_is_refused() -> None:
    refuse_no_observation(0.0, "canary", BAD, 1.0)
    nothing: Any
    for nothing in ((0.0, "Canary", GOOD, None), (0.0, None, GOOD, None)):
        with pytest.raises(ValueError, match="must be 'baseline' or 'canary'"):
            refuse_no_observation(*nothing)
    for nothing in (
        (0.0, "canary", "good", None),
        (0.0, "canary", GOOD, "1"),
        ("0", "canary", GOOD, 1),
    ):
        with pytest.raises(TypeError):
            refuse_no_observation(*nothing)
    rollout, _ = begun()
    nobody: Any = "Canary"
    calls: tuple[Callable[[], object], ...] = (
        lambda: rollout.observe_counts(0.0, nobody, Counts()),
        lambda: rollout.violate(0.0, nobody, Violation(message="x")),
    )
    for call in calls:
        with pytest.raises(ValueError, match="must be 'baseline' or 'canary'"):
            call()


def test_a_judge_that_fails_is_asked_again_and_what_it_said_before_has_taken_effect() -> None:
    class Failing(Noting):
        def check(self, evidence: Evidence) -> Verdict:
            if evidence.at >= 10:
                raise OSError("no judge")
            return super().check(evidence)

    rollout = Rollout(PLAN, Failing())
    rollout.start(0.0)
    assert [event.at for event in rollout.advance(12.0)] == [5.0]
    for _ in range(2):
        with pytest.raises(OSError, match="no judge"):
            rollout.advance(12.0)
    assert rollout.due == 10.0


# -- what is counted


@pytest.mark.parametrize("arm", ["baseline", "canary"])
def test_what_an_observation_is_counted_as(arm: Arm) -> None:
    for outcome, latency, counts in (
        (GOOD, None, Counts(requests=1)),
        (BAD, None, Counts(requests=1, errors=1)),
        (NEUTRAL, None, Counts(neutral=1)),
        (NEUTRAL, 900.0, Counts(neutral=1)),
        (GOOD, 500.0, Counts(requests=1, timed=1)),
        (GOOD, 500.5, Counts(requests=1, timed=1, slow=1)),
        (BAD, 900.0, Counts(requests=1, errors=1, timed=1, slow=1)),
    ):
        rollout, _ = begun()
        assert rollout.observe(1.0, arm, outcome, latency) == []
        assert counted(rollout, arm, 1.0) == counts
        other: Arm = "canary" if arm == "baseline" else "baseline"
        assert counted(rollout, other, 1.0) == Counts()


def test_a_request_in_flight_that_ends_is_counted_once() -> None:
    rollout, _ = begun()
    here, gone, lost = (Waiting(started_at=at) for at in (0.5, 0.25, 0.125))
    for each in (here, gone, lost):
        rollout.open.add(each)
    lost.abandoned_at = 0.5
    assert rollout.observe(1.0, "canary", GOOD, 1.0, lost) == []
    assert counted(rollout, "canary", 1.0) == Counts()
    rollout.observe(1.0, "canary", NEUTRAL, None, gone)
    assert rollout.look(2.0).canary.in_flight == InFlight(requests=1, overdue=1)
    rollout.observe(1.5, "canary", GOOD, 1.0, here)
    assert rollout.open.requests() == []
    assert counted(rollout, "canary", 1.5) == Counts(requests=1, timed=1, neutral=1)


@pytest.mark.parametrize("arm", ["baseline", "canary"])
def test_counts_go_where_they_belong(arm: Arm) -> None:
    counts = Counts(requests=64, errors=32, timed=16, slow=8, violations=4, neutral=2, abandoned=1)
    rollout, _ = begun()
    rollout.observe_counts(1.0, arm, counts)
    assert counted(rollout, arm, 1.0) == counts
    for name in Counts.__struct_fields__:
        most, beyond, less = (Counts(**{name: n}) for n in (int(MOST), int(MOST) + 1, -1))
        rollout.observe_counts(1.0, arm, most)
        for none in (beyond, less):
            with pytest.raises(ValueError, match="are no counts"):
                rollout.observe_counts(1.0, arm, none)
        assert getattr(counted(rollout, arm, 1.0), name) == MOST + getattr(counts, name)


def test_rates_have_what_is_in_flight_in_them() -> None:
    counts = Counts(requests=8, errors=2, timed=6, slow=3)
    known: dict[str, Any] = {"p50_ms": None, "p95_ms": None, "p99_ms": None}
    there = ArmSnapshot(counts=counts, in_flight=2, overdue=1, **known)
    assert there.error_rate == 100 * 2 / 10
    assert there.slow_rate == 100 * 4 / 7
    waiting = ArmSnapshot(counts=Counts(), in_flight=2, overdue=1, **known)
    assert (waiting.error_rate, waiting.slow_rate) == (None, 100.0)
    nobody = ArmSnapshot(counts=Counts(), in_flight=2, **known)
    assert (nobody.error_rate, nobody.slow_rate) == (None, None)


# -- what a judge is shown


@dataclass
class Flying:
    """What is in flight, as it is told."""

    seen: Seen
    asked: list[tuple[float, bool]] = field(default_factory=list)

    def look(self, at: float, *, settle: bool) -> Seen:
        self.asked.append((at, settle))
        return self.seen


def test_a_judge_is_shown_the_window_the_stage_and_what_is_in_flight() -> None:
    baseline, canary = InFlight(requests=7, overdue=5), InFlight(requests=3, overdue=2)
    lost = Counts(requests=2, errors=2, timed=2, slow=2, abandoned=2)
    flights = Flying(Seen(SeenOfArm(baseline), SeenOfArm(canary, lost)))
    rollout, judge = begun(flights=flights)
    rollout.observe(1.0, "canary", BAD, 900.0)
    rollout.observe(1.0, "baseline", GOOD, 10.0)
    rollout.violate(1.0, "canary", Violation(message="x", contract="loose"))
    (kind, evidence), *_ = judge.shown
    assert (kind, evidence.at, evidence.number) == ("broken", 1.0, 0)
    assert evidence.broken == evidence.broken_in_stage == {"loose": 1}
    assert (evidence.in_flight, evidence.baseline_in_flight) == (canary, baseline)
    rollout.advance(25.0)
    kinds = [(kind, shown.at, shown.number) for kind, shown in judge.shown[1:]]
    assert kinds == [
        ("check", 5.0, 0),
        ("check", 10.0, 0),
        ("check", 15.0, 0),
        ("end", 20.0, 0),
        ("check", 25.0, 1),
    ]
    first = judge.shown[1][1]
    mine = Counts(requests=3, errors=3, timed=3, slow=3, violations=1, abandoned=2)
    assert first.window == first.stage == first.total == mine
    assert first.baseline == first.baseline_total == Counts(requests=1, timed=1)
    last = judge.shown[-1][1]
    assert last.stage == Counts(requests=2, errors=2, timed=2, slow=2, abandoned=2)
    assert (last.broken, last.broken_in_stage) == ({"loose": 0}, {"loose": 0})
    assert last.total.requests == 11
    # Only a check gives up; a look in between settles nothing.
    assert flights.asked == [(1.0, False), *[(at, True) for at in (5.0, 10.0, 15.0, 20.0, 25.0)]]
    snapshot = rollout.history[-1]
    assert (snapshot.at, snapshot.stage, snapshot.share) == (25.0, 1, 50)
    assert snapshot.verdict is VerdictKind.HEALTHY
    assert (snapshot.baseline.in_flight, snapshot.baseline.overdue) == (7, 5)
    assert (snapshot.canary.in_flight, snapshot.canary.overdue) == (3, 2)
    assert snapshot.canary.counts.requests == 6


def test_quantiles_of_a_check_are_those_of_its_window() -> None:
    rollout, _ = begun()
    for latency in range(1, 101):
        rollout.observe(1.0, "canary", GOOD, float(latency))
    rollout.advance(5.0)
    seen = rollout.history[-1].canary
    assert [seen.p50_ms, seen.p95_ms, seen.p99_ms] == pytest.approx([50, 95, 99], rel=0.05)
    assert rollout.history[-1].baseline.p50_ms is None


def test_what_stands_is_judged_by_when_the_stage_began() -> None:
    rollout, _ = begun()
    stream = Waiting(started_at=21.0, first_at=22.0)
    old = Waiting(started_at=1.0, first_at=2.0)
    rollout.open.add(stream)
    rollout.open.add(old)
    rollout.advance(24.0)
    assert rollout.look(24.0).canary.in_flight.standing_in_stage == 1


# -- broken contracts


def test_a_violation_that_was_tolerated_is_told_when_its_budget_is_used_up() -> None:
    bad = verdict(VerdictKind.UNHEALTHY, contract="loose")
    rollout, judge = begun(bad)
    first, last = (Violation(message=text, contract="loose") for text in ("first", "last"))
    rollout.violate(1.0, "canary", first)
    rollout.violate(2.0, "canary", last)
    rollout.violate(2.0, "baseline", Violation(message="other", contract="loose"))
    end = rollout.advance(5.0)[-1]
    assert isinstance(end, RolledBack)
    assert end.violation == last
    assert [kind for kind, _ in judge.shown] == ["broken", "broken", "check"]
    # Of a release that is over there is nothing to judge.
    assert rollout.violate(6.0, "canary", last) == []
    assert len(judge.shown) == 3


def test_a_verdict_at_a_violation_tells_that_violation() -> None:
    rollout, judge = begun()
    judge.breaks = [None, verdict(VerdictKind.UNHEALTHY, contract="loose")]
    one, two = (Violation(message=text, contract="loose") for text in ("one", "two"))
    assert rollout.violate(1.0, "canary", one) == []
    events = rollout.violate(2.0, "canary", two)
    assert [type(event) for event in events] == [Checked, RolledBack]
    assert isinstance(events[-1], RolledBack)
    assert events[-1].violation == two
    assert rollout.history[-1].at == 2.0


def test_a_paused_rollout_judges_violations_and_one_that_has_not_begun_does_not() -> None:
    judge = Noting(breaks=[verdict(VerdictKind.UNHEALTHY)])
    rollout = Rollout(PLAN, judge)
    assert rollout.violate(-1.0, "canary", Violation(message="x")) == []
    assert judge.shown == []
    rollout.start(0.0)
    rollout.command(Command.PAUSE, 1.0)
    assert type(rollout.violate(2.0, "canary", Violation(message="x"))[-1]) is RolledBack


def test_a_restart_forgets_violations_and_has_the_judge_begin_anew() -> None:
    bad = verdict(VerdictKind.UNHEALTHY, contract="loose")
    rollout, judge = begun(bad)
    assert judge.begun == 1
    rollout.violate(1.0, "canary", Violation(message="old", contract="loose"))
    rollout.command(Command.RESTART, 2.0)
    assert judge.begun == 2
    end = rollout.advance(7.0)[-1]
    assert isinstance(end, RolledBack)
    assert end.violation is None
    assert judge.shown[-1][1].total == Counts()


# -- beginning, forgetting, taking up


def test_a_rollout_begins_once() -> None:
    rollout, judge = begun()
    assert rollout.start(3.0) == []
    assert (rollout.due, judge.begun, rollout.counts_at(-9.0)) == (5.0, 1, 0.0)


def test_what_is_forgotten_may_begin_anew_and_earlier() -> None:
    rollout, judge = begun()
    rollout.observe(1.0, "canary", BAD, 10.0)
    rollout.violate(1.0, "canary", Violation(message="x", contract="loose"))
    rollout.advance(9.0)
    rollout.forget()
    assert (rollout.state, rollout.due, list(rollout.history)) == (State(), inf, [])
    assert counted(rollout, "canary", 9.0) == rollout.recorder.stage() == Counts()
    assert rollout.counts_at(-100.0) == -100.0
    assert rollout.start(-50.0)[0] == Started(at=-50.0, deployment=PLAN)
    judge.says = [verdict(VerdictKind.UNHEALTHY, contract="loose")]
    end = rollout.advance(-45.0)[-1]
    assert isinstance(end, RolledBack)
    assert end.violation is None


def test_a_journal_is_taken_up_from_when_it_was_last_watched() -> None:
    past: list[Event] = [
        Started(at=0, deployment=PLAN),
        StageEntered(at=0, stage=0, percentage=5),
        Checked(at=5, stage=0, verdict=verdict()),
    ]
    for since, watched in ((None, 5.0), (3.0, 5.0), (8.0, 8.0)):
        judge = Noting()
        rollout = Rollout(PLAN, judge)
        (event,) = rollout.restore(past, 100.0, since=since)
        assert event == Unwatched(at=100.0, stage=0, since=watched, restart=True)
        assert judge.begun == 1
        assert rollout.counts_at(0.0) == 100.0
        assert rollout.state.ends_at == 100.0 + 20.0 - watched
    nothing = Rollout(PLAN, Noting())
    assert nothing.restore([], 100.0) == []
    assert (nothing.state, nothing.due, nothing.counts_at(0.0)) == (State(), inf, 0.0)


def test_time_that_nobody_watched_moves_what_is_in_flight_too() -> None:
    rollout, judge = begun()
    waits, later = Waiting(started_at=3.0), Waiting(started_at=4.5)
    rollout.open.add(waits)
    rollout.open.add(later)
    assert rollout.unwatched(4.0, 4.0) == []
    assert rollout.unwatched(4.0, 4.5) == [Unwatched(at=4.5, stage=0, since=4.0)]
    assert (waits.started_at, later.started_at) == (3.5, 4.5)
    # None of the time is served, and no check was due in it.
    assert (rollout.due, rollout.state.ends_at) == (5.5, 20.5)
    assert judge.shown == []
    # What was due comes first, up to when it was watched; and then one check for all.
    events = rollout.unwatched(6.0, 106.0)
    assert [(type(event), event.at) for event in events] == [(Checked, 5.5), (Unwatched, 106.0)]
    assert [shown.at for _, shown in judge.shown] == [5.5, 106.0]
    # From before what has been seen nothing is lost.
    assert rollout.unwatched(50.0, 107.0) == [Unwatched(at=107.0, stage=0, since=106.0)]


def test_a_check_that_was_due_when_it_is_watched_again_is_made_then() -> None:
    rollout, judge = begun()
    events = rollout.unwatched(4.0, 5.0)
    assert [type(event) for event in events] == [Unwatched, Checked]
    assert [shown.at for _, shown in judge.shown] == [5.0]


def test_what_is_over_is_taken_up_by_nobody() -> None:
    rollout, _ = begun()
    rollout.command(Command.ABORT, 1.0)
    assert rollout.unwatched(2.0, 99.0) == []
    assert rollout.due == inf
    assert Rollout(PLAN).restore([Started(at=0, deployment=PLAN)], 5.0) == [
        StageEntered(at=5.0, stage=0, percentage=5)
    ]


def test_the_history_is_that_of_seven_hours() -> None:
    rollout, _ = begun()
    assert rollout.history.maxlen == 5000


def test_a_stage_that_waits_tells_it_once_and_then_what_has_changed() -> None:
    few = verdict(VerdictKind.INSUFFICIENT)
    rollout, _ = begun(few, few, few, few, few, few, verdict())
    events = rollout.advance(34.0)
    assert [(type(event), event.at) for event in events] == [
        (Checked, 5.0),
        (Checked, 20.0),
        (Held, 20.0),
    ]
    assert rollout.state.held_at == 20.0
    assert type(rollout.advance(35.0)[-1]) is StageEntered


@pytest.mark.parametrize(
    ("then", "does"), [("rollback", RolledBack), ("pause", Paused), ("advance", StageEntered)]
)
def test_who_does_not_wait_at_all_says_what_was_missing_before_what_is_done(
    then: Any, does: type[Event]
) -> None:
    plan = replace(PLAN, missing_evidence=MissingEvidence(deadline_seconds=0, then=then))
    rollout = Rollout(plan)
    rollout.start(0.0)
    events = [event for event in rollout.advance(20.5) if event.at == 20.0]
    assert [type(event) for event in events[-2:]] == [Held, does]


def test_a_journal_that_ends_with_a_whole_decision_lacks_nothing() -> None:
    state = State(phase=Phase.RUNNING, stage=0, share=5)
    last = StageEntered(at=0, stage=0, percentage=5)
    assert machine.complete(PLAN, state, last, 1.0) == []


def test_what_cannot_follow_is_named_with_its_stage_and_instant() -> None:
    over = State(phase=Phase.COMPLETED, stage=1, share=100)
    with pytest.raises(JournalError, match=r"nothing follows .*, but 'promoted' at 32\.5 came"):
        apply(PLAN, over, Promoted(at=32.5))
    running = State(phase=Phase.RUNNING, stage=1, share=50)
    with pytest.raises(JournalError, match=r"'stage_entered' of stage 2 at 1\.5 cannot follow"):
        apply(PLAN, running, StageEntered(at=1.5, stage=2, percentage=100))


def test_a_phase_is_terminal_when_the_canary_has_won_or_is_withdrawn() -> None:
    ends = {Phase.COMPLETED, Phase.ROLLED_BACK, Phase.ABORTED}
    assert {phase for phase in Phase if phase.terminal} == ends


@pytest.mark.parametrize("now", [inf, nan])
def test_what_is_no_instant_is_none_where_nothing_is_due_either(now: float) -> None:
    with pytest.raises(ValueError, match="it must be a finite number of seconds"):
        Rollout(PLAN).advance(now)


def test_many_requests_at_once_come_after_the_checks_that_were_due() -> None:
    rollout, _ = begun()
    assert [event.at for event in rollout.observe_counts(5.0, "canary", Counts(requests=1))] == [5]


def test_a_promotion_ends_the_looks() -> None:
    rollout, _ = begun()
    events = rollout.advance(100.0)
    assert events[-1] == Promoted(at=32.5)
    assert rollout.due == inf
    assert rollout.state.phase is Phase.COMPLETED
    assert replay(PLAN, rollout_events(events)) == rollout.state


def rollout_events(events: list[Event]) -> list[Event]:
    return [Started(at=0, deployment=PLAN), StageEntered(at=0, stage=0, percentage=5), *events]


def test_what_the_middleware_serves_is_looked_at_where_nothing_else_is_given() -> None:
    rollout, _ = begun()
    assert isinstance(rollout.open, OpenRequests)
    rollout.open.add(Waiting(started_at=0.5))
    assert rollout.look(1.0).canary.in_flight.requests == 1


def test_the_last_instant_is_one_at_which_a_check_may_be_made() -> None:
    rollout = Rollout(PLAN, Noting())
    rollout.start(LATEST - 10.0)
    rollout.advance(LATEST)
    assert rollout.counts_at(-LATEST) == LATEST


@pytest.mark.parametrize(("outcome", "unanswered"), [(NEUTRAL, 1), (GOOD, 0), (BAD, 0)])
def test_who_left_has_heard_no_answer(outcome: Outcome, unanswered: int) -> None:
    rollout, judge = begun()
    left, waits = Waiting(started_at=1.0), Waiting(started_at=2.0)
    rollout.open.add(left)
    rollout.open.add(waits)
    rollout.observe(3.0, "canary", outcome, None, left)
    rollout.advance(5.0)
    assert judge.shown[-1][1].in_flight.unanswered == unanswered


def test_a_snapshot_tells_the_quantiles_apart() -> None:
    rollout, _ = begun()
    for latency_ms in (*range(1, 100), *range(1, 100), 100, 1000):
        rollout.observe(1.0, "canary", GOOD, float(latency_ms))
    rollout.advance(5.0)
    seen = rollout.history[-1].canary
    assert (seen.p50_ms, seen.p95_ms, seen.p99_ms) == pytest.approx((50, 96, 100), rel=0.03)


def test_a_hold_is_as_much_longer_as_it_was_paused() -> None:
    rollout, _ = begun()
    ends_at = rollout.state.ends_at
    rollout.command(Command.PAUSE, 3.0)
    rollout.command(Command.RESUME, 3.25)
    assert rollout.state.ends_at == ends_at + 0.25
