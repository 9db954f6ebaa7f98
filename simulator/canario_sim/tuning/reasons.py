"""Why each value of the recommended plan is what it is: what its neighbours would do."""

from __future__ import annotations

from collections.abc import Iterator

from canario.control.words import seconds_in_words
from canario.plan import Deployment, Sequential

from .grid import Place
from .result import Point, Reason, Scores
from .scores import Scored
from .shapes import shape_of

__all__ = ["reasons"]

_THRESHOLDS = "deployment.rollback_thresholds."
_SAMPLES, _RATES, _LIMITS = 1, 2, 3


def reasons(scored: Scored, place: Place, present: Point) -> Iterator[Reason]:
    """For each value that was tried, what the next lower and the next higher one would do."""
    own = scored.point(place)
    grid, deployment = scored.grid, own.deployment
    thresholds = deployment.rollback_thresholds
    for axis, key, unit in (
        (_RATES, "max_error_rate", " %"),
        (_LIMITS, "max_p95_latency_ms", " ms"),
        (_SAMPLES, "min_samples", " requests"),
    ):
        values = getattr(grid, key)
        yield Reason(
            key=_THRESHOLDS + key,
            value=f"{getattr(thresholds, key):g}",
            why=_beside(scored, place, axis, values, unit)
            + _before(
                getattr(present.deployment.rollback_thresholds, key), values, place[axis], unit
            ),
        )
    yield _rule(scored, place, present)
    yield from _shape(own, present)


def _rule(scored: Scored, place: Place, present: Point) -> Reason:
    """Of the window, or of the sequential judge's level: both are places of the first axis."""
    grid, windows = scored.grid, len(scored.grid.metric_window_seconds)
    rule, before = place[0], present.deployment
    own = scored.point(place).scores
    if rule < windows:
        values = grid.metric_window_seconds
        why = _beside(scored, place, 0, values, " s")
        if isinstance(before.judge, Sequential):
            why += f"; with the sequential judge of before {_said(present.scores)}"
        else:
            window = before.rollback_thresholds.metric_window_seconds
            why += _before(window, values, rule, " s")
        return Reason(key=_THRESHOLDS + "metric_window_seconds", value=f"{values[rule]:g}", why=why)
    best = min(
        (scored.point((other, *place[1:])) for other in range(windows)),
        key=lambda point: (point.scores.shortfall, point.scores.exposure),
        default=None,
    )
    why = "evidence adds up over the whole rollout"
    if best is not None:
        window = best.deployment.rollback_thresholds.metric_window_seconds
        why += f"; with fixed thresholds over {window:g} s: {_instead(own, best.scores)}"
    alpha = grid.alpha[rule - windows]
    return Reason(key="deployment.judge", value=f"sequential, alpha {alpha:g}", why=why)


def _beside(scored: Scored, place: Place, axis: int, values: tuple[float, ...], unit: str) -> str:
    own = scored.point(place).scores
    said = []
    for other in (place[axis] - 1, place[axis] + 1):
        if 0 <= other < len(values):
            there = [*place]
            there[axis] = other
            rule, sample, rate, limit = there
            theirs = scored.point((rule, sample, rate, limit)).scores
            said.append(f"at {values[other]:g}{unit}: {_instead(own, theirs)}")
    return "; ".join(said) or "nothing else was tried"


def _before(value: float, values: tuple[float, ...], place: int, unit: str) -> str:
    return "; as it was" if values[place] == value else f"; it was {value:g}{unit}"


def _instead(own: Scores, theirs: Scores) -> str:
    """What is otherwise there, the weightiest first."""
    said = []
    for name, what in (
        ("false_rollback", "of the good releases would be rolled back"),
        ("detect", "of the bad ones would be caught"),
        ("within", "of the bad ones would be caught in time"),
        ("at_most", "of the bad ones would hurt few enough"),
    ):
        a, b = getattr(own, name).value, getattr(theirs, name).value
        if a != b:
            said.append(f"{_percent(b)} {what} instead of {_percent(a)}")
    if round(own.exposure, 1) != round(theirs.exposure, 1):
        said.append(
            f"a bad release would serve {theirs.exposure:,.1f} bad requests instead of "
            f"{own.exposure:,.1f}"
        )
    if round(own.duration_seconds) != round(theirs.duration_seconds):
        said.append(
            f"a good one would take {seconds_in_words(round(theirs.duration_seconds))} instead of "
            f"{seconds_in_words(round(own.duration_seconds))}"
        )
    return " and ".join(said[:2]) or "nothing would change"


def _shape(own: Point, present: Point) -> Iterator[Reason]:
    stages = ", ".join(
        f"{stage.percentage:g} % for {stage.hold_seconds:g} s"
        for stage in own.deployment.canary_stages
    )
    interval = own.deployment.rollback_thresholds.check_interval_seconds
    key = _THRESHOLDS + "check_interval_seconds"
    if shape_of(own.deployment) == shape_of(present.deployment):
        yield Reason(key="deployment.canary_stages", value=stages, why="as they were")
        yield Reason(key=key, value=f"{interval:g}", why="as it was")
        return
    compared = (
        f"with these and the thresholds below {_said(own.scores)}; with the present plan "
        f"{_said(present.scores)}"
    )
    yield Reason(
        key="deployment.canary_stages",
        value=stages,
        why=f"{compared}; they were {_stages(present.deployment)}",
    )
    before = present.deployment.rollback_thresholds.check_interval_seconds
    yield Reason(
        key=key,
        value=f"{interval:g}",
        why="as it was" if interval == before else f"found with the stages; it was {before:g} s",
    )


def _stages(deployment: Deployment) -> str:
    return ", ".join(
        f"{stage.percentage:g} % for {stage.hold_seconds:g} s" for stage in deployment.canary_stages
    )


def _said(scores: Scores) -> str:
    return (
        f"a bad release serves {scores.exposure:,.1f} bad requests, "
        f"{_percent(scores.false_rollback.value)} of the good ones are rolled back, and one takes "
        f"{seconds_in_words(round(scores.duration_seconds))}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
