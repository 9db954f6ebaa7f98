"""Requests are counted in cells as wide as nobody can tell: every check sees the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canario.metrics.window import SlidingWindow
from canario.plan import Deployment, MissingEvidence, Plan, RollbackThresholds, Stage
from canario_sim import Order, Run, Scenario, run
from canario_sim.distributions import Gamma
from canario_sim.scenario.broken_contracts import Single
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.faults import Errors
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson
from canario_sim.world import rehearsal
from canario_sim.world.rehearsal import cell_seconds


def scenario(
    *,
    window: float = 60,
    interval: float = 5,
    holds: Sequence[float] = (300, 600, 1800),
    deadline: float | None = None,
    orders: Sequence[tuple[float, Any]] = (),
    rate: float = 3,
    **parts: Any,
) -> Scenario:
    shares = (5, 25, 100)[-len(holds) :]
    stages = [
        Stage(percentage=share, hold_seconds=hold)
        for share, hold in zip(shares, holds, strict=True)
    ]
    thresholds = RollbackThresholds(
        metric_window_seconds=window, check_interval_seconds=interval, min_samples=5
    )
    waiting = MissingEvidence()
    if deadline is not None:
        waiting = MissingEvidence(deadline_seconds=deadline, then="rollback")
    plan = Plan(
        deployment=Deployment(
            canary_stages=tuple(stages), rollback_thresholds=thresholds, missing_evidence=waiting
        )
    )
    return Scenario(
        name="cells",
        teaches="nothing",
        plan=plan,
        traffic=Poisson(rate=rate),
        baseline=Service(latency=Gamma(mean_ms=400), error_rate=1),
        orders=tuple(Order(at=at, order=order) for at, order in orders),
        **parts,
    )


@pytest.mark.parametrize(
    ("made", "cell"),
    [
        (scenario(), 5),
        (scenario(interval=10, holds=(60, 120)), 10),
        (scenario(interval=30, holds=(300, 600)), 30),
        (scenario(interval=60, window=30), 30),
        (scenario(interval=2.5, window=30), 2.5),
        (scenario(holds=(301, 600)), 1),
        (scenario(deadline=12.5), 1),
        (scenario(deadline=900), 5),
        (scenario(orders=[(900, "pause"), (1000, "resume")]), 5),
        (scenario(orders=[(901, "pause")]), 1),
        (scenario(window=50), 50 / 60),
        (scenario(interval=0.1, window=6), 0.1),
        (scenario(contract_failures=(Single(at=100),)), 1),
    ],
)
def test_a_cell_is_as_wide_as_all_that_looks_at_the_window_allows(
    made: Scenario, cell: float
) -> None:
    assert cell_seconds(made) == pytest.approx(cell)


def in_slices(made: Scenario) -> Run:
    """The rehearsal whose cells are slices of the window."""
    window = made.plan.deployment.rollback_thresholds.metric_window_seconds
    width = SlidingWindow(window).slice_seconds
    with mock.patch.object(rehearsal, "cell_seconds", return_value=width):
        return run(made)


INTERVALS = st.sampled_from([0.5, 2.5, 5, 6, 7, 10, 15])
HOLDS = st.lists(st.sampled_from([10, 30, 35, 37.5, 60, 90, 120]), min_size=1, max_size=3)
ORDERS = st.lists(
    st.tuples(
        st.sampled_from([5, 10, 12.5, 20, 30, 31, 60, 65, 90]),
        st.sampled_from(["pause", "resume", "skip", "restart", "promote"]),
    ),
    max_size=3,
)


@settings(max_examples=60)
@given(
    window=st.sampled_from([10, 15, 30, 50, 60, 120]),
    interval=INTERVALS,
    holds=HOLDS,
    deadline=st.sampled_from([None, 20, 31, 60]),
    orders=ORDERS,
    rate=st.sampled_from([0.05, 0.5, 8]),
    error_rate=st.sampled_from([0, 15, 60]),
    clients=st.sampled_from([None, Clients(attempts=2, timeout_ms=500)]),
    seed=st.integers(0, 1000),
)
def test_every_check_sees_the_same_as_with_a_cell_for_each_slice(
    window: float,
    interval: float,
    holds: list[float],
    deadline: float | None,
    orders: list[tuple[float, Any]],
    rate: float,
    error_rate: float,
    clients: Clients | None,
    seed: int,
) -> None:
    made = scenario(
        window=window,
        interval=interval,
        holds=holds,
        deadline=deadline,
        orders=orders,
        rate=rate,
        faults=(Errors(arm="canary", rate=error_rate, at=15, lasts=40),) if error_rate else (),
        clients=clients,
        seed=seed,
        horizon_seconds=401,
    )
    assert run(made) == in_slices(made)
