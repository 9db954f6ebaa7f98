"""A controller from arguments, the environment and a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from .clock import Clock
from .config import load_plan
from .controller import CanaryDeploymentController, Sink
from .stores import SharedStore

__all__ = ["create_canary_controller"]


def create_canary_controller(
    deployment_id: str | None = None,
    *,
    canary_5_hold_seconds: float | None = None,
    canary_25_hold_seconds: float | None = None,
    full_rollout_hold_seconds: float | None = None,
    max_error_rate: float | None = None,
    max_p95_latency_ms: float | None = None,
    metric_window_seconds: float | None = None,
    min_samples: int | None = None,
    check_interval_seconds: float | None = None,
    config: str | os.PathLike[str] | None = None,
    environ: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    journal: str | os.PathLike[str] | None = None,
    store: str | SharedStore | None = None,
    sinks: Iterable[Sink] = (),
) -> CanaryDeploymentController:
    """Make a controller; each value comes from its argument, else the environment, else the
    file, else the documented default.

    Args:
        deployment_id: Names the release. Two releases under one name reach the same users first.
        canary_5_hold_seconds: Seconds at 5 %; so are the next two at 25 % and 100 %.
        canary_25_hold_seconds: See above.
        full_rollout_hold_seconds: See above.
        max_error_rate: Roll back above this, in percent.
        max_p95_latency_ms: Roll back when the 95th percentile is above this.
        metric_window_seconds: Length of the window that is judged.
        min_samples: Requests in the window that a judgement takes.
        check_interval_seconds: Seconds between two checks.
        config: A plan file, TOML or JSON.
        environ: The environment, `os.environ` by default.
        clock: Gives the instant in seconds; by default a steady clock on the host's date.
        journal: File that the events are appended to. If it holds events already, the rollout is
            taken up from there. One process at a time can have it.
        store: Where all workers of the release share its rollout: `sqlite:///release.db` for those
            of one host. By default what `CANARIO_STORE` or the plan's `[store]` says, else none.
        sinks: Each is called with every event, after it took effect; `[print]` will do.

    Raises:
        ConfigError: When a value is wrong; it names where the value came from.
        ValueError: When nothing names the release.
        TypeError: When the journal or the sinks are none.
    """
    holds = {5: canary_5_hold_seconds, 25: canary_25_hold_seconds, 100: full_rollout_hold_seconds}
    thresholds = {
        "max_error_rate": max_error_rate,
        "max_p95_latency_ms": max_p95_latency_ms,
        "metric_window_seconds": metric_window_seconds,
        "min_samples": min_samples,
        "check_interval_seconds": check_interval_seconds,
    }
    plan = load_plan(
        config,
        environ=os.environ if environ is None else environ,
        deployment_id=deployment_id,
        hold_seconds={share: hold for share, hold in holds.items() if hold is not None},
        thresholds={key: value for key, value in thresholds.items() if value is not None},
    )
    return CanaryDeploymentController(
        plan,
        clock=clock,
        journal=journal,
        store=plan.store.url if store is None else store,
        sinks=sinks,
    )
