"""What both arms rely on: a database, a cache, another service."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from canario.arms import Arm, ArmOrBoth
from canario.spec import Count, Percent, Positive, Seconds, Spec
from canario_sim.distributions import BuiltIn

from .onset import Onset

__all__ = ["Breaker", "Dependency", "Trouble"]


class Breaker(Spec, frozen=True, kw_only=True):
    """A circuit breaker around the calls of one dependency; each arm has its own.

    Closed, it opens when `failures` of the last `calls` have failed. Open, a call fails at once.
    After `open_seconds` it is half open: `trials` calls are made, further ones fail at once; when
    all have gone well it closes, and when one has not it is open again. From opening to closing
    is a recovery. A call that began before the breaker changed its state does not count.
    """

    failures: Annotated[
        int, Meta(ge=1, le=10_000, description="So many failed calls open it …")
    ] = 5
    calls: Annotated[
        Annotated[int, Meta(ge=1, le=10_000)] | None,
        Meta(description="… of so many; none: as many, that is in a row."),
    ] = None
    open_seconds: Annotated[Positive, Meta(description="How long it stays open.")] = 30.0
    trials: Annotated[Count, Meta(description="Calls that are tried when it is half open.")] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.of_calls < self.failures:
            raise ValueError(
                f"calls is {self.calls!r}; it must be at least failures, which is {self.failures!r}"
            )

    @property
    def of_calls(self) -> int:
        """How many of the latest calls are looked at."""
        return self.failures if self.calls is None else self.calls


class Trouble(Spec, frozen=True, kw_only=True):
    """What is wrong with a dependency for a while; it holds for calls that begin meanwhile."""

    # No `Timed`, which has an arm: a dependency serves both.

    at: Annotated[Seconds, Meta(description="When it starts, in seconds from the start.")]
    lasts: Annotated[
        Positive | None, Meta(description="How many seconds it lasts; none: to the end.")
    ] = field(default=None, name="for")
    every: Annotated[
        Positive | None, Meta(description="Seconds from one occurrence's start to the next's.")
    ] = None
    onset: Annotated[
        Onset | None, Meta(description="How it begins by chance, at the earliest at `at`.")
    ] = None
    error_rate: Annotated[
        Percent, Meta(description="Calls that it makes fail, in percent; 100 is an outage.")
    ] = 0.0
    factor: Annotated[Positive, Meta(description="Calls take so many times as long.")] = 1.0
    added_ms: Annotated[float, Meta(ge=0, description="And so much longer.")] = 0.0
    lost_servers: Annotated[
        int, Meta(ge=0, description="Servers that are busy with something else.")
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.every is not None and (self.lasts is None or self.lasts > self.every):
            raise ValueError(
                f"every is {self.every!r} and for is {self.lasts!r}; what repeats needs a for, of "
                "at most every"
            )
        if not self.words:
            raise ValueError("does nothing; give error_rate, factor, added_ms or lost_servers")

    @property
    def words(self) -> str:
        """What it does, in a few words."""
        said = []
        if self.error_rate:
            part = "all" if self.error_rate == 100 else f"{self.error_rate:g} % of the"
            said.append(f"{part} calls fail")
        if self.factor != 1:
            said.append(f"latency multiplied by {self.factor:g}")
        if self.added_ms:
            said.append(f"{self.added_ms:g} ms of added latency")
        if self.lost_servers:
            said.append(f"{self.lost_servers} servers lost")
        return ", ".join(said)

    @property
    def every_seconds(self) -> float | None:
        """As of `Timed`: `Settled.occurrences` takes either."""
        return self.every


class Dependency(Spec, frozen=True, kw_only=True):
    """Something that requests call, after their own time and while they keep their server.

    A request calls its dependencies one after the other, in the order in which they are listed.
    When a call fails or is given up the request fails, unless the dependency is optional. A
    request that fails by itself calls none.
    """

    name: Annotated[str, Meta(min_length=1, max_length=100, description="What it is called.")]
    latency: Annotated[BuiltIn, Meta(description="Time that one call takes to serve.")]
    error_rate: Annotated[Percent, Meta(description="Calls that fail, in percent.")] = 0.0
    servers: Annotated[
        Count | None,
        Meta(description="Calls served at a time, of both arms together; none: no limit."),
    ] = None
    timeout_ms: Annotated[
        Positive | None,
        Meta(
            description="When a call is given up; it goes on, unless it still stands in line. "
            "None: never."
        ),
    ] = None
    optional: Annotated[
        bool, Meta(description="A request does well without it when a call fails.")
    ] = False
    routes: Annotated[
        tuple[str, ...] | None, Meta(description="The only routes that call it; none: all.")
    ] = None
    arm: Annotated[ArmOrBoth, Meta(description="Which arm calls it.")] = "both"
    breaker: Annotated[Breaker | None, Meta(description="Circuit breaker around the calls.")] = None
    troubles: Annotated[
        tuple[Trouble, ...], Meta(description="What goes wrong with it, and when.")
    ] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.routes is not None and not self.routes:
            raise ValueError("routes is empty; name some, or leave it out for all")
        lost = max((trouble.lost_servers for trouble in self.troubles), default=0)
        if lost and (self.servers is None or lost > self.servers):
            raise ValueError(
                f"troubles has lost_servers = {lost}; the dependency {self.name!r} has "
                f"{'no servers' if self.servers is None else f'servers = {self.servers}'}"
            )

    def called_by(self, arm: Arm) -> bool:
        """True when that arm calls it."""
        return self.arm in (arm, "both")
