"""Controllers that share a rollout by a store, as an app has them."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from tests.sharing.cluster import plan
from tests.sharing.redis_servers import redis_server

from canario import CanaryDeploymentController, create_canary_controller
from canario.clock import ManualClock
from canario.config import ConfigError, load_plan
from canario.control.events import Aborted, Promoted, RolledBack, StageEntered, Started
from canario.control.machine import CommandRefusedError
from canario.control.recording import Outcome
from canario.control.state import Phase
from canario.past import JournalMismatchError
from canario.plan import Plan
from canario.stores import MemoryStore, StoreError
from canario.stores.sqlite import SqliteStore


def controller(store: Any, clock: ManualClock, **options: Any) -> CanaryDeploymentController:
    made = CanaryDeploymentController(
        Plan(deployment=plan(options.pop("judge", None), **options.pop("thresholds", {}))),
        store=store,
        clock=clock,
        **options,
    )
    made.start()
    return made


def serve(
    clock: ManualClock,
    *controllers: CanaryDeploymentController,
    seconds: float,
    bad: bool = False,
) -> None:
    """Requests at each of them, ten a second to either arm."""
    until = clock() + seconds
    while clock() < until:
        clock.advance(0.1)
        for each in controllers:
            each.observe("baseline", Outcome.GOOD, 20.0)
            if each.router.weight:
                each.observe("canary", Outcome.BAD if bad else Outcome.GOOD, 20.0)
        for _ in range(2):  # whoever decides is read by the others
            for each in controllers:
                each.tick()


def test_one_rollback_in_all_of_them(store: Any) -> None:
    clock = ManualClock(1000.0)
    heard: list[Any] = []
    both = [controller(store, clock, sinks=[heard.append]) for _ in range(2)]
    serve(clock, *both, seconds=7, bad=True)
    assert [each.state.phase for each in both] == [Phase.ROLLED_BACK] * 2
    assert [each.router.weight for each in both] == [0, 0]
    assert both[0].events == both[1].events
    assert all(each.drain(10) for each in both)
    # Sinks are told by the one that has decided.
    assert sorted(type(event).__name__ for event in heard) == sorted(
        type(event).__name__ for event in both[0].events
    )
    assert both[0].result() == both[1].result()


def test_evidence_adds_up(store: Any) -> None:
    """Neither has enough of its own to be judged by."""
    clock = ManualClock(1000.0)
    both = [controller(store, clock, thresholds={"min_samples": 30}) for _ in range(2)]
    for _ in range(20):
        clock.advance(0.1)
        for each in both:
            each.observe("canary", Outcome.BAD, 20.0)
    for _ in range(60):
        clock.advance(0.1)
        for each in both:
            each.tick()
    (end,) = [event for event in both[0].events if isinstance(event, RolledBack)]
    assert end.verdict.samples == 40


def test_it_is_promoted_by_all(store: Any) -> None:
    clock = ManualClock(1000.0)
    both = [controller(store, clock) for _ in range(2)]
    serve(clock, *both, seconds=70)
    assert [each.state.phase for each in both] == [Phase.COMPLETED] * 2
    assert isinstance(both[0].events[-1], Promoted)


@pytest.mark.parametrize("kind", ["thresholds", "sequential"])
def test_a_restart_forgets_nothing(store: Any, kind: str) -> None:
    clock = ManualClock(1000.0)
    judge = load_plan(document={"deployment": {"judge": {"kind": kind}}}).deployment.judge
    first = controller(store, clock, judge=judge)
    serve(clock, first, seconds=12)
    before = first.state, first.rollout.memory(), first.metrics_history, first.events
    assert first.close()
    second = controller(store, clock, judge=judge)
    assert (second.state, second.rollout.memory(), second.metrics_history, second.events) == before
    serve(clock, second, seconds=60)
    assert second.state.phase is Phase.COMPLETED
    # In the time that it takes, and not anew.
    assert second.events[-1].at - second.events[0].at == pytest.approx(67.5, abs=1)
    assert len([e for e in second.events if isinstance(e, Started)]) == 1


def test_a_rollback_is_never_undone_nor_a_promotion_repeated(store: Any) -> None:
    clock = ManualClock(1000.0)
    first = controller(store, clock)
    serve(clock, first, seconds=7, bad=True)
    heard: list[Any] = []
    second = controller(store, clock, sinks=[heard.append])
    serve(clock, second, seconds=90)
    assert second.state.phase is Phase.ROLLED_BACK
    assert second.router.weight == 0
    assert second.drain(10)
    assert not heard


def test_a_broken_contract_is_in_force_at_once(store: Any) -> None:
    clock = ManualClock(1000.0)
    first, second = (controller(store, clock) for _ in range(2))
    assert first.router.weight
    first.report_violation("canary", "not valid")
    assert first.router.weight == 0  # before any store was asked
    assert second.router.weight
    first.tick()
    clock.advance(1.0)
    second.tick()
    assert second.router.weight == 0
    assert second.state.reason == first.state.reason == "contract_violation"
    assert second.events == first.events


def test_orders_are_obeyed_by_all(store: Any) -> None:
    clock = ManualClock(1000.0)
    first, second = (controller(store, clock) for _ in range(2))
    first.skip()
    clock.advance(1.0)
    second.tick()
    assert second.state.stage == first.state.stage == 1
    second.pause()
    # What it was given for is over: another one has paused it meanwhile.
    with pytest.raises(
        CommandRefusedError, match="meanwhile the rollout has gone on, it is paused"
    ):
        first.skip()
    first.resume()
    clock.advance(1.0)
    second.tick()
    second.promote()
    second.abort()
    clock.advance(1.0)
    first.tick()
    assert first.state.phase is Phase.ABORTED
    assert [first.router.weight, second.router.weight] == [0, 0]


class Away(MemoryStore):
    """A store that can be taken away."""

    away = False

    def read(self, *args: Any) -> Any:
        if self.away:
            raise StoreError("the store is away")
        return super().read(*args)


def test_an_abort_waits_for_no_store(caplog: pytest.LogCaptureFixture) -> None:
    clock, store = ManualClock(1000.0), Away()
    first, second = (controller(store, clock) for _ in range(2))
    store.away = True
    first.abort()
    assert first.router.weight == 0
    assert second.router.weight
    store.away = False
    for _ in range(3):
        clock.advance(1.0)
        first.tick()
        second.tick()
    assert second.router.weight == 0
    assert isinstance(second.events[-1], Aborted)


def test_alone_it_may_withdraw_and_never_advances() -> None:
    clock, store = ManualClock(1000.0), Away()
    first, second = (controller(store, clock) for _ in range(2))
    serve(clock, first, second, seconds=3)
    store.away = True
    serve(clock, first, seconds=60)
    assert first.state.stage == 0
    assert first.router.share == 5
    serve(clock, first, seconds=12, bad=True)
    assert first.router.weight == 0
    assert second.router.weight
    store.away = False
    for _ in range(3):
        clock.advance(1.0)
        first.tick()
        second.tick()
    assert second.router.weight == 0
    (end,) = [event for event in second.events if isinstance(event, RolledBack)]
    assert end.reason == "error_rate"


def test_a_store_that_is_away_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    clock, store = ManualClock(1000.0), Away()
    store.away = True
    guard = controller(store, clock)
    assert guard.result().phase is Phase.PENDING
    assert guard.router.weight == 0
    assert "the store cannot be used: the store is away; until then the baseline" in caplog.text
    serve(clock, guard, seconds=20)
    store.away = False
    clock.advance(1.0)
    guard.tick()
    assert guard.state.phase is Phase.RUNNING
    assert guard.router.share == 5


def test_another_plan_under_the_same_name_is_refused(store: Any) -> None:
    clock = ManualClock(1000.0)
    controller(store, clock)
    with pytest.raises(JournalMismatchError, match="min_samples"):
        controller(store, clock, thresholds={"min_samples": 6})
    stranger = CanaryDeploymentController(
        Plan(deployment=plan(min_samples=6)), store=store, clock=clock
    )
    with pytest.raises(JournalMismatchError):
        stranger.start()
    stranger.observe("canary", Outcome.BAD, 20.0)
    clock.advance(10.0)
    stranger.tick()
    assert stranger.router.weight == 0


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("release.db", ValueError),
        ("sqlite://release.db", ValueError),
        ("postgres://x/y", ValueError),
        ("", ValueError),
        (3, TypeError),
    ],
)
def test_what_is_no_store_is_refused(given: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="sqlite:///FILE"):
        CanaryDeploymentController(deployment_id="x", store=given)


def test_a_journal_and_a_store_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leave the journal out"):
        create_canary_controller("x", journal=tmp_path / "j", store="memory://")


def test_where_the_address_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text(f'[store]\nurl = "sqlite:///{tmp_path}/plan.db"\n')
    assert load_plan(file).store.url == f"sqlite:///{tmp_path}/plan.db"
    environ = {"CANARIO_STORE": f"sqlite:///{tmp_path}/environ.db"}
    create_canary_controller("x", config=file, environ=environ, clock=ManualClock(0.0)).start()
    assert (tmp_path / "environ.db").exists()
    assert not (tmp_path / "plan.db").exists()
    with pytest.raises(ValueError, match="store is ''"):  # no default, though it is empty
        create_canary_controller("x", config=file, environ={}, store="")
    with pytest.raises(ConfigError, match="uri"):
        load_plan(document={"store": {"uri": "x"}})


# -- the file


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE x (y)")
    db.close()
    with pytest.raises(StoreError, match="a database of something else"):
        SqliteStore(path).head("x")
    path.write_bytes(b"no database at all, but text" * 100)
    with pytest.raises(StoreError, match="not a database"):
        SqliteStore(path).head("x")


def test_a_newer_layout_is_refused(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "release.db")
    assert store.head("x") == ""
    store.close()
    with sqlite3.connect(tmp_path / "release.db") as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(StoreError, match="by a newer canario, in layout 99"):
        SqliteStore(tmp_path / "release.db").head("x")


def test_a_file_system_of_a_network_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("canario.stores.sqlite._file_system", lambda _: "nfs4")
    with pytest.raises(StoreError, match=r"file system of a network \(nfs4\)"):
        SqliteStore(tmp_path / "release.db").head("x")


def test_a_file_that_is_taken_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is served by a canary that was withdrawn, and it is told again to the new file."""
    clock, path = ManualClock(1000.0), tmp_path / "release.db"
    guard = controller(f"sqlite:///{path}", clock)
    serve(clock, guard, seconds=7, bad=True)
    assert guard.state.phase is Phase.ROLLED_BACK
    for each in tmp_path.glob("release.db*"):
        if each.is_file():
            each.unlink()
    caplog.set_level(logging.INFO)
    clock.advance(1.0)
    guard.tick()
    clock.advance(1.0)
    guard.tick()
    assert guard.router.weight == 0
    other = controller(f"sqlite:///{path}", clock)
    assert other.state.phase is Phase.ROLLED_BACK
    assert other.router.weight == 0
    assert [type(event) for event in other.events[:2]] == [Started, StageEntered]


