"""What is in flight at an instant, and who has waited for too long: against its definition."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario.control.open_requests import OpenRequests, patience
from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import NOTHING_SEEN, InFlight
from canario.plan import RollbackThresholds
from canario.routing.router import Arm

ARMS: tuple[Arm, ...] = get_args(Arm)


@dataclass(eq=False)
class Waiting:
    """A request that is as it is told to be."""

    arm: Arm = "canary"
    started_at: float = 0.0
    timed: bool = True
    first_at: float | None = None
    abandoned_at: float | None = None
    route: str | None = None
    sign_at: float | None = None
    health: bool = False

    @property
    def arrived_at(self) -> float:
        return self.started_at

    def silent_since(self, at: float) -> float:
        return self.started_at if self.sign_at is None else self.sign_at

    def still_timed(self) -> bool:
        return self.timed and not self.health

    def find_route(self) -> str | None:
        return self.route

    def tape_mark(self) -> None:
        return None

    def unwatched(self, seconds: float) -> None:
        self.started_at += seconds

    def given_up(self) -> None:
        raise AssertionError("whoever looks tells nobody")


# Above 500 ms is slow, above 3 s given up, but for two routes. All instants below are exact.
BY_ROUTE = {"/long/{id}": 5.0, "/short": 1.0}
PLANS = [
    RollbackThresholds(
        max_p95_latency_ms=500, abandoned_after_seconds=3, abandoned_after_by_route=routes
    )
    for routes in (BY_ROUTE, {}, {"/long/{id}": 5.0})
]
INSTANTS = st.integers(0, 32).map(lambda eighths: eighths / 8)
REQUESTS = st.builds(
    Waiting,
    arm=st.sampled_from(ARMS),
    started_at=INSTANTS,
    timed=st.booleans(),
    route=st.sampled_from([None, "/long/{name}", "/short", "/other"]),
    health=st.sampled_from([False, False, True]),
    # Until `begun` has been added: how long after its arrival.
    first_at=st.none() | INSTANTS,
    sign_at=st.none() | INSTANTS,
)


def begun(request: Waiting) -> Waiting:
    """Nothing comes of a request before it has arrived."""
    if request.first_at is not None:
        request.first_at += request.started_at
    if request.sign_at is not None:
        request.sign_at += request.started_at
    return request


def after(plan: RollbackThresholds, route: str | None) -> float:
    named = {"/long/{name}": "/long/{id}"}.get(route or "", route)
    return plan.abandoned_after_by_route.get(named or "", 3.0)


def defined(
    requests: list[Waiting], plan: RollbackThresholds, answered: float, at: float, settle: bool
) -> tuple[InFlight, Counts]:
    """What the requests of one arm say at an instant."""
    told: dict[str, int] = dict.fromkeys(InFlight.__struct_fields__, 0)
    requests = [each for each in requests if each.started_at < at]
    standing = [each for each in requests if each.first_at is not None and each.first_at < at]
    last = max([answered, *(each.first_at or 0 for each in standing)])
    lost = NOTHING
    for each in requests:
        if each in standing:
            assert each.first_at is not None
            told["standing"] += 1
            told["standing_slow"] += each.first_at - each.started_at > 0.5
            told["standing_in_stage"] += each.first_at >= 2.0
        elif settle and at - (each.sign_at or each.started_at) > after(plan, each.route):
            timed = int(each.still_timed())
            lost += Counts(requests=1, errors=1, timed=timed, slow=timed, abandoned=1)
        else:
            told["requests"] += 1
            told["overdue"] += each.still_timed() and at - each.started_at > 0.5
            told["unanswered"] += each.started_at > last
    return InFlight(**told), lost


@given(
    st.sampled_from(PLANS),
    st.lists(REQUESTS.map(begun), max_size=12),
    INSTANTS,
    st.lists(st.tuples(st.sampled_from(ARMS), INSTANTS), max_size=2),
    st.booleans(),
)
def test_a_look_says_what_had_arrived_and_not_ended(
    plan: RollbackThresholds,
    requests: list[Waiting],
    at: float,
    answers: list[tuple[Arm, float]],
    settle: bool,
) -> None:
    open_ = OpenRequests(plan)
    open_.stage_began = 2.0
    for each in requests:
        open_.add(each)
    answered: dict[Arm, float] = dict.fromkeys(ARMS, -inf)
    for arm, instant in sorted(answers, key=lambda each: each[1]):
        ended = Waiting(arm)
        open_.add(ended)
        open_.close(ended, instant, answered=True)
        answered[arm] = instant
    expected = {
        arm: defined([e for e in requests if e.arm == arm], plan, answered[arm], at, settle)
        for arm in ARMS
    }
    seen = open_.look(at, settle=settle)
    told = {"baseline": seen.baseline, "canary": seen.canary}
    assert {arm: (each.in_flight, each.given_up) for arm, each in told.items()} == expected
    lost = [each for each in requests if each.abandoned_at is not None]
    assert open_.given_up == lost
    assert len(lost) == sum(each.requests for _, each in expected.values())
    assert {each.abandoned_at for each in lost} <= {at}
    assert open_.requests() == [each for each in requests if each not in lost]


def test_instants_that_meet_are_neither_too_long_nor_too_late() -> None:
    """What arrives or answers at an instant is not before it, and a limit may be reached."""
    open_ = OpenRequests(PLANS[0])
    open_.stage_began = 2.0
    ended = Waiting()
    open_.close(ended, 2.5, answered=True)
    at = 4.0
    there = [
        Waiting(started_at=4.0),  # not yet
        Waiting(started_at=1.0),  # 3 s, as long as it may be
        Waiting(started_at=3.5),  # 500 ms, which is not slow
        Waiting(started_at=2.5),  # with the last answer, so not after it
        Waiting(started_at=3.0, first_at=4.0),  # answered now, not before
        Waiting(started_at=1.5, first_at=2.0),  # 500 ms, when the stage began
        Waiting(started_at=1.0, first_at=1.625),
    ]
    for each in there:
        open_.add(each)
    seen = open_.look(at, settle=True).canary
    assert seen.given_up == NOTHING
    assert seen.in_flight == InFlight(
        requests=4, overdue=3, unanswered=2, standing=2, standing_slow=1, standing_in_stage=1
    )
    assert open_.look(4.125, settle=True).canary.given_up.requests == 1
    # The answers of streams are answers.
    later = Waiting(started_at=3.75, first_at=4.5)
    open_.add(later)
    assert open_.look(5.0, settle=False).canary.in_flight.unanswered == 0


def test_each_route_has_its_own_patience_whatever_the_instants_are() -> None:
    for start in (-10.0, 0.0, 10.0):
        open_ = OpenRequests(PLANS[0])
        long, short, other = (Waiting(route=route) for route in ("/long/{x}", "/short", None))
        for each in (long, short, other):
            each.started_at = start
            open_.add(each)
        lost: list[list[Waiting]] = []
        for seconds in (1.0, 1.125, 3.0, 3.125, 5.0, 5.125):
            before = len(open_.given_up)
            open_.look(start + seconds, settle=False)
            assert len(open_.given_up) == before
            open_.look(start + seconds, settle=True)
            lost.append(list(open_.given_up[before:]))  # type: ignore[arg-type]
        assert lost == [[], [short], [], [other], [], [long]]
        assert [each.abandoned_at for each in (short, other, long)] == [
            start + seconds for seconds in (1.125, 3.125, 5.125)
        ]
        assert open_.requests() == []


def test_nothing_in_flight_is_seen_as_nothing() -> None:
    assert OpenRequests(PLANS[0]).look(1.0, settle=True) == NOTHING_SEEN


@pytest.mark.parametrize("plan", PLANS)
def test_how_long_one_waits_is_said_by_route(plan: RollbackThresholds) -> None:
    for route in (None, "/long/{name}", "/long/{id}", "/short", "/other"):
        assert patience(plan)(route) == after(plan, route)


def test_before_the_first_stage_what_stands_was_answered_in_it() -> None:
    """There is none that could have begun after it."""
    open_ = OpenRequests(PLANS[0])
    open_.add(Waiting(started_at=-9.0, first_at=-8.0))
    assert open_.look(0.0, settle=True).canary.in_flight.standing_in_stage == 1


def test_who_has_left_has_heard_no_answer() -> None:
    open_ = OpenRequests(PLANS[0])
    gone, waits = Waiting(started_at=0.0), Waiting(started_at=0.125)
    open_.add(gone)
    open_.add(waits)
    open_.close(gone, 0.25, answered=False)
    assert open_.requests() == [waits]
    assert open_.look(0.5, settle=True).canary.in_flight.unanswered == 1


def test_what_is_not_to_be_counted_is_forgotten() -> None:
    open_ = OpenRequests(PLANS[0])
    first, second = Waiting(), Waiting()
    open_.add(first)
    open_.add(second)
    open_.discard(first)
    open_.discard(first)
    assert open_.requests() == [second]
    open_.look(9.0, settle=True)
    assert open_.given_up == [second]
    open_.add(first)
    open_.clear()
    assert (open_.requests(), open_.given_up) == ([], [])


def test_time_that_nobody_watched_is_no_wait() -> None:
    """But for who came after it had begun to pass."""
    open_ = OpenRequests(PLANS[0])
    ended, waits, edge, later = (Waiting(started_at=at) for at in (0.0, 1.0, 2.0, 2.5))
    for each in (ended, waits, edge, later):
        open_.add(each)
    open_.close(ended, 1.5, answered=True)
    open_.unwatched(2.0, 100.0)
    assert [each.started_at for each in (waits, edge, later)] == [101.0, 102.0, 2.5]
    # What was unanswered is so still, and what was not is not.
    canary = open_.look(102.125, settle=False).canary.in_flight
    assert (canary.requests, canary.unanswered) == (3, 1)


def test_the_last_sign_of_life_is_an_arrival_or_an_answer_up_to_now() -> None:
    open_ = OpenRequests(PLANS[0])
    assert open_.last_sign(5.0) == -inf
    first, second = Waiting(started_at=1.0), Waiting("baseline", started_at=3.0)
    open_.add(first)
    open_.add(second)
    signs: list[Any] = [open_.last_sign(now) for now in (0.5, 1.0, 2.0, 3.0, 9.0)]
    assert signs == [-inf, 1.0, 1.0, 3.0, 3.0]
    open_.close(second, 4.0, answered=True)
    assert [open_.last_sign(now) for now in (3.5, 4.0, 9.0)] == [1.0, 4.0, 4.0]
    open_.close(first, 4.0, answered=True)
    assert open_.last_sign(3.5) == -inf
