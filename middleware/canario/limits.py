"""The numbers, arms and outcomes that may come in from outside: what is none is refused in words.

A number beyond these limits is a mistake (a unit mixed up, a division by zero, a clock that was not
read), and believing it does harm: one NaN is fast, and spoils a sum for good; one instant in the
year 3000 makes millions of checks due.
"""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = [
    "LATEST",
    "LEAST",
    "LONGEST_MS",
    "MOST",
    "MOST_CHECKS",
    "MOST_CHECKS_AT_ONCE",
    "duration_ms",
    "refuse_arm",
    "refuse_counts",
    "refuse_instant",
    "refuse_numbers",
    "refuse_outcome",
    "truth",
]

# Every number of a plan: 31 years of seconds, a billion samples.
MOST = 1e9

# Lengths of time, and limits of latency: a thousandth of a second, or of a millisecond.
LEAST = 1e-3

# A latency is at most a day: what takes longer is no answer.
LONGEST_MS = 86_400_000.0

# Seconds before and after the epoch, three thousand years: beyond them is no clock's reading.
LATEST = 1e11

# Checks of all stages of a plan together: 57 days of one every 5 s. Each takes 0.1 ms.
MOST_CHECKS = 1_000_000

# Checks that one call may have missed, so that it ends: 11 days of one every 5 s.
MOST_CHECKS_AT_ONCE = 200_000


def duration_ms(what: str, value: Any, most: float = LONGEST_MS) -> float:
    """A time as a float. Raises `TypeError` for no number, `ValueError` for one out of range."""
    kind: type[Exception] = TypeError
    if not isinstance(value, str | bytes | bool):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            pass
        else:
            if 0 <= number <= most:
                return number
            kind = ValueError
    raise kind(
        f"{what} is {value!r}; it must be a finite number of milliseconds, at least 0 and at most "
        f"{most:,.0f}"
    )


def truth(what: str, value: Any) -> bool:
    """A truth value. Raises `TypeError` for what is none, such as a word or None."""
    if value is True or value is False:
        return bool(value)
    if type(value).__name__ in _NUMPYS or (type(value) is int and value in (0, 1)):
        return bool(value)
    raise TypeError(f"{what} is {value!r}; it must be True or False")


_NUMPYS = frozenset({"bool", "bool_"})


def refuse_arm(arm: object) -> NoReturn:
    """Say what an arm is."""
    raise ValueError(f"arm is {arm!r}; it must be 'baseline' or 'canary'")


def refuse_outcome(outcome: object) -> NoReturn:
    """Say what an outcome is."""
    raise TypeError(
        f"outcome is {outcome!r}; it must be Outcome.GOOD, Outcome.BAD or Outcome.NEUTRAL"
    )


def refuse_counts(counts: object) -> NoReturn:
    """Say what counts of requests are."""
    raise ValueError(f"{counts!r} are no counts; each must be at least 0 and at most {MOST:g}")


def refuse_numbers(now: object, latency_ms: object) -> NoReturn:
    """Say which of the two is none, and what it must be."""
    if latency_ms is not None:
        duration_ms("latency_ms", latency_ms)
    refuse_instant(now)


def refuse_instant(now: object) -> NoReturn:
    """Say what an instant is."""
    kind = ValueError if isinstance(now, int | float) else TypeError
    raise kind(
        f"now is {now!r}; it must be a finite number of seconds on the controller's clock, from "
        f"{-LATEST:g} to {LATEST:g}"
    )
