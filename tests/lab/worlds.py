"""Small experiments, and executors that do what real ones only may."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any

from canario.plan import Deployment, Plan, RollbackThresholds, Stage
from canario_sim import Scenario
from canario_sim.distributions import Lognormal
from canario_sim.lab import Condition, Experiment, Policy, Workers
from canario_sim.scenario.faults import Errors
from canario_sim.scenario.service import Service
from canario_sim.traffic import Poisson

SERVICE = Service(latency=Lognormal(p50_ms=80, p95_ms=160), error_rate=2)
DEPLOYMENT = Deployment(
    canary_stages=(Stage(20, 20), Stage(60, 20)),
    rollback_thresholds=RollbackThresholds(max_error_rate=6),
)
STRICT = Deployment(
    canary_stages=DEPLOYMENT.canary_stages,
    rollback_thresholds=RollbackThresholds(max_error_rate=3),
)


def scenario(name: str = "good", *, errors: float = 0, rate: float = 10) -> Scenario:
    """Forty seconds of traffic; `errors` percent more of the canary's requests fail."""
    return Scenario(
        name=name,
        teaches=f"what comes of {name}",
        plan=Plan(deployment=DEPLOYMENT),
        traffic=Poisson(rate=rate),
        baseline=SERVICE,
        faults=(Errors(rate=errors),) if errors else (),
    )


GOOD = Condition(scenario=scenario(), kind="healthy")
BAD = Condition(scenario=scenario("bad", errors=8), kind="regression")
OWN = Policy(name="own")
POLICIES = (OWN, Policy(name="strict", deployment=STRICT))


def experiment(
    *policies: Policy, conditions: tuple[Condition, ...] = (GOOD, BAD), seed: int = 1
) -> Experiment:
    """Two conditions under two policies, unless others are given."""
    return Experiment(conditions=conditions, policies=policies or POLICIES, seed=seed)


class Here(Executor):
    """Runs a task where it is handed in; that many in all find their worker dead, see `left`."""

    def __init__(self, left: list[int]) -> None:
        self._left = left

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`."""
        future: Future[Any] = Future()
        try:
            if self._left and self._left[0]:
                self._left[0] -= 1
                raise BrokenExecutor("a worker died")
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Jumbled(ThreadPoolExecutor):
    """Threads whose tasks end in another order than they were handed in."""

    def __init__(self, seed: int) -> None:
        super().__init__(3)
        self._random = random.Random(seed)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """See `Executor`."""
        delay = self._random.uniform(0, 0.02)

        def late() -> Any:
            time.sleep(delay)
            return fn(*args, **kwargs)

        return super().submit(late)


def here(*, lose: int = 0, slots: int = 4) -> Workers:
    """Workers of this very thread, the first `lose` of which die."""
    left = [lose]
    return Workers(lambda: nullcontext(Here(left)), slots=slots)


def jumbled(seed: int) -> Workers:
    """Workers who come back in any order."""
    return Workers(lambda: Jumbled(seed), slots=6)
