"""What has not finished is evidence too: the requests in flight, as a judge sees them."""

from __future__ import annotations

from msgspec import Struct

from .counts import NOTHING, Counts

__all__ = ["NONE_IN_FLIGHT", "NOTHING_SEEN", "InFlight", "Seen", "SeenOfArm", "abandoned"]


class InFlight(Struct, frozen=True, kw_only=True):
    """One arm's requests that have arrived and have not ended, so that no count holds them.

    All of them belong into the denominator of an error rate: failures take milliseconds where
    successes take a minute, and would be counted first.

    Attributes:
        requests: Those that nobody has answered.
        overdue: Those of them that are timed and have waited for longer than the latency limit.
            Each is a slow request whatever becomes of it.
        unanswered: Those of them that arrived after the arm's last answer.
        standing: WebSockets and event streams beside them, which have sent their first message
            and may go on for hours. They are timed to that message.
        standing_slow: Those of them whose first message took longer than the latency limit.
        standing_in_stage: Those of them that were answered since the present stage began.
    """

    requests: int = 0
    overdue: int = 0
    unanswered: int = 0
    standing: int = 0
    standing_slow: int = 0
    standing_in_stage: int = 0

    def __add__(self, other: InFlight) -> InFlight:
        return InFlight(
            requests=self.requests + other.requests,
            overdue=self.overdue + other.overdue,
            unanswered=self.unanswered + other.unanswered,
            standing=self.standing + other.standing,
            standing_slow=self.standing_slow + other.standing_slow,
            standing_in_stage=self.standing_in_stage + other.standing_in_stage,
        )

    @property
    def all(self) -> int:
        """All that have arrived and not ended."""
        return self.requests + self.standing

    @property
    def timed(self) -> int:
        """Those whose latency is known, or known to be above the limit."""
        return self.overdue + self.standing

    @property
    def slow(self) -> int:
        """Those of them that are slow."""
        return self.overdue + self.standing_slow


class SeenOfArm(Struct, frozen=True):
    """What one arm has in flight, and what is given up at this instant: failed, since nobody
    answered within `abandoned_after`. That counts from now on, and once."""

    in_flight: InFlight
    given_up: Counts = NOTHING


class Seen(Struct, frozen=True):
    """Both arms at one instant."""

    baseline: SeenOfArm
    canary: SeenOfArm

    def __add__(self, other: Seen) -> Seen:
        return Seen(
            SeenOfArm(
                self.baseline.in_flight + other.baseline.in_flight,
                self.baseline.given_up + other.baseline.given_up,
            ),
            SeenOfArm(
                self.canary.in_flight + other.canary.in_flight,
                self.canary.given_up + other.canary.given_up,
            ),
        )


def abandoned(number: int, *, timed: bool = True) -> Counts:
    """What so many requests count as that are given up: failed, and slow where they are timed."""
    if not number:
        return NOTHING
    slow = number if timed else 0
    return Counts(requests=number, errors=number, timed=slow, slow=slow, abandoned=number)


NONE_IN_FLIGHT = InFlight()
NOTHING_SEEN = Seen(SeenOfArm(NONE_IN_FLIGHT), SeenOfArm(NONE_IN_FLIGHT))
