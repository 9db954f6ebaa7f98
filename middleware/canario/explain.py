"""A plan in words, for people who are about to trust it."""

from __future__ import annotations

from collections.abc import Iterator
from math import log
from typing import Any

from msgspec import to_builtins

from canario.control.words import seconds_in_words
from canario.judges.promotion import at_least
from canario.plan import Deployment, RollbackThresholds, Routing, Sequential

__all__ = ["differences", "explain"]

# So many differences are named; who has more has given another file.
_NAMED = 3


def explain(deployment: Deployment) -> list[tuple[str, list[str]]]:
    """Titles, each with the lines that belong under it."""
    return [
        ("release", [_release(deployment)]),
        ("routing", _routing(deployment.routing)),
        ("stages", _stages(deployment)),
        ("rollback", _rollback(deployment)),
        ("evidence", _evidence(deployment)),
        ("in all", [f"{seconds_in_words(deployment.hold_seconds)} when nothing holds it up"]),
    ]


def differences(before: Deployment, after: Deployment) -> str:
    """What has another value in a second plan than in a first one: three of it, by their keys."""
    named = list(_differing(to_builtins(before), to_builtins(after), ""))
    rest = len(named) - _NAMED
    return ", ".join(named[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def _differing(before: Any, after: Any, path: str) -> Iterator[str]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before | after:
            here = f"{path}.{key}" if path else str(key)
            yield from _differing(before.get(key), after.get(key), here)
    elif _is_list(before) and _is_list(after) and len(before) == len(after):
        for index, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differing(old, new, f"{path}[{index}]")
    elif _is_list(before) and _is_list(after):
        yield f"{path} had {len(before)} entries and has {len(after)}"
    elif before != after:
        yield f"{path} was {_value(before)} and is {_value(after)}"


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _value(value: Any) -> str:
    return "not set" if value is None else f"{value:g}" if isinstance(value, float) else repr(value)


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
    sequential = isinstance(deployment.judge, Sequential)
    lines = []
    for number, stage in enumerate(deployment.canary_stages, start=1):
        seconds = stage.hold_seconds if sequential else limits.metric_window_seconds
        rate = limits.min_samples / seconds / stage.percentage * 100 if seconds else 0.0
        when = "its hold suffices" if sequential else "its window can be judged"
        lines.append(
            f"{number}. {stage.name}: {stage.percentage:g} % of the keys for "
            f"{seconds_in_words(stage.hold_seconds)}"
            + (f"; {when} from {rate:.3g} requests/s of the whole app on" if rate else "")
        )
    return lines


def _rollback(deployment: Deployment) -> list[str]:
    limits, judge = deployment.rollback_thresholds, deployment.judge
    contracts = _contracts(limits)
    if isinstance(judge, Sequential):
        return contracts + _sequential(limits, judge)
    return contracts + _fixed(limits)


def _contracts(limits: RollbackThresholds) -> list[str]:
    window = seconds_in_words(limits.metric_window_seconds)
    return [
        f"at the first contract violation of the canary, at once{_but(limits)}",
        *(
            f"when more than {budget:g} % of its requests of the last {window} broke the contract "
            f"{name}, from {limits.min_samples} requests on, at the violation itself"
            for name, budget in limits.tolerated.items()
        ),
    ]


def _fixed(limits: RollbackThresholds) -> list[str]:
    window = seconds_in_words(limits.metric_window_seconds)
    return [
        f"when more than {limits.max_error_rate:g} % of its requests of the last {window} failed",
        f"when the 95th percentile of their latency is above {limits.max_p95_latency_ms:g} ms",
        f"the last two from {limits.min_samples} requests on, looked at every "
        f"{seconds_in_words(limits.check_interval_seconds)} and at the end of each stage",
    ]


def _sequential(limits: RollbackThresholds, judge: Sequential) -> list[str]:
    errors, slow = _tolerated(limits, judge)
    absolute, relative = judge.weights.shares[:2], judge.weights.shares[2:]
    lines = [
        f"when the evidence that it is beyond its limits has reached {1 / judge.alpha:g}; while it "
        f"is within them that happens with a probability of {100 * judge.alpha:g} % at most, in "
        "the whole rollout",
    ]
    if any(absolute):
        lines.append(
            f"its limits: {errors:g} % of its requests fail, {slow:g} % take longer than "
            f"{limits.max_p95_latency_ms:g} ms"
        )
    if any(relative):
        lines.append(
            f"and {judge.tolerated_ratio:g} times the baseline's share of either, while the "
            "baseline has traffic"
        )
    if judge.bin_seconds is not None:
        lines.append(
            f"the requests of {seconds_in_words(judge.bin_seconds)} are judged as one, since "
            "failures come in clusters"
        )
    return [
        *lines,
        f"from the first request on, looked at every "
        f"{seconds_in_words(limits.check_interval_seconds)} and at the end of each stage",
    ]


def _tolerated(limits: RollbackThresholds, judge: Sequential) -> tuple[float, float]:
    """Percent of the requests that may fail, and that may be slow."""
    errors = judge.max_error_rate
    return (limits.max_error_rate if errors is None else errors), judge.max_slow_share


def _but(limits: RollbackThresholds) -> str:
    names = ", ".join(limits.tolerated)
    return f", but for {names}" if names else ""


def _evidence(deployment: Deployment) -> list[str]:
    missing, judge = deployment.missing_evidence, deployment.judge
    needed = deployment.rollback_thresholds.min_samples
    held = f"a stage that brought fewer than {needed} canary requests is held until they come"
    lines = []
    if isinstance(judge, Sequential) and judge.promotion_alpha is not None:
        level = -log(judge.promotion_alpha)
        takes = [
            at_least(0, 0, limit / 100, level)
            for limit in _tolerated(deployment.rollback_thresholds, judge)
        ]
        held = (
            f"a stage that brought fewer than {needed} canary requests, or no proof at "
            f"{100 * judge.promotion_alpha:g} %, is held until they come"
        )
        lines = [
            f"the proof takes at least {takes[0]} requests that do not fail, and {takes[1]} that "
            "are not slow"
        ]
    if missing.deadline_seconds is None:
        return [held, *lines]
    then = {"rollback": "rolled back", "pause": "paused", "advance": "left all the same"}
    return [
        f"{held}, for {seconds_in_words(missing.deadline_seconds)} at most; "
        f"then it is {then[missing.then or 'rollback']}",
        *lines,
    ]
