"""What goes wrong in a rehearsal: errors, latency, outage, lost capacity, leaks."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta

from canario.spec import Count, Percent, Positive
from canario_sim.streams import Floats

from .clustering import Clustering
from .targets import Targeted

__all__ = [
    "AddedLatency",
    "Errors",
    "Fault",
    "Hang",
    "LostCapacity",
    "MultipliedLatency",
    "Outage",
    "SlowLeak",
]


class _Fault(Targeted, frozen=True, kw_only=True, tag_field="kind"):
    """A fault of one arm or both, over time and perhaps over certain requests.

    Faults that overlap all take effect. What they do to latency they do in the order in which
    the scenario lists them; as causes of failures they are independent, so a request survives
    when it survives each; and the servers that they take add up.
    """

    ramp: Annotated[
        float, Meta(ge=0, description="Seconds in which it grows evenly to its full strength.")
    ] = 0.0
    every: Annotated[
        Positive | None, Meta(description="Seconds from one occurrence's start to the next's.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every is not None and (self.lasts is None or self.lasts > self.every):
            raise ValueError(
                f"every is {self.every!r} and for is {self.lasts!r}; a fault that repeats needs "
                "a for, of at most every"
            )

    @property
    def every_seconds(self) -> float | None:
        """See `Timed`."""
        return self.every

    @property
    def words(self) -> str:
        """What it does, in a few words."""
        raise NotImplementedError

    def strength(self, since: Floats) -> Floats:
        """From 0 to 1, `since` seconds after an occurrence began."""
        return np.minimum(since / self.ramp, 1.0) if self.ramp else np.ones(len(since))

    def fails(self, since: Floats) -> Floats:
        """Probability that it makes a request fail."""
        return np.zeros(len(since))

    def slows(self, seconds: Floats, since: Floats) -> Floats:  # noqa: ARG002
        """How long requests take that would take `seconds` without it."""
        return seconds

    @property
    def failure_seconds(self) -> float | None:
        """How long a request takes that it makes fail; None for as long as it would otherwise."""
        return None


class _Failing(_Fault, frozen=True, kw_only=True):
    """A fault that makes requests fail."""

    failure_ms: Annotated[
        Positive | None,
        Meta(
            description="How long a request takes that it makes fail, in ms, whatever else slows "
            "it; none: as long as it would have taken."
        ),
    ] = None

    @property
    def failure_seconds(self) -> float | None:
        """See `_Fault`."""
        return None if self.failure_ms is None else self.failure_ms / 1000

    @property
    def _after(self) -> str:
        return "" if self.failure_ms is None else f" after {self.failure_ms:g} ms"


class Errors(_Failing, frozen=True, kw_only=True, tag="errors"):
    """Requests fail, independently of the arm's own errors and, unless they cluster, of each
    other."""

    rate: Annotated[Percent, Meta(description="Requests that it makes fail, in percent.")]
    clustering: Annotated[
        Clustering | None, Meta(description="Whose failures come together; none: nobody's.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clustering is not None:
            self.clustering.check(self.rate, "rate")

    @property
    def words(self) -> str:
        """See `_Fault`."""
        return f"{self.rate:g} % of the requests fail{self._after}"

    def fails(self, since: Floats) -> Floats:
        """The rate, at its strength."""
        return self.rate / 100 * self.strength(since)


class Outage(_Failing, frozen=True, kw_only=True, tag="outage"):
    """Every request fails, unless `failure_ms` says otherwise after the time that it would have
    taken."""

    @property
    def words(self) -> str:
        """See `_Fault`."""
        return f"outage{self._after}"

    def fails(self, since: Floats) -> Floats:
        """1, at its strength."""
        return self.strength(since)


class AddedLatency(_Fault, frozen=True, kw_only=True, tag="added_latency"):
    """Requests take longer by a fixed time."""

    ms: Annotated[Positive, Meta(description="How much longer.")]

    @property
    def words(self) -> str:
        """See `_Fault`."""
        return f"{self.ms:g} ms of added latency"

    def slows(self, seconds: Floats, since: Floats) -> Floats:
        """The sum."""
        return seconds + self.ms / 1000 * self.strength(since)


class MultipliedLatency(_Fault, frozen=True, kw_only=True, tag="multiplied_latency"):
    """Requests take longer in proportion."""

    factor: Annotated[Positive, Meta(description="How many times as long.")]

    @property
    def words(self) -> str:
        """See `_Fault`."""
        return f"latency multiplied by {self.factor:g}"

    def slows(self, seconds: Floats, since: Floats) -> Floats:
        """The product; half way up a ramp half the difference."""
        return seconds * (1 + (self.factor - 1) * self.strength(since))


class SlowLeak(_Fault, frozen=True, kw_only=True, tag="slow_leak"):
    """Latency that grows from the fault's start until its end, as memory fills."""

    ms_per_second: Annotated[
        Positive | None, Meta(description="Longer by this with every second.")
    ] = None
    factor_per_minute: Annotated[
        Annotated[float, Meta(gt=1)] | None,
        Meta(description="Multiplied by this with every minute, compounding."),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.ms_per_second is None) == (self.factor_per_minute is None):
            raise ValueError("give either ms_per_second or factor_per_minute")
        if self.ramp:
            raise ValueError(f"ramp is {self.ramp!r}; a slow_leak grows by itself, leave it out")

    @property
    def words(self) -> str:
        """See `_Fault`."""
        if self.factor_per_minute is not None:
            return f"slow leak, latency times {self.factor_per_minute:g} every minute"
        return f"slow leak, {self.ms_per_second:g} ms more every second"

    def slows(self, seconds: Floats, since: Floats) -> Floats:
        """The line or the power."""
        if self.factor_per_minute is not None:
            return seconds * self.factor_per_minute ** (since / 60)
        return seconds + (self.ms_per_second or 0.0) / 1000 * since


class Hang(_Fault, frozen=True, kw_only=True, tag="hang"):
    """Requests are never answered. Where servers are limited, they keep theirs for ever."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ramp:
            raise ValueError(f"ramp is {self.ramp!r}; a request hangs or does not, leave it out")

    @property
    def words(self) -> str:
        """See `_Fault`."""
        return "requests hang"

    def slows(self, seconds: Floats, since: Floats) -> Floats:  # noqa: ARG002
        """For ever."""
        return np.full(len(seconds), np.inf)


class LostCapacity(_Fault, frozen=True, kw_only=True, tag="lost_capacity"):
    """Servers that are busy with something else until the fault ends.

    They are taken like requests take them: in line behind those that wait when the fault
    begins, and one that is serving finishes first.
    """

    servers: Annotated[Count, Meta(description="How many servers are lost.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.ramp or self.targets:
            raise ValueError("lost_capacity takes neither ramp nor keys, routes and payloads")

    @property
    def words(self) -> str:
        """See `_Fault`."""
        return f"{self.servers} servers lost"


Fault = Errors | AddedLatency | MultipliedLatency | Outage | LostCapacity | SlowLeak | Hang
