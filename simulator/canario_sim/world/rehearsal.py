"""One rehearsal, from a scenario and a seed to what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from math import gcd, inf
from typing import TYPE_CHECKING, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from canario.arms import ARMS, Arm
from canario.control.events import Event
from canario.control.rollout import MetricsSnapshot
from canario.control.state import Phase, State
from canario.control.violation import Violation
from canario.control.words import describe
from canario.judges.verdict import Judge
from canario.metrics.window import SlidingWindow
from canario.plan import Plan
from canario.routing.router import TrafficRouter
from canario_sim.chance.draws import Draws
from canario_sim.chance.given import BROKEN, RecordedRequest, Tape
from canario_sim.chance.requests import CHUNK
from canario_sim.scenario.broken_contracts import Single
from canario_sim.scenario.expect import Ending, Expectation, Outcome, check
from canario_sim.scenario.faults import Fault, LostCapacity
from canario_sim.scenario.scenario import Order, Scenario, Settled, default_horizon

from .block import Flown
from .carrier import Carrier, Note
from .driver import Driver
from .feedback import Feedback
from .flights import Single as PendingSingle
from .flights import Standing
from .open import OpenCarrier
from .pool import Loss, Pool

if TYPE_CHECKING:
    from .closed.carrier import ClosedCarrier

__all__ = [
    "COUNTED",
    "FIGURES",
    "ArmTotals",
    "Exposure",
    "Run",
    "closed_driver_of",
    "driver_of",
    "outcome_of",
    "replay_tape",
    "result_of",
    "run",
]


C = TypeVar("C", bound=Carrier)

# Of a second: multiples of one are exact, and so are their sums and products.
_TICKS = 2.0**20


class ArmTotals(Struct, frozen=True, kw_only=True):
    """What one arm did up to the end of the rehearsal.

    `requests` are those that were done by then, or were given up: `abandoned`. Those count as
    failed and slow. `errors`, `slow` and `violations` are some of the requests. `in_flight` were
    under way, of which `overdue` had waited for longer than the latency limit.
    """

    requests: int
    errors: int
    slow: int
    violations: int
    in_flight: int
    overdue: int = 0
    abandoned: int = 0


# Said where both stand beside each other: of 14 users 12 may have been answered.
COUNTED = (
    "A user is counted with the first request that is sent to the canary, a request when done."
)

# Headings of `Exposure.figures`, by name: what a reader must not take for one another.
FIGURES = {
    "canary_requests": "canary served",
    "bad_requests": "bad",
    "in_flight": "in flight",
    "users": "users reached",
}


class Exposure(Struct, frozen=True, kw_only=True):
    """Whom the canary has reached.

    `canary_requests` are those that it had answered when the rehearsal ended, and
    `bad_requests` those of them that failed, were slow (above the plan's `max_p95_latency_ms`)
    or broke a contract, each counted once. `in_flight` had been sent to it and not been answered.
    `users` are the keys that were sent to it at least once, of `population` in all: a user is
    counted with the first request that is routed, a request when it is done. `abandoned` are those
    of the bad ones that nobody answered, `overdue` those in flight that had waited for longer than
    the latency limit.
    """

    canary_requests: int
    bad_requests: int
    in_flight: int
    users: int
    population: int
    overdue: int = 0
    abandoned: int = 0

    @property
    def words(self) -> str:
        """What comes after `the canary`."""
        never = f" ({self.abandoned:,} never answered)" if self.abandoned else ""
        more = f", with {self.in_flight:,} more in flight at the end" if self.in_flight else ""
        late = f" ({self.overdue:,} of them overdue)" if self.overdue else ""
        return (
            f"served {self.canary_requests:,} requests, {self.bad_requests:,} of them bad{never}"
            f"{more}{late}; "
            f"it reached {self.users:,} of {self.population:,} users"
        )

    @property
    def figures(self) -> tuple[int, int, int, int]:
        """What a table has under `FIGURES`."""
        return self.canary_requests, self.bad_requests, self.in_flight, self.users


class Run(Struct, frozen=True, kw_only=True):
    """What came of one rehearsal.

    Attributes:
        scenario: Its name.
        seed: What was drawn; None for a tape.
        outcome: How the rollout ended. Where it had not by the horizon: `held` when it waits
            for requests, `paused`, or `unfinished`.
        reason: Why it was rolled back, or None.
        why: The last event in words.
        ended_at: Seconds from the rollout's start to its end, or to the horizon.
        final_stage: The last stage that was entered.
        events: The journal of the rollout, as the live controller keeps it.
        notes: Faults and refused orders, for the timeline.
        baseline: What the present version did.
        canary: What the new version did.
        exposure: Whom the canary has reached.
        history: What each check saw, of the last 5,000.
        expectations: What the scenario expects, and whether it came true.
        chance: The share of seeds for which the scenario expects it; 1 for any seed.
        feedback: What requests did to each other; None where they only stand in line.
    """

    scenario: str
    seed: int | None
    outcome: Outcome
    reason: str | None
    why: str
    ended_at: float
    final_stage: str
    events: tuple[Event, ...]
    notes: tuple[Note, ...]
    baseline: ArmTotals
    canary: ArmTotals
    exposure: Exposure
    history: tuple[MetricsSnapshot, ...]
    expectations: tuple[Expectation, ...] = ()
    chance: float = 1.0
    feedback: Feedback | None = None

    @property
    def ok(self) -> bool:
        """True when nothing is wrong: the run is as expected, or is not by chance."""
        return self.as_expected or self.by_chance

    @property
    def as_expected(self) -> bool:
        """True when every expectation came true, and so when there is none."""
        return all(expectation.ok for expectation in self.expectations)

    @property
    def by_chance(self) -> bool:
        """True when the run is not as expected, and the scenario says that some seeds are not."""
        return self.chance < 1 and not self.as_expected


def run(
    scenario: Scenario,
    seed: int | None = None,
    *,
    judge: Judge | None = None,
    chunk: int = CHUNK,
    watch: Callable[[Driver[Carrier]], object] | None = None,
) -> Run:
    """Rehearse a scenario.

    Args:
        scenario: What to rehearse.
        seed: Instead of the scenario's own.
        judge: Judges instead of the plan's own. One that remembers is for one run alone.
        chunk: Requests that are drawn at a time; the result does not depend on it.
        watch: Is called with the driver at each of its steps, see `Driver`.
    """
    seed = scenario.seed if seed is None else seed
    driver = driver_of(scenario, seed, judge=judge, chunk=chunk, watch=watch)
    driver.run()
    result = result_of(driver, scenario.name, seed)
    if scenario.expect is None:
        return result
    ending = Ending(
        outcome=result.outcome,
        reason=result.reason,
        stage=result.final_stage,
        at=result.ended_at,
        bad_requests=result.exposure.bad_requests,
    )
    return replace(
        result, expectations=check(scenario.expect, ending), chance=scenario.expect.chance
    )


def driver_of(
    scenario: Scenario,
    seed: int,
    *,
    judge: Judge | None = None,
    chunk: int = CHUNK,
    witness: Callable[[Flown], object] | None = None,
    watch: Callable[[Driver[Carrier]], object] | None = None,
) -> Driver[Carrier]:
    """The driver of a rehearsal before its first instant; see `run` and the carriers."""
    settled = scenario.settled(seed)
    if settled.closed:
        return closed_driver_of(
            settled, seed, judge=judge, chunk=chunk, witness=witness, watch=watch
        )
    carry = partial(
        OpenCarrier,
        Draws(settled, seed),
        thresholds=settled.plan.deployment.rollback_thresholds,
        routes=settled.route_names,
        keyless=settled.keyless,
        standing=_standing(settled),
        width=cell_seconds(settled),
        chunk=chunk,
        witness=witness,
    )
    return _driver(settled, carry, judge, watch)


def closed_driver_of(
    scenario: Scenario,
    seed: int,
    *,
    judge: Judge | None = None,
    chunk: int = CHUNK,
    witness: Callable[[Flown], object] | None = None,
    watch: Callable[[Driver[Carrier]], object] | None = None,
    compiled: bool | None = None,
) -> Driver[ClosedCarrier]:
    """The same for a scenario in which requests act on each other, and for any other."""
    # Numbered states, steps and tables: most scenarios do without.
    from .closed.carrier import ClosedCarrier

    settled = scenario.settled(seed)
    carry = partial(
        ClosedCarrier,
        settled,
        seed,
        width=cell_seconds(settled),
        chunk=chunk,
        witness=witness,
        compiled=compiled,
    )
    return _driver(settled, carry, judge, watch)


def cell_seconds(scenario: Scenario) -> float:
    """Length of the cells in which requests are counted: a slice of the controller's window, or
    more where nobody can tell.

    Nobody can where all that looks at the window looks at multiples of a cell, and the window is
    one too: then both its ends are always edges of cells.
    """
    deployment = scenario.plan.deployment
    limits = deployment.rollback_thresholds
    window = limits.metric_window_seconds
    slice_seconds = SlidingWindow(window).slice_seconds
    spans = [window, limits.check_interval_seconds, *(order.at for order in scenario.orders)]
    spans += [stage.hold_seconds for stage in deployment.canary_stages]
    spans += [deployment.missing_evidence.deadline_seconds or 0.0]
    ticks = [span * _TICKS for span in spans]
    # A broken contract is judged at its own instant.
    if scenario.contract_failures or not all(map(float.is_integer, ticks)):
        return slice_seconds
    cell = gcd(*map(int, ticks)) / _TICKS
    return cell if cell % slice_seconds == 0 else slice_seconds


def _driver(
    scenario: Settled,
    carry: Callable[[TrafficRouter], C],
    judge: Judge | None,
    watch: Callable[[Driver[C]], object] | None,
) -> Driver[C]:
    return Driver(
        replace(scenario.plan, deployment=scenario.deployment),
        carry,
        horizon=scenario.horizon,
        orders=scenario.orders,
        notes=_notes(scenario),
        judge=judge,
        watch=watch,
    )


def replay_tape(
    plan: Plan,
    requests: Iterable[RecordedRequest],
    *,
    name: str = "tape",
    horizon_seconds: float | None = None,
    orders: Iterable[Order] = (),
    judge: Judge | None = None,
    violation: Violation = BROKEN,
    chunk: int = CHUNK,
) -> Run:
    """Rehearse a plan on recorded requests. See `RecordedRequest` and `run`.

    `violation` is what the journal says of a response that broke its contract.

    Raises `ValueError` for requests that are out of order.
    """
    named = replace(plan.deployment, deployment_id=plan.deployment.deployment_id or name)
    horizon = default_horizon(named) if horizon_seconds is None else horizon_seconds
    source, thresholds = Tape(requests, violation), named.rollback_thresholds
    driver = Driver(
        replace(plan, deployment=named),
        partial(OpenCarrier, source, thresholds=thresholds, chunk=chunk),
        horizon=horizon,
        orders=orders,
        judge=judge,
    )
    driver.run()
    return result_of(driver, name, None)


def result_of(driver: Driver[Carrier], name: str, seed: int | None) -> Run:
    """What came of a rollout that has been driven, without what is expected of it."""
    controller, carrier = driver.controller, driver.carrier
    served, left = driver.served, carrier.left
    baseline, canary = (
        ArmTotals(
            requests=row[0],
            errors=row[1],
            slow=row[2],
            violations=row[3],
            in_flight=under_way.in_flight,
            overdue=under_way.overdue,
            abandoned=abandoned,
        )
        for row, under_way, abandoned in zip(
            served.tolist(), left, driver.abandoned.tolist(), strict=True
        )
    )
    state, deployment = controller.state, controller.deployment
    outcome = outcome_of(state)
    return Run(
        scenario=name,
        seed=seed,
        outcome=outcome,
        reason=str(state.reason) if outcome == "rolled_back" else None,
        why=describe(controller.events[-1], deployment),
        ended_at=driver.ended_at,
        final_stage=deployment.canary_stages[state.stage].name,
        events=controller.events,
        notes=tuple(driver.notes),
        baseline=baseline,
        canary=canary,
        exposure=Exposure(
            canary_requests=canary.requests,
            bad_requests=int(served[1, 4]),
            in_flight=canary.in_flight,
            users=int(carrier.exposed.sum()),
            population=len(carrier.exposed),
            overdue=canary.overdue,
            abandoned=canary.abandoned,
        ),
        history=controller.metrics_history,
        feedback=carrier.feedback(driver.now, controller.plan.slo.p99_recovery_time_ms),
    )


def outcome_of(state: State) -> Outcome:
    """How a rollout ended, or where it stands at the horizon."""
    match state.phase:
        case Phase.COMPLETED:
            return "completed"
        case Phase.ROLLED_BACK:
            return "rolled_back"
        case Phase.ABORTED:
            return "aborted"
        case Phase.PAUSED:
            return "paused"
        case _:
            return "unfinished" if state.held_at is None else "held"


def _standing(scenario: Settled) -> Standing:
    """The arms before the first request."""
    singles = [
        PendingSingle(failure.at, arm == "canary", number)
        # As in `Fates.broken`, where 0 is none.
        for number, failure in enumerate(scenario.contract_failures, start=1)
        if isinstance(failure, Single)
        for arm in ARMS
        if failure.strikes(arm)
    ]
    baseline, canary = (_pool(scenario, arm) for arm in ARMS)
    return Standing(baseline=baseline, canary=canary, singles=tuple(singles))


def _pool(scenario: Settled, arm: Arm) -> Pool | None:
    servers = scenario.service(arm).servers
    if servers is None:
        return None
    losses = [
        Loss(start, end, fault.servers)
        for fault in scenario.faults
        if isinstance(fault, LostCapacity) and fault.strikes(arm)
        for start, end in scenario.occurrences(fault)
    ]
    return Pool.of(servers, losses)


def _notes(scenario: Settled) -> Iterator[Note]:
    """Starts and ends of faults."""
    for fault in scenario.faults:
        for start, end in scenario.occurrences(fault):
            yield Note(start, f"fault on {_where(fault)} starts: {fault.words}")
            if end < inf:
                yield Note(end, f"fault on {_where(fault)} ends: {fault.words}")
    for dependency in scenario.dependencies:
        for trouble in dependency.troubles:
            for start, end in scenario.occurrences(trouble):
                yield Note(start, f"trouble with {dependency.name} starts: {trouble.words}")
                if end < inf:
                    yield Note(end, f"trouble with {dependency.name} ends: {trouble.words}")


def _where(fault: Fault) -> str:
    arm = "both arms" if fault.arm == "both" else f"the {fault.arm}"
    return f"{arm} ({fault.targets})" if fault.routes or fault.payloads else arm
