"""Whatever fails, and in whatever order: what a shared rollout promises holds."""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sharing.cluster import ARMS, Cluster, plan
from tests.sharing.schedules import Schedule

from canario.control.events import Unwatched
from canario.control.recording import Outcome
from canario.plan import Sequential


@given(seed=st.integers(0, 2**32), judge=st.sampled_from([None, Sequential()]))
def test_every_schedule_keeps_what_is_promised(seed: int, judge: Any) -> None:
    schedule = Schedule(seed, judge=judge)
    for _ in range(200):
        schedule.step()
    schedule.end()


@pytest.mark.parametrize("seed", range(10))
def test_what_was_told_is_counted_once(seed: int) -> None:
    """Where nobody is killed and the store comes back, all is counted, whatever was in doubt."""
    schedule = Schedule(seed)
    cluster = schedule.cluster
    for n in range(150):
        cluster.now += 0.5
        schedule.broken = 0.5 if n % 50 < 30 else 0.0
        for member in cluster.members:
            cluster.observe(member, "baseline", Outcome.GOOD, 20.0)
            cluster.turn(member)
    schedule.broken = 0.0
    for _ in range(20):
        cluster.now += 1.0
        cluster.turns()
    totals = {m.rollout.recorder.baseline.total().requests for m in cluster.members}
    assert totals == {150 * len(cluster.members)}


def test_a_worker_that_sleeps_before_its_append_looks_again() -> None:
    """What was decided is of a time that has passed, though nobody has appended meanwhile."""
    cluster = Cluster(plan(), 1, 1)
    (member,) = cluster.members
    append = cluster.store.append

    def slow(*args: Any, **options: Any) -> bool:
        cluster.now += 60
        return append(*args, **options)

    for _ in range(29):
        cluster.now += 1
        for arm in ARMS:
            cluster.observe(member, arm, Outcome.GOOD, 20.0)
        cluster.turn(member)
    assert member.rollout.state.stage == 0
    cluster.now += 1
    with mock.patch.object(cluster.store, "append", slow):
        cluster.turn(member)
    assert member.rollout.state.stage == 0
    cluster.turn(member)
    (gap,) = [event for event in member.fold.journal if isinstance(event, Unwatched)]
    assert gap.at - gap.since == pytest.approx(60, abs=2)
