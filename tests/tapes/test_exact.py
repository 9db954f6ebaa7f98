"""A tape of a live run under its own plan gives back its own journal."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.tapes.live import START, Asked, GoesOn, live, plan, traffic

from canario.control.events import StageEntered, Unwatched
from canario.control.journal import dump_journal
from canario.plan import Sequential
from canario_sim.backtest.assign import AsRecorded, Matched
from canario_sim.backtest.fates import Donors
from canario_sim.backtest.replay import replay_of
from canario_sim.tapes import read_sessions, read_tape
from canario_sim.tapes.recording import Recording


def replayed(recording: Recording, matched: bool = False) -> bytes:
    assert recording.plan is not None
    routing = Matched(recording, Donors(recording, 1, 300)) if matched else AsRecorded()
    replay = replay_of(recording, recording.plan, routing)
    replay.run()
    assert not len(replay.carrier.drawn)
    return dump_journal(replay.controller.events)


@pytest.mark.parametrize(
    ("title", "world", "thresholds", "end"),
    [
        ("healthy", {}, {}, "promoted"),
        ("errors", {"errors": 0.3}, {}, "rolled_back"),
        ("slow", {"slower": 6}, {}, "rolled_back"),
        ("broken", {"broken": 0.02}, {}, "rolled_back"),
        ("tolerated", {"broken": 0.05}, {"contract_budgets": {"answers": 12.5}}, "promoted"),
        ("used up", {"broken": 0.3}, {"contract_budgets": {"answers": 12.5}}, "rolled_back"),
        ("few", {"rate": 0.1}, {}, "rolled_back"),
        ("often", {"errors": 0.08}, {"check_interval_seconds": 0.7}, None),
    ],
)
def test_a_tape_gives_back_its_own_journal(
    title: str, world: dict[str, float], thresholds: dict[str, Any], end: str | None, tmp_path: Path
) -> None:
    events = asyncio.run(live(plan(**thresholds), traffic(7, **world), tmp_path / "a.tape.sqlite"))
    recording = read_tape(tmp_path / "a.tape.sqlite")
    assert recording.whole
    assert recording.events == tuple(events)
    assert replayed(recording) == dump_journal(events)
    assert replayed(recording, matched=True) == dump_journal(events)
    assert end is None or events[-1].__struct_config__.tag == end


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10_000),
    errors=st.sampled_from([0.0, 0.05, 0.12]),
    slower=st.sampled_from([1.0, 2.5]),
    broken=st.sampled_from([0.0, 0.01, 0.1]),
    rate=st.sampled_from([0.3, 3.0]),
    budget=st.sampled_from([0.0, 10.0, 30.0]),
    orders=st.lists(
        st.tuples(
            st.floats(0, 150),
            st.sampled_from(["pause", "resume", "restart", "skip", "promote", "abort"]),
        ),
        max_size=5,
    ),
)
@example(  # a hold that was resumed, and ends with the tape
    seed=189,
    errors=0.0,
    slower=2.5,
    broken=0.0,
    rate=0.3,
    budget=0.0,
    orders=[(0.0, "pause"), (73.0, "resume")],
)
def test_for_any_traffic_and_any_orders(
    seed: int,
    errors: float,
    slower: float,
    broken: float,
    rate: float,
    budget: float,
    orders: list[tuple[float, str]],
) -> None:
    one = plan(contract_budgets={"answers": budget})
    asked = traffic(seed, errors=errors, slower=slower, broken=broken, rate=rate)
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.tape.sqlite")
        events = asyncio.run(live(one, asked, path, orders=sorted(orders)))
        recording = read_tape(path)
    assert recording.events == tuple(events)
    assert replayed(recording) == dump_journal(events)
    assert replayed(recording, matched=True) == dump_journal(events)


@pytest.mark.parametrize("world", [{}, {"errors": 0.5}, {"slower": 8}, {"broken": 0.02}])
def test_a_judge_that_remembers_comes_to_the_same(world: dict[str, float], tmp_path: Path) -> None:
    one = plan()
    one = replace(one, deployment=replace(one.deployment, judge=Sequential()))
    events = asyncio.run(live(one, traffic(7, **world), tmp_path / "a.tape.sqlite"))
    recording = read_tape(tmp_path / "a.tape.sqlite")
    assert recording.plan == one
    assert replayed(recording) == dump_journal(events)
    assert replayed(recording, matched=True) == dump_journal(events)


@pytest.mark.parametrize(("errors", "gap"), [(0.0, 2.0), (0.2, 2.0), (0.0, 45.0)])
def test_a_restart_in_between_is_lived_through_again(
    errors: float, gap: float, tmp_path: Path
) -> None:
    asked = traffic(7, errors=errors, baseline_errors=0.0)
    first = [each for each in asked if each.at < START + 25]
    second = [each for each in asked if each.at > START + 25 + gap]
    journal, tape = tmp_path / "journal", tmp_path / "tapes" / "a.tape.sqlite"
    lenient = plan(max_error_rate=60.0, min_samples=3)
    before = asyncio.run(live(lenient, first, tape, journal=journal, until=25))
    assert not before[-1].terminal
    events = asyncio.run(
        live(lenient, second, tape, journal=journal, since=START + 25 + gap, until=300)
    )
    recording = read_tape(tmp_path / "tapes")
    assert len(recording.restarts) == 1
    assert recording.events == tuple(events)
    assert replayed(recording) == dump_journal(events)
    assert replayed(recording, matched=True) == dump_journal(events)
    # The second part alone goes on from the journal that it was given.
    (part,) = read_sessions(tmp_path / "tapes" / "a-2.tape.sqlite")
    assert part.restored == len(before)
    assert replayed(part) == dump_journal(events)


@pytest.mark.parametrize("back", [0.25, 3600.0, 86_400.5])
def test_a_date_that_is_set_back_in_between_makes_no_second_worker(
    back: float, tmp_path: Path
) -> None:
    asked = traffic(7)
    first = [each for each in asked if each.at < START + 25]
    second = [replace(each, at=each.at - back) for each in asked if each.at > START + 25]
    journal, tape = tmp_path / "journal", tmp_path / "tapes" / "a.tape.sqlite"
    before = asyncio.run(live(plan(), first, tape, journal=journal, until=25))
    since = START + 25 - back
    told = asyncio.run(live(plan(), second, tape, journal=journal, since=since, until=300 - back))
    assert told[len(before)].at == since
    recording = read_tape(tmp_path / "tapes")
    assert (recording.workers, len(recording.restarts), recording.whole) == (1, 1, True)
    assert len(recording) == sum(map(len, read_sessions(tmp_path / "tapes")))
    # By the clock of the first process, which is moved by whole seconds.
    by = recording.events[-1].at - told[-1].at
    assert by == int(by)
    assert 0 <= by - back < 2
    assert [each.at - by for each in recording.events[len(before) :]] == [
        each.at for each in told[len(before) :]
    ]
    assert replayed(recording) == dump_journal(recording.events)
    assert replayed(recording, matched=True) == dump_journal(recording.events)


def test_a_tape_that_does_not_say_what_it_takes_up_is_judged_by_its_dates(tmp_path: Path) -> None:
    """As forked children's are, which have their parent's journal and go on beside it."""
    journal, tapes = tmp_path / "journal", tmp_path / "tapes"
    for since in (START, START - 60):
        asked = [replace(each, at=each.at + since - START) for each in traffic(7, seconds=20)]
        until = since - START + 25
        path = tapes / "a.tape.sqlite"
        asyncio.run(live(plan(), asked, path, journal=journal, since=since, until=until))
    assert read_tape(tapes).workers == 1
    for path in tapes.iterdir():
        with closing(sqlite3.connect(path)) as tape, tape:
            tape.execute("DELETE FROM meta WHERE name = 'takes_up'")
    assert read_tape(tapes).workers == 2


@pytest.mark.parametrize("errors", [0.0, 0.4])
@pytest.mark.parametrize("asleep", [10.0, 45.0, 4000.0])
def test_what_nobody_watched_is_on_the_tape(errors: float, asleep: float, tmp_path: Path) -> None:
    """A host that sleeps in the midst of a stage: the rest of it is served after it wakes."""
    asked = [
        each if each.at < START + 25 else replace(each, at=each.at + asleep)
        for each in traffic(7, errors=errors, baseline_errors=0.0)
    ]
    path = tmp_path / "a.tape.sqlite"
    lenient = plan(max_error_rate=60.0, min_samples=3)
    clock = GoesOn(START)
    events = asyncio.run(live(lenient, asked, path, until=asleep + 250, clock=clock))
    (gap,) = [event for event in events if isinstance(event, Unwatched)][:1]
    assert gap.at - gap.since == pytest.approx(asleep, abs=1)
    entered = [event.at for event in events if isinstance(event, StageEntered)]
    assert entered[1] - entered[0] == pytest.approx(30 + asleep, abs=1)
    recording = read_tape(path)
    assert recording.events == tuple(events)
    assert replayed(recording) == dump_journal(events)
    assert replayed(recording, matched=True) == dump_journal(events)


@pytest.mark.parametrize("asleep", [45.0, 4000.0])
@pytest.mark.parametrize(("answers", "end"), [(True, "promoted"), (False, "rolled_back")])
def test_who_waited_while_nobody_watched_has_not_waited(
    asleep: float, answers: bool, end: str, tmp_path: Path
) -> None:
    """The host sleeps with 40 requests in flight. Where they end soon after it wakes, nothing was
    slow and nobody was given up; where they go on waiting, they are."""
    asked = [
        each if each.at < START + 25 else replace(each, at=each.at + asleep)
        for each in traffic(7, errors=0.0, baseline_errors=0.0)
    ]
    took = asleep * 1000 + (300 if answers else 9e4)
    asked += [Asked(START + 24.8, f"user-{n}", "/route-0", took) for n in range(40)]
    path = tmp_path / "a.tape.sqlite"
    one = plan(abandoned_after_seconds=20.0)
    clock = GoesOn(START)
    events = asyncio.run(live(one, asked, path, until=asleep + 300, clock=clock))
    assert events[-1].__struct_config__.tag == end
    assert events[-1].at > START + 25 + asleep
    recording = read_tape(path)
    assert len(recording.gaps) == 1
    waited = recording.latency_ms[recording.at == START + 24.8]
    assert len(waited) == 40
    assert waited.max() < (500 if answers else 90_000 + 500)
    assert recording.events == tuple(events)
    assert replayed(recording) == dump_journal(events)
