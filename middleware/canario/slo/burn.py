"""Burn rates of an error budget: how many times too fast it is spent, and when that is told.

Alerts with several windows and several rates are those of the SRE workbook, chapter 5
("Alerting on SLOs"). Everything here is a pure function of counts.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from math import inf

from msgspec import Struct

from canario.alerts.alert import Severity
from canario.metrics.flow import RETENTION_SECONDS

__all__ = [
    "BURN_WINDOWS",
    "BurnRate",
    "BurnWindows",
    "ErrorBudget",
    "burn_rate",
    "error_budget",
    "measure_burn",
    "scaled_windows",
]

# An alert may end when what it is about is at this share of what is allowed, or less.
CLEAR_SHARE = Fraction(9, 10)

_CLEAR = float(CLEAR_SHARE)

Counted = Callable[[float], tuple[int, int]]
"""From the length of a window in seconds to its bad events and all its events."""


class BurnWindows(Struct, frozen=True, kw_only=True):
    """One rule: the budget burns more than `factor` times too fast in both windows.

    The long window says that it matters, the short one that it still goes on. `name` stays the
    same when the windows are scaled to a stage's length.
    """

    name: str
    factor: float
    long_seconds: float
    short_seconds: float
    severity: Severity


class BurnRate(Struct, frozen=True, kw_only=True):
    """A rule as measured: `rate` over the long window, `short_rate` over the short one.

    A rate is None without events, and infinite when there is no budget and something was bad.
    `breached` is None when the long window has too few events; `clear` tells that an alert may
    end. `samples` are the events of the long window, `bad` the bad ones.
    """

    name: str
    factor: float
    long_seconds: float
    short_seconds: float
    severity: Severity
    rate: float | None
    short_rate: float | None
    breached: bool | None
    clear: bool
    samples: int
    bad: int


class ErrorBudget(Struct, frozen=True, kw_only=True):
    """How much badness the objective still allows.

    Of `events` in the last `period_seconds` (or since the start, if that is shorter) `bad` were
    bad and `allowed` may be. `remaining_percent` is what is left of `allowed`, below 0 when it is
    overspent and None without events. `burn_rate` is that of the last hour (or of the scaled
    window), and `exhausted_in_seconds` when the rest is spent at this rate: the workbook's
    remaining budget x 30 days / burn rate; 0 when none is left, None while the budget grows or
    holds, which it does up to a rate of 1.
    """

    events: int
    bad: int
    allowed: float
    remaining_percent: float | None
    burn_rate: float | None
    exhausted_in_seconds: float | None
    period_seconds: float


_HOUR, _DAY = 3600.0, 86_400.0

BURN_WINDOWS = (
    BurnWindows(
        name="14.4x",
        factor=14.4,
        long_seconds=_HOUR,
        short_seconds=_HOUR / 12,
        severity=Severity.CRITICAL,
    ),
    BurnWindows(
        name="6x",
        factor=6,
        long_seconds=6 * _HOUR,
        short_seconds=_HOUR / 2,
        severity=Severity.CRITICAL,
    ),
    BurnWindows(
        name="3x",
        factor=3,
        long_seconds=_DAY,
        short_seconds=2 * _HOUR,
        severity=Severity.WARNING,
    ),
    BurnWindows(
        name="1x",
        factor=1,
        long_seconds=3 * _DAY,
        short_seconds=6 * _HOUR,
        severity=Severity.WARNING,
    ),
)
_LONGEST_PAGE = max(w.long_seconds for w in BURN_WINDOWS if w.severity is Severity.CRITICAL)


def scaled_windows(
    stage_seconds: float | None, slice_seconds: float = 0.0
) -> tuple[BurnWindows, ...]:
    """The rules for a stage that is held for `stage_seconds`; as they are when that is None.

    The longest window that pages (6 h) becomes the hold, and the others shrink in proportion, but
    to no less than `slice_seconds`, what is told apart. No window grows: a longer stage has room
    for them all.

    Raises:
        ValueError: When `stage_seconds` is not more than 0.
    """
    if stage_seconds is None:
        return BURN_WINDOWS
    if not stage_seconds > 0:
        raise ValueError(f"stage_seconds is {stage_seconds!r}; it must be more than 0")
    scale = min(stage_seconds / _LONGEST_PAGE, 1.0)
    return tuple(
        BurnWindows(
            name=rule.name,
            factor=rule.factor,
            long_seconds=max(rule.long_seconds * scale, slice_seconds),
            short_seconds=max(rule.short_seconds * scale, slice_seconds),
            severity=rule.severity,
        )
        for rule in BURN_WINDOWS
    )


def burn_rate(bad: int, events: int, budget: float) -> float | None:
    """The share of bad events over the share that may be bad; None without events."""
    if not events:
        return None
    if not budget:
        return inf if bad else 0.0
    return bad / events / budget


@lru_cache(maxsize=64)
def _decimal(number: float) -> Fraction:
    """A number as it is written."""
    return Fraction(str(number))


def measure_burn(
    rule: BurnWindows, counted: Counted, budget: Fraction, min_samples: int = 1
) -> BurnRate:
    """A rule over counts. Whether it is breached is decided by integers."""
    bad, events = counted(rule.long_seconds)
    short_bad, short_events = counted(rule.short_seconds)
    factor = _decimal(rule.factor)
    numerator = budget.numerator * factor.numerator
    denominator = budget.denominator * factor.denominator
    long_over = bad * denominator > events * numerator
    short_over = short_bad * denominator > short_events * numerator
    share = budget.numerator / budget.denominator
    rate, short_rate = burn_rate(bad, events, share), burn_rate(short_bad, short_events, share)
    low = _CLEAR * rule.factor
    return BurnRate(
        name=rule.name,
        factor=rule.factor,
        long_seconds=rule.long_seconds,
        short_seconds=rule.short_seconds,
        severity=rule.severity,
        rate=rate,
        short_rate=short_rate,
        breached=long_over and short_over if events >= max(min_samples, 1) else None,
        clear=any(one is not None and one <= low for one in (rate, short_rate)),
        samples=events,
        bad=bad,
    )


def error_budget(
    bad: int, events: int, budget: Fraction, rate: float | None, period: float = RETENTION_SECONDS
) -> ErrorBudget:
    """The budget of `events`, of which the share `budget` may be bad, at the burn rate `rate`."""
    allowed = events * budget
    left: float | None = None
    if events:
        left = float(1 - bad / allowed) if allowed else (0.0 if bad else 1.0)
    exhausted = None
    if left is not None and left <= 0:
        exhausted = 0.0
    elif left is not None and rate is not None and rate > 1:
        exhausted = left * period / rate
    return ErrorBudget(
        events=events,
        bad=bad,
        allowed=float(allowed),
        remaining_percent=None if left is None else 100 * left,
        burn_rate=rate,
        exhausted_in_seconds=exhausted,
        period_seconds=period,
    )
