"""However many workers share a rollout: its journal is that of one process that saw it all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sharing.cluster import ARMS, Cluster, plan
from tests.sharing.redis_servers import Server

from canario.control.recording import Outcome
from canario.control.rollout import Rollout
from canario.control.state import Phase
from canario.control.violation import Violation
from canario.plan import Deployment, Sequential
from canario.stores.redis import RedisStore
from canario.stores.sqlite import SqliteStore

JUDGES = [None, Sequential(), Sequential(bin_seconds=10)]


def drive(cluster: Cluster, error: float, steps: int) -> Rollout:
    """Workers, and one process that sees it all."""
    rand = cluster.random
    alone = Rollout(cluster.deployment)
    alone.start(cluster.now)
    for _ in range(steps):
        # Now and then to the very instant of a check, and never far beyond it.
        step = rand.choice([rand.randrange(920) / 1024, 0.0, max(alone.due - cluster.now, 0.0)])
        cluster.now += min(step, 920 / 1024)
        if cluster.now >= alone.due:
            cluster.turns()
            cluster.turns()
        cluster.turns_that_are_due()
        for _ in range(rand.randrange(4)):
            member, arm = rand.choice(cluster.members), rand.choice(ARMS)
            outcome = Outcome.BAD if rand.random() < error else Outcome.GOOD
            latency = rand.choice([3.0, 80.0, 700.0]) if rand.random() < 0.1 else 20.0
            cluster.observe(member, arm, outcome, latency)
            alone.observe(cluster.now, arm, outcome, latency)
            if rand.random() < 0.05:
                broken = Violation(message="no", contract="loose")
                member.violate(cluster.now - member.ahead, arm, broken)
                # A budget that is used up is found at the next check, where several share it.
                alone.recorder.broke(arm, "loose", cluster.now)
                if arm == "canary":
                    alone._latest["loose"] = broken
        if rand.random() < 0.3:
            cluster.turn(rand.choice(cluster.members))
        # The log's time is at least what stands in it, so a clock that begins now is behind by what
        # has passed since; here by nothing, or it would observe things before they happen.
        if cluster.members[0].fold.at == cluster.now and rand.random() < 0.3:
            cluster.join()
        if alone.state.phase.terminal:
            break
    cluster.turns()
    cluster.turns()
    return alone


def same(cluster: Cluster, alone: Rollout) -> None:
    first = cluster.members[0]
    for member in cluster.members:
        assert member.fold.journal == first.fold.journal
        assert member.fold.diverged == 0
        assert member.share == alone.state.share
    assert first.rollout.state == alone.state
    assert list(first.rollout.history) == list(alone.history)
    assert first.rollout.memory().judge == alone.memory().judge
    assert alone.state.phase is not Phase.PENDING


@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 5),
    judge=st.sampled_from(JUDGES),
    error=st.sampled_from([0.0, 0.02, 0.3]),
)
def test_the_journal_is_that_of_one_machine(
    seed: int, workers: int, judge: Any, error: float
) -> None:
    cluster = Cluster(plan(judge, contract_budgets={"loose": 30.0}), seed, workers)
    same(cluster, drive(cluster, error, 400))


@pytest.mark.parametrize("judge", JUDGES)
def test_so_it_is_in_a_file(judge: Any, tmp_path: Path) -> None:
    deployment: Deployment = plan(judge, contract_budgets={"loose": 30.0})
    cluster = Cluster(
        deployment,
        5,
        3,
        # Each has a connection of its own, as workers have.
        store=SqliteStore(tmp_path / "release.db"),
        wrap=lambda _: SqliteStore(tmp_path / "release.db"),
    )
    same(cluster, drive(cluster, 0.02, 150))


@pytest.mark.parametrize("judge", JUDGES)
def test_so_it_is_in_redis(judge: Any, redis_of_module: Server) -> None:
    redis_of_module.client.flushall()
    cluster = Cluster(
        plan(judge, contract_budgets={"loose": 30.0}),
        5,
        3,
        store=RedisStore(redis_of_module.url),
        wrap=lambda _: RedisStore(redis_of_module.url),
    )
    same(cluster, drive(cluster, 0.02, 150))


@pytest.mark.parametrize("judge", JUDGES)
def test_a_healthy_release_is_promoted_by_all(judge: Any) -> None:
    cluster = Cluster(plan(judge), 7, 4)
    for _ in range(300):
        cluster.now += 0.5
        for member in cluster.members:
            for arm in ARMS:
                cluster.observe(member, arm, Outcome.GOOD, 20.0)
        cluster.turns()
    assert {member.rollout.state.phase for member in cluster.members} == {Phase.COMPLETED}
