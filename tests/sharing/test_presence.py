"""Who is there, who is dead, and what died with whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec import msgpack
from tests.sharing.cluster import Cluster, plan

from canario.control.events import RolledBack
from canario.control.rollout import Crashes, Rollout, RolloutMemory
from canario.control.state import Phase
from canario.sharing.presence import Presence, make_presence

WORKER = """
import os, sys
from pathlib import Path
from canario.sharing.presence import Presence
mine = Presence(Path(sys.argv[1]), sys.argv[2])
for arm in sys.argv[3:]:
    mine.enter(arm)
print("there", flush=True)
sys.stdin.read()
"""


def worker(folder: Path, name: str, *arms: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), name, *arms],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    return process


def test_who_is_killed_is_found_with_what_it_had(tmp_path: Path) -> None:
    mine = Presence(tmp_path, "me")
    other = worker(tmp_path, "other", "canary", "baseline", "canary")
    try:
        assert mine.gone() == []
        os.kill(other.pid, signal.SIGSTOP)  # stopped is not dead
        assert mine.gone() == []
    finally:
        other.kill()
        other.communicate()
    (dead,) = mine.gone()
    assert (dead.worker, dead.baseline, dead.canary) == ("other", 1, 2)
    # Nobody else buries it meanwhile; what is let go of is found again.
    second = Presence(tmp_path, "second")
    assert second.gone() == []
    mine.let_go(dead)
    (dead,) = second.gone()
    second.bury(dead)
    assert mine.gone() == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.worker", "second.worker"]
    mine.close()
    assert second.gone() == []


def test_a_child_does_not_keep_its_parent_alive(tmp_path: Path) -> None:
    """It has a copy of the parent's file, and closes it; the parent keeps its lock."""
    mine = Presence(tmp_path, "me")
    child = Presence(tmp_path, "watches")
    pid = os.fork()
    if pid == 0:
        mine.abandon()
        os._exit(0)
    os.waitpid(pid, 0)
    assert child.gone() == []
    mine.enter("canary")
    mine.abandon()  # as if its process were gone
    (dead,) = child.gone()
    assert (dead.worker, dead.canary) == ("me", 1)
    child.bury(dead)


def test_marks_are_put_right(tmp_path: Path) -> None:
    """What two threads have written at once, or what was never left, stands for a second only."""
    mine, other = Presence(tmp_path, "me"), Presence(tmp_path, "other")
    for _ in range(3):
        mine.enter("canary")
    mine.leave("baseline")  # of one that was corrected away before
    mine.correct(4, 1)
    mine.leave("canary")
    mine.enter("baseline")
    mine.abandon()
    (dead,) = other.gone()
    assert (dead.baseline, dead.canary) == (5, 0)
    other.bury(dead)


def test_where_no_file_can_be_made_it_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = make_presence(tmp_path / "file" / "below", "me")
    assert isinstance(said, str)
    assert "cannot be used" in said


def begun(**thresholds: int) -> Rollout:
    rollout = Rollout(plan(**thresholds))
    rollout.start(0.0)
    return rollout


def test_three_deaths_convict_it_whatever_min_samples_says() -> None:
    rollout = begun(min_samples=10_000)
    assert rollout.crash(1.0, baseline=0, canary=1) == []
    assert rollout.crash(2.0, baseline=3, canary=1) == []
    (_, end) = rollout.crash(3.0, baseline=0, canary=2)
    assert isinstance(end, RolledBack)
    assert end.reason == "crashed"
    assert (end.verdict.observed, end.verdict.limit) == (3, 3)
    # All that nobody answered are errors of their arm.
    assert rollout.recorder.canary.window.counts(3.0).errors == 4
    assert rollout.recorder.baseline.window.counts(3.0).errors == 3
    assert rollout.crash(4.0, baseline=0, canary=1) == []


def test_where_the_baseline_kills_workers_too_nobody_is_convicted() -> None:
    rollout = begun(min_samples=10_000)
    rollout.crash(1.0, baseline=1, canary=0)
    for at in range(2, 9):
        assert rollout.crash(float(at), baseline=0, canary=1) == []
    assert rollout.state.phase is Phase.RUNNING


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_the_plan_says_how_many(limit: int) -> None:
    rollout = begun(min_samples=10_000, rollback_after_crashes=limit)
    for n in range(limit - 1):
        assert rollout.crash(1.0 + n, baseline=0, canary=1) == []
    assert rollout.crash(9.0, baseline=0, canary=1)[-1].terminal


def test_deaths_are_remembered_over_a_restart_of_all_workers() -> None:
    rollout = begun()
    rollout.crash(1.0, baseline=0, canary=1)
    again = Rollout(plan())
    kept = msgpack.encode(rollout.memory())
    again.recall(msgpack.decode(kept, type=RolloutMemory))
    assert again.memory() == rollout.memory()
    assert again.memory().crashes == Crashes(1, 0)


def test_each_death_counts_once_whoever_finds_it() -> None:
    cluster = Cluster(plan(), 1, 2)
    for member in cluster.members:
        # Told once, also to an operator, however often it is found.
        assert [member.crashed("dead", baseline=0, canary=1) for _ in range(2)] == [True, False]
    cluster.turns()
    cluster.turns()
    for member in cluster.members:
        assert member.rollout.memory().crashes == Crashes(1, 0)
        assert member.knows("dead")
