"""What has not finished is evidence too: the requests in flight, as a judge sees them."""

from __future__ import annotations

from msgspec import Struct

from .counts import NOTHING, Counts

__all__ = ["NONE_IN_FLIGHT", "NOTHING_SEEN", "InFlight", "Seen", "SeenOfArm"]


class InFlight(Struct, frozen=True, kw_only=True):
    """One arm's requests that have arrived and have neither ended nor been counted.

    A WebSocket or an event stream is counted with its first message, and is not in flight any more.

    Attributes:
        requests: All of them. They belong into the denominator of an error rate: failures take
            milliseconds where successes take a minute, and would be counted first.
        overdue: Those that are timed and have waited for longer than the latency limit already.
            Each is a slow request whatever becomes of it.
        unanswered: Those that arrived after the arm's last answer.
    """

    requests: int = 0
    overdue: int = 0
    unanswered: int = 0


class SeenOfArm(Struct, frozen=True):
    """What one arm has in flight, and what is given up at this instant: failed, since nobody
    answered within `abandoned_after`. That counts from now on, and once."""

    in_flight: InFlight
    given_up: Counts = NOTHING


class Seen(Struct, frozen=True):
    """Both arms at one instant."""

    baseline: SeenOfArm
    canary: SeenOfArm


NONE_IN_FLIGHT = InFlight()
NOTHING_SEEN = Seen(SeenOfArm(NONE_IN_FLIGHT), SeenOfArm(NONE_IN_FLIGHT))
