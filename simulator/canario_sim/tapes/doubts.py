"""What looks implausible in imported traffic, so that a wrong reading does not go unnoticed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import numpy as np

from .recording import BAD, NEUTRAL, Recording

__all__ = ["doubts"]

# Fewer requests than this are of one user, or alike, by chance.
_FEW = 100
_YEAR = 365.25 * 86_400
_YEAR_2000 = 946_684_800.0


def doubts(recording: Recording) -> Iterator[str]:
    """Each in a sentence."""
    count = len(recording)
    if not count:
        return
    begin, end = float(recording.at.min()), float(recording.ended.max())
    if begin < _YEAR_2000:
        yield f"the first request is of {_date(begin)}: are the instants what they are taken for?"
    if end - begin > 3 * _YEAR:
        yield (
            f"the requests span {(end - begin) / _YEAR:.0f} years, from {_date(begin)} to "
            f"{_date(end)}"
        )
    if count >= _FEW:
        yield from _of_many(recording)


def _of_many(recording: Recording) -> Iterator[str]:
    count = len(recording)
    if recording.users == 1:
        yield "all requests are one user's: is what users are told apart by a proxy's address?"
    elif not recording.users:
        yield "no user is known: every request is routed as one without a key"
    elif recording.users == count:
        yield "no user has a second request: is what users are told apart by a request's own?"
    timed = recording.latency_ms[~np.isnan(recording.latency_ms)]
    if not len(timed):
        yield "no request was timed: nothing can be said of latencies"
    else:
        middle = float(np.median(timed))
        if middle < 1:
            yield f"half of the requests took less than {middle:.3g} ms: is the unit right?"
        elif middle > 60_000:
            yield f"half of the requests took longer than {middle / 1000:.0f} s: is the unit right?"
        if len(timed) >= _FEW and float(np.ptp(timed)) == 0:
            yield f"all requests took the same, {middle:g} ms"
        if _grow(recording):
            yield (
                "the times grow with the age of their user's first request: are they those of "
                "connections?"
            )
    bad = float(np.mean(recording.outcome == BAD))
    neutral = float(np.mean(recording.outcome == NEUTRAL))
    if bad > 0.5:
        yield f"{100 * bad:.0f} % of the requests failed"
    if neutral > 0.9:
        yield f"{100 * neutral:.0f} % of the requests say nothing of the service (4xx)"


def _grow(recording: Recording) -> bool:
    """Whether users' requests mostly begin together and end apart, as if a connection was timed."""
    known = (recording.key >= 0) & ~np.isnan(recording.latency_ms)
    key, ended = recording.key[known], recording.ended[known]
    began = ended - recording.latency_ms[known] / 1000
    order = np.lexsort((ended, key))
    key, ended, began = key[order], ended[order], began[order]
    again = key[1:] == key[:-1]
    apart = np.diff(ended) > 5
    together = again & apart & (np.abs(np.diff(began)) <= 1.5)
    return bool(again.sum() >= _FEW // 2 and together.sum() > 0.3 * (again & apart).sum() > 0)


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
