"""What matters to the user: how often a plan may err, how fast it must act, and who may be hurt."""

from __future__ import annotations

import re
from typing import Annotated

from msgspec import Meta

from canario.spec import Positive, Spec

__all__ = ["Goals", "duration"]

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|min|m|h)?")


class Goals(Spec, frozen=True, kw_only=True):
    """What a plan must do under every condition.

    A bad release counts as caught when it is rolled back at all; the last two ask that, with the
    same probability as `detect`, it is rolled back soon, and that few are hurt until then.
    """

    false_rollback: Annotated[
        float, Meta(ge=0, lt=1, description="At most this share of good releases is rolled back.")
    ] = 0.01
    detect: Annotated[
        float, Meta(gt=0, le=1, description="At least this share of bad releases is rolled back.")
    ] = 0.99
    within_seconds: Annotated[
        Positive | None, Meta(description="So soon after the regression begins; none: whenever.")
    ] = None
    at_most: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="With at most so many bad requests; none: any number."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detect <= self.false_rollback:
            raise ValueError(
                f"detect is {self.detect!r} and false_rollback is {self.false_rollback!r}; more of "
                "the bad releases must be rolled back than of the good ones"
            )


def duration(text: str) -> float:
    """Seconds in `120s`, `5m`, `1.5h`, `250ms`, or a bare number of seconds.

    Raises `ValueError` for anything else, and for nothing at all.
    """
    found = _DURATION.fullmatch(text.strip())
    seconds = float(found[1]) * _UNITS[found[2] or "s"] if found else 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"{text!r} is no duration; write 120s, 5m or 1h, more than 0")
    return seconds
