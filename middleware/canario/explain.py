"""A plan in words, for people who are about to trust it."""

from __future__ import annotations

from canario.control.words import seconds_in_words
from canario.plan import Deployment, RollbackThresholds, Routing

__all__ = ["explain"]


def explain(deployment: Deployment) -> list[tuple[str, list[str]]]:
    """Titles, each with the lines that belong under it."""
    return [
        ("release", [_release(deployment)]),
        ("routing", _routing(deployment.routing)),
        ("stages", _stages(deployment)),
        ("rollback", _rollback(deployment.rollback_thresholds)),
        ("evidence", [_evidence(deployment)]),
        ("in all", [f"{seconds_in_words(deployment.hold_seconds)} when nothing holds it up"]),
    ]


def _release(deployment: Deployment) -> str:
    name = deployment.deployment_id
    return name or "not named here; whoever makes the controller gives the deployment_id"


def _routing(routing: Routing) -> list[str]:
    salt = "the deployment_id" if routing.salt is None else repr(routing.salt)
    lines = [
        f"by a hash of {salt} and the key; the key is {', else '.join(routing.key_sources)}",
        f"users without a key are remembered by the cookie {routing.anonymous_cookie!r}"
        if routing.anonymous_cookie
        else "a request without a key goes to the baseline and is counted",
    ]
    if routing.forced_arms:
        forced = routing.forced_arms
        by = [f"signed with {forced.secret_env}"] if forced.secret_env else []
        by += [f"from {peer}" for peer in forced.trusted_peers]
        lines.append(f"{forced.header}: always or never is obeyed when it is {' or '.join(by)}")
    return lines


def _stages(deployment: Deployment) -> list[str]:
    limits = deployment.rollback_thresholds
    lines = []
    for number, stage in enumerate(deployment.canary_stages, start=1):
        rate = limits.min_samples / limits.metric_window_seconds / stage.percentage * 100
        lines.append(
            f"{number}. {stage.name}: {stage.percentage:g} % of the keys for "
            f"{seconds_in_words(stage.hold_seconds)}; its window can be judged from "
            f"{rate:.3g} requests/s of the whole app on"
        )
    return lines


def _rollback(limits: RollbackThresholds) -> list[str]:
    window = seconds_in_words(limits.metric_window_seconds)
    return [
        f"at the first contract violation of the canary, at once{_but(limits)}",
        *(
            f"when more than {budget:g} % of its requests of the last {window} broke the contract "
            f"{name}, from {limits.min_samples} requests on, at the violation itself"
            for name, budget in limits.tolerated.items()
        ),
        f"when more than {limits.max_error_rate:g} % of its requests of the last {window} failed",
        f"when the 95th percentile of their latency is above {limits.max_p95_latency_ms:g} ms",
        f"the last two from {limits.min_samples} requests on, looked at every "
        f"{seconds_in_words(limits.check_interval_seconds)} and at the end of each stage",
    ]


def _but(limits: RollbackThresholds) -> str:
    names = ", ".join(limits.tolerated)
    return f", but for {names}" if names else ""


def _evidence(deployment: Deployment) -> str:
    missing = deployment.missing_evidence
    needed = deployment.rollback_thresholds.min_samples
    held = f"a stage that brought fewer than {needed} canary requests is held until they come"
    if missing.deadline_seconds is None:
        return held
    then = {"rollback": "rolled back", "pause": "paused", "advance": "left all the same"}
    return (
        f"{held}, for {seconds_in_words(missing.deadline_seconds)} at most; "
        f"then it is {then[missing.then or 'rollback']}"
    )
