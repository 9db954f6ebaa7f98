"""What is known of one request beside its worth, for a tape."""

from __future__ import annotations

from typing import ClassVar

from msgspec import Struct

from .format import FLIGHTS

__all__ = ["Mark"]


# There is one for each request until it is written, and none can be part of a cycle: the garbage
# collector need not walk through them.
class Mark(Struct, gc=False):
    """What a tape says of a request beside its outcome: when it arrived, from whom, and its route.

    `key` is what the request is routed by; it is hashed before it is written. `n` is the number
    that the request gets on the tape, once it is there. `flight` is a place in `format.FLIGHTS`.
    """

    at: float | None = None
    key: bytes | None = None
    route: str | None = None
    n: int | None = None
    flight: int = 0

    UNTIMED: ClassVar[int] = FLIGHTS.index("untimed")
    TIMED: ClassVar[int] = FLIGHTS.index("timed")
    STREAM: ClassVar[int] = FLIGHTS.index("stream")
    ABANDONED: ClassVar[int] = FLIGHTS.index("abandoned")
