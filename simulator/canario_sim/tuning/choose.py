"""From scores to a plan: what is recommended, and what else would be worth its price."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from canario.plan import Deployment, Sequential
from canario_sim.streams import Floats, Ints

from .grid import Place
from .result import Point
from .scores import Scored

__all__ = ["best", "front", "recommended"]


def best(scored: Scored, present: tuple[float, float], like: Deployment) -> tuple[Place, Key]:
    """The candidate of a shape that is to be recommended, and by what it is compared.

    First what misses the goals least, then what is surest to meet them, then the lowest price:
    bad requests and time, each as a multiple of the present plan's (`present`). Among those that
    cost alike it is the one with fewer false rollbacks, then the one closest to the present plan.
    """
    # Rounded: what is alike must not be told apart by the last digits of a sum.
    price = np.round(_price(scored, present), 9).reshape(-1)
    lacking, doubt = (np.round(part, 9).reshape(-1) for part in (scored.shortfall, scored.doubt))
    errs = np.round(scored.false_rollback, 9).reshape(-1)
    rows = np.arange(price.size)
    for key in (lacking, doubt):
        rows = rows[key[rows] == key[rows].min()]
    rows = rows[price[rows] <= price[rows].min() * (1 + _ALIKE)]
    rows = rows[errs[rows] == errs[rows].min()]
    far = _distance(scored, like).reshape(-1)[rows]
    row = int(rows[int(np.argmin(far))])
    compared = tuple(float(key[row]) for key in (lacking, doubt, price, errs))
    return _place(row, scored.grid.shape), (*compared, float(far.min()))


# Prices that differ by no more than this are alike: what they differ by is mostly luck.
_ALIKE = 0.02

# Shortfall, doubt, price, false rollbacks, distance: the less the better, in this order.
Key = tuple[float, ...]


def recommended(
    shapes: Sequence[Scored], present: tuple[float, float], like: Deployment
) -> tuple[int, Place]:
    """The number of the shape, and the candidate's place in it."""
    found = [best(scored, present, like) for scored in shapes]
    number = min(range(len(found)), key=lambda number: (found[number][1], number))
    return number, found[number][0]


def front(shapes: Sequence[Scored], like: Deployment) -> tuple[Point, ...]:
    """Candidates of which no other is better in one of false rollbacks, exposure and duration
    without being worse in another; one of those that do the same. By false rollbacks."""
    rows = [
        (number, row)
        for number, scored in enumerate(shapes)
        for row in _undominated(_objectives(scored)).tolist()
    ]
    values: Floats = np.array([_objectives(shapes[number])[row] for number, row in rows])
    kept = [rows[index] for index in _undominated(values).tolist()]
    points = []
    for number, row in kept:
        scored = shapes[number]
        same = np.flatnonzero((_objectives(scored) == _objectives(scored)[row]).all(axis=1))
        # Of those that do the same, the one that misses the goals least, then the closest.
        lacking, far = scored.shortfall.reshape(-1)[same], _distance(scored, like).reshape(-1)[same]
        place = _place(int(same[np.lexsort((far, lacking))[0]]), scored.grid.shape)
        points.append(scored.point(place))
    return tuple(
        sorted(points, key=lambda point: (point.scores.false_rollback.value, point.scores.exposure))
    )


def _objectives(scored: Scored) -> Floats:
    """Candidates × (false rollbacks, exposure, duration)."""
    parts = (scored.false_rollback, scored.exposure, scored.duration)
    rows: Floats = np.stack([part.reshape(-1) for part in parts], axis=1).round(9)
    return rows


def _undominated(values: Floats) -> Ints:
    """Rows that no other row beats, one of each that are alike; the first of them."""
    unique, first = np.unique(values, axis=0, return_index=True)
    kept: list[int] = []
    # In lexical order nothing can be beaten by what comes after it.
    for number, row in enumerate(unique):
        if not (unique[kept] <= row).all(axis=1).any():
            kept.append(number)
    return np.sort(first[kept])


def _price(scored: Scored, present: tuple[float, float]) -> Floats:
    exposure, seconds = present
    # At least one: of a plan that serves no bad request there are no multiples.
    return scored.exposure / max(exposure, 1.0) + scored.duration / max(seconds, 1.0)


def _distance(scored: Scored, like: Deployment) -> Floats:
    """How far each candidate is from the present plan: by how many times its values differ."""
    grid, judge = scored.grid, like.judge
    thresholds, own = like.rollback_thresholds, scored.deployment
    windows = _times(grid.metric_window_seconds, thresholds.metric_window_seconds)
    levels = _times(grid.alpha, judge.alpha if isinstance(judge, Sequential) else 0.01)
    # Another judge is further away than any other value of the same one.
    other = 0 if isinstance(judge, Sequential) else _FAR
    rules = np.concatenate([windows + _FAR - other, levels + other])
    stages = zip(own.canary_stages, like.canary_stages, strict=True)
    shape = [_times((a.percentage,), b.percentage) for a, b in stages]
    stages = zip(own.canary_stages, like.canary_stages, strict=True)
    shape += [_times((a.hold_seconds,), b.hold_seconds) for a, b in stages]
    checks = own.rollback_thresholds.check_interval_seconds
    shape.append(_times((checks,), thresholds.check_interval_seconds))
    far: Floats = (
        rules[:, None, None, None]
        + _times(grid.min_samples, thresholds.min_samples)[:, None, None]
        + _times(grid.max_error_rate, thresholds.max_error_rate)[:, None]
        + _times(grid.max_p95_latency_ms, thresholds.max_p95_latency_ms)
        + float(np.sum(shape))
    )
    return far


_FAR = 100.0


def _times(values: Sequence[float], own: float) -> Floats:
    # A rate may be 0, which has no logarithm.
    times: Floats = np.abs(np.log((np.array(values, np.float64) + 1e-6) / (own + 1e-6)))
    return times


def _place(row: int, shape: tuple[int, int, int, int]) -> Place:
    rule, sample, rate, limit = (int(part) for part in np.unravel_index(row, shape))
    return rule, sample, rate, limit
