"""What is counted of one arm: integers, so that sums are exact in any order."""

from __future__ import annotations

from msgspec import Struct

__all__ = ["NONE_BROKEN", "NOTHING", "Counts"]


class Counts(Struct, frozen=True, kw_only=True):
    """Numbers of requests; counts of disjoint observations add up.

    `requests` are those that say something about the service (good or bad), `errors` the bad
    ones. `timed` are those with a latency, `slow` those above the latency limit. `violations`
    are broken contracts. `neutral` requests (a 4xx, a client that left) stand beside the others
    and take part in no ratio. `abandoned` are those of the errors that nobody answered in time.
    """

    requests: int = 0
    errors: int = 0
    timed: int = 0
    slow: int = 0
    violations: int = 0
    neutral: int = 0
    abandoned: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            timed=self.timed + other.timed,
            slow=self.slow + other.slow,
            violations=self.violations + other.violations,
            neutral=self.neutral + other.neutral,
            abandoned=self.abandoned + other.abandoned,
        )

    def __sub__(self, other: Counts) -> Counts:
        return Counts(
            requests=self.requests - other.requests,
            errors=self.errors - other.errors,
            timed=self.timed - other.timed,
            slow=self.slow - other.slow,
            violations=self.violations - other.violations,
            neutral=self.neutral - other.neutral,
            abandoned=self.abandoned - other.abandoned,
        )

    @property
    def error_rate(self) -> float | None:
        """Errors in percent of the requests; None without requests."""
        return 100 * self.errors / self.requests if self.requests else None

    @property
    def slow_rate(self) -> float | None:
        """Slow requests in percent of the timed ones; None when none was timed."""
        return 100 * self.slow / self.timed if self.timed else None


NOTHING = Counts()
NONE_BROKEN: dict[str, int] = {}
