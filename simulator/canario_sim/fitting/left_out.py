"""What an importer leaves out, and what of it looks implausible: counted, and said in words."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from canario.contracts.wording import brief
from canario.control.words import seconds_in_words
from canario_sim.tapes.recording import Recording

__all__ = ["LeftOut", "implausible", "such_as"]

_EXAMPLES = 3

_YEAR = 366 * 86_400.0

# The first instant that a record of today's services has, and how few requests say nothing yet.
_EPOCH = 946_684_800.0
_ENOUGH = 100


class LeftOut:
    """Counts what is left out, by the reason: a few words that stand after a colon."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def add(self, why: str, where: str = "", count: int = 1) -> None:
        """Leave `count` out, of which one stands at `where`."""
        self._found.setdefault(why, []).extend([where] + [""] * (count - 1))

    def notes(self, one: str, many: str) -> Iterator[str]:
        """A line for each reason, the most frequent first."""
        for why, places in sorted(self._found.items(), key=lambda each: -len(each[1])):
            n = len(places)
            what = f"{one} is" if n == 1 else f"{n:,} {many} are"
            yield f"{what} left out: {why}{such_as(places)}"

    def first(self) -> str:
        """The most frequent reason."""
        why, places = max(self._found.items(), key=lambda each: len(each[1]))
        return f"{why}{such_as(places)}"


def such_as(places: list[str]) -> str:
    """Where the first ones are."""
    named = [brief(place, 60) for place in dict.fromkeys(places) if place][:_EXAMPLES]
    return f" ({'such as ' if len(places) > len(named) else ''}{', '.join(named)})" if named else ""


def implausible(recording: Recording) -> Iterator[str]:
    """What of recorded traffic is hardly so, as a rule because it was read in another way than it
    was written."""
    n = len(recording)
    if not n:
        return
    first, last = float(recording.at.min()), float(recording.ended.max())
    if last - first > _YEAR:
        yield f"implausible: the requests span {seconds_in_words(round(last - first))}"
    elif first < _EPOCH:
        yield "implausible: the requests are of a time before the year 2000"
    if recording.users == 1 and n >= _ENOUGH:
        yield f"implausible: all of {n:,} requests are of one user"
    timed = recording.latency_ms[np.isfinite(recording.latency_ms)]
    if len(timed) >= _ENOUGH and (median := float(np.median(timed))) < 1:
        yield f"implausible: half of the requests took less than {median:.3g} ms"
    elif len(timed) and (median := float(np.median(timed))) > 600_000:
        yield f"implausible: half of the requests took more than {median / 1000:,.0f} s"
    if n >= _ENOUGH and bool(recording.failed.all()):
        yield f"implausible: all of {n:,} requests failed"
