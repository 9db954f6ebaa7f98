"""Recorded arrivals, replayed: the same instants, and where they are known keys and routes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Annotated, Self

import numpy as np
from msgspec import Meta

from canario.spec import Positive, Seconds
from canario_sim.streams import Floats

from .base import Arrivals, TrafficBase
from .recorded import Recording
from .recorded_file import read_recording

__all__ = ["Replay"]


class Replay(TrafficBase, frozen=True, kw_only=True, tag="replay"):
    """Requests that have been recorded, once or over and over.

    The first request that is taken arrives at the instant 0. Without keys in the recording they
    are drawn from the population. Raises `ConfigError` for a file that cannot be read.
    """

    file: Annotated[
        str,
        Meta(min_length=1, description="A tape, or a CSV file of instants, beside the scenario."),
    ]
    from_seconds: Annotated[
        Seconds, Meta(description="Leave out so much of the recording's beginning.")
    ] = 0.0
    speed: Annotated[Positive, Meta(description="How many times as fast as it was recorded.")] = 1.0
    repeat: Annotated[
        bool, Meta(description="Whether it begins again when it ends, after a usual gap.")
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sessions is not None:
            raise ValueError("sessions are drawn, a replay is not; leave them out")
        if not len(self._rows()):
            raise ValueError(
                f"from_seconds is {self.from_seconds:g}; the recording {self.file!r} has no "
                "request so late"
            )

    @property
    def recording(self) -> Recording:
        """What the file holds. Raises `ConfigError` when it cannot be read."""
        return read_recording(self.file)

    @property
    def peak(self) -> float:
        """The mean rate, in requests per second."""
        at = self._instants()
        return len(at) / self._period(at)

    def expected(self, until: float) -> float:
        """See `TrafficBase`."""
        at = self._instants()
        rounds, rest = divmod(until, self._period(at)) if self.repeat else (0, until)
        return rounds * len(at) + int(np.searchsorted(at, rest, "left"))

    def scaled(self, factor: float) -> Self:  # noqa: ARG002
        """A recording has the rate that it has. Raises `ValueError`."""
        raise ValueError("a replay has no other rate; give speed")

    def batch(self, size: int, horizon: float) -> int:  # noqa: ARG002
        """See `TrafficBase`: all are there already, and fewer would save nothing."""
        return size

    def names(self) -> Sequence[str]:
        """The keys in the recording, or those of the population."""
        return self.recording.keys or self.keys.names()

    def number(self, name: str) -> int | None:
        """See `TrafficBase`."""
        keys = self.recording.key_numbers
        return keys.get(name) if keys else self.keys.number(name)

    @property
    def valid_keys(self) -> str:
        """See `TrafficBase`."""
        keys = self.recording.keys
        return f"the keys are the {len(keys)} in the recording" if keys else super().valid_keys

    @property
    def has_sessions(self) -> bool:
        """See `TrafficBase`."""
        return self.recording.session is not None

    @property
    def routes(self) -> tuple[str, ...]:
        """The routes in the recording."""
        return self.recording.routes

    @property
    def payloads(self) -> tuple[str, ...]:
        """The payload classes in the recording."""
        return self.recording.payloads

    def arrivals(self, seed: int, size: int, until: float = inf) -> Iterator[Floats]:  # noqa: ARG002
        """The recorded instants; the seed plays no part."""
        for at, _ in self._parts(size, until):
            yield at

    def requests(self, seed: int, size: int, until: float = inf) -> Iterator[Arrivals]:
        """The recorded requests."""
        made = self.recording
        draw = self.keys.sampler(seed)
        for at, rows in self._parts(size, until):
            yield Arrivals(
                at,
                draw(len(at)) if made.key is None else made.key[rows],
                None if made.session is None else made.session[rows],
                None if made.route is None else made.route[rows],
                None if made.payload is None else made.payload[rows],
            )

    def _parts(self, size: int, until: float) -> Iterator[tuple[Floats, slice]]:
        at = self._instants()
        skipped, period, begin = len(self.recording.at) - len(at), self._period(at), 0.0
        while begin < until:
            for first in range(0, len(at), size):
                part = at[first : first + size]
                if begin + part[0] >= until:
                    return
                yield begin + part, slice(skipped + first, skipped + first + len(part))
            if not self.repeat:
                return
            begin += period

    def _rows(self) -> Floats:
        """When the requests that are taken were recorded."""
        at = self.recording.at
        rows: Floats = at[np.searchsorted(at, at[0] + self.from_seconds, "left") :]
        return rows

    def _instants(self) -> Floats:
        """When they arrive."""
        rows = self._rows()
        instants: Floats = (rows - rows[0]) / self.speed
        return instants

    @staticmethod
    def _period(at: Floats) -> float:
        """From the first request to the first of the repetition: the last gap is a mean one.

        A single instant has no gap. It is repeated after a second: after none it would be for ever.
        """
        return float(at[-1]) * len(at) / (len(at) - 1) if len(at) > 1 and at[-1] > 0 else 1.0