# -- the server


def test_a_server_that_is_killed_and_has_forgotten_everything() -> None:
    """Whoever knows of the withdrawal says so again; nobody is sent to the canary meanwhile."""
    clock = ManualClock(1000.0)
    with redis_server() as server:
        both = [controller(server.url, clock) for _ in range(2)]
        both[0].abort()
        server.kill()
        clock.advance(1.0)
        for each in both:
            each.tick()
        assert both[0].router.weight == 0
        server.start()
        for _ in range(3):
            clock.advance(1.0)
            for each in both:
                each.tick()
        third = controller(server.url, clock)
        assert [each.router.weight for each in (*both, third)] == [0, 0, 0]
        assert third.state.phase is Phase.ABORTED


def test_a_server_that_forgets_a_rollout_that_runs_begins_it_anew_at_no_higher_share() -> None:
    clock = ManualClock(1000.0)
    with redis_server() as server:
        guard = controller(server.url, clock)
        guard.skip()
        assert guard.router.share == 50
        server.client.flushall()
        clock.advance(1.0)
        guard.tick()
        assert guard.router.share == 5


def test_a_server_whose_memory_is_full(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock(1000.0)
    with redis_server() as server:
        guard = controller(server.url, clock)
        server.client.config_set("maxmemory", 1)
        serve(clock, guard, seconds=3)
        assert "the store cannot be used" not in caplog.text  # only the thread tells
        serve(clock, guard, seconds=40)
        assert guard.router.share == 5  # alone it does not advance
        serve(clock, guard, seconds=20, bad=True)
        assert guard.router.weight == 0
        server.client.config_set("maxmemory", 0)
        for _ in range(3):
            clock.advance(1.0)
            guard.tick()
        assert controller(server.url, clock).state.phase is Phase.ROLLED_BACK


def test_what_is_no_address_of_redis() -> None:
    with pytest.raises(ValueError, match="Port could not be cast"):
        CanaryDeploymentController(deployment_id="x", store="redis://host:port/x")
