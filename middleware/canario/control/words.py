"""Events and durations in words, for logs, timelines and results."""

from __future__ import annotations

from canario.plan import Deployment
from canario.printable import printable

from .events import (
    Aborted,
    Checked,
    Event,
    Held,
    Paused,
    Promoted,
    Restarted,
    Resumed,
    RolledBack,
    StageEntered,
    Started,
    Unwatched,
)

__all__ = ["describe", "seconds_in_words"]

_BY = {"evidence": "", "operator": " by the operator", "deadline": " at the deadline"}


def seconds_in_words(seconds: float) -> str:
    """`45 min`, `1 h 30 min`, `7.5 s`: what a person would say."""
    if seconds < 60:
        return f"{seconds:.4g} s"
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes} min"] if minutes else []
    parts += [f"{rest:.4g} s"] if rest else []
    return " ".join(parts)


def describe(event: Event, deployment: Deployment) -> str:
    """One sentence that says what happened and why, fit for a line of a log."""
    return printable(_described(event, deployment))


def _described(event: Event, deployment: Deployment) -> str:
    match event:
        case Started():
            return f"rollout of {event.deployment.deployment_id} started"
        case StageEntered():
            stage = deployment.canary_stages[event.stage]
            return (
                f"stage {stage.name} entered{_BY[event.by]}: {event.percentage:g} % of the keys "
                f"for {seconds_in_words(stage.hold_seconds)}"
            )
        case Checked(verdict=verdict):
            return f"{verdict.kind}: {verdict.why}"
        case Held():
            held = f"held: {event.samples} of the {event.needed} samples needed have come"
            if not event.without_key:
                return held
            asked = ", ".join(event.key_sources) or "no source"
            return (
                f"{held}; {event.without_key} requests of this stage had no key and went to the "
                f"baseline (asked: {asked})"
            )
        case Paused():
            return f"paused{_BY[event.by]}"
        case Resumed():
            return "resumed by the operator"
        case Unwatched(restart=True):
            return "taken up by another process: the hold goes on where it stood"
        case Unwatched():
            gap = seconds_in_words(event.at - event.since)
            return f"nobody watched for {gap}: the hold goes on where it stood"
        case Restarted():
            return "sent back to the first stage by the operator"
        case RolledBack():
            broken = f" ({event.violation})" if event.violation else ""
            return f"rolled back, {event.reason}: {event.verdict.why}{broken}"
        case Promoted():
            return f"promoted{_BY[event.by]}: 100 % of the keys"
        case Aborted():
            return "aborted by the operator: everything goes to the baseline"
