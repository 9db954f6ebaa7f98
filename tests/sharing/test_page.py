"""A withdrawal that one worker knows of is in force in all of its host with the next request."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sharing.cluster import plan

from canario import CanaryDeploymentController
from canario.clock import ManualClock
from canario.control.events import Aborted
from canario.plan import Plan
from canario.sharing.presence import Page
from canario.wsgi import CanaryMiddleware


def version(name: bytes) -> Any:
    def app(_: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [name]

    return app


class Worker:
    """One process's middleware, as far as it shares anything with another."""

    def __init__(self, path: Path, clock: ManualClock) -> None:
        self.controller = CanaryDeploymentController(
            Plan(deployment=plan()), store=f"sqlite:///{path}", clock=clock
        )
        self.controller.start()
        self.app = CanaryMiddleware(version(b"one"), self.controller, canary=version(b"two"))

    def serves(self) -> set[bytes]:
        """Which versions its users meet."""
        met = set()
        for user in range(200):
            environ = {
                "REQUEST_METHOD": "GET",
                "PATH_INFO": "/",
                "HTTP_X_USER_ID": f"{user}",
                "wsgi.url_scheme": "http",
            }
            met |= set(self.app(environ, lambda *_: print))
        return met


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[tuple[Worker, Worker]]:
    clock = ManualClock(1000.0)
    both = Worker(tmp_path / "release.db", clock), Worker(tmp_path / "release.db", clock)
    for each in both:
        clock.advance(1.0)
        each.controller.tick()
        assert each.serves() == {b"one", b"two"}
    yield both
    for each in both:
        each.controller.close()


@pytest.mark.parametrize("how", ["abort", "contract"])
def test_the_next_request_of_the_other_one_is_the_baseline_s(
    how: str, workers: tuple[Worker, Worker]
) -> None:
    first, second = workers
    if how == "abort":
        first.controller.abort()
    else:
        first.controller.report_violation("canary", "not valid")
    # Nothing was read, and no time has passed.
    assert second.serves() == {b"one"}
    assert first.serves() == {b"one"}


def test_who_is_stopped_in_a_write_keeps_nobody_from_it(
    workers: tuple[Worker, Worker], tmp_path: Path
) -> None:
    first, second = workers
    stopped = sqlite3.connect(tmp_path / "release.db", isolation_level=None)
    stopped.execute("BEGIN IMMEDIATE")
    try:
        first.controller.abort()
        assert first.serves() == {b"one"}
        assert second.serves() == {b"one"}
    finally:
        stopped.execute("ROLLBACK")
        stopped.close()
    # And the second one sees to it that the log has it, if the first is gone.
    clock = second.controller.clock
    assert isinstance(clock, ManualClock)
    for _ in range(3):
        clock.advance(1.0)
        second.controller.tick()
    assert isinstance(second.controller.events[-1], Aborted)


def test_a_page_keeps_what_came_first(tmp_path: Path) -> None:
    one, other = Page(tmp_path, "log"), Page(tmp_path, "log")
    assert (one.flag[0], other.flag[0]) == (0, 0)
    one.withdraw(b"first")
    assert (one.flag[0], other.flag[0]) == (1, 1)
    other.withdraw(b"second")
    assert one.how() == other.how() == b"first"
    assert Page(tmp_path, "another").flag[0] == 0
