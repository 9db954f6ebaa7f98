"""Users who come for several requests, with time to think in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from math import exp, log
from statistics import NormalDist
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from msgspec import Meta
from numpy.random import Generator

from canario.spec import Spec
from canario_sim.distributions import Gamma, Lognormal, Sampler
from canario_sim.streams import Floats, Ints, child, generator, seed_of

__all__ = ["Sessions", "gathered"]

_Z95 = NormalDist().inv_cdf(0.95)

# Instants, numbers of sessions, numbers of keys.
Parts = tuple[Floats, Ints, Ints]


class Sessions(Spec, frozen=True, kw_only=True):
    """A user comes, sends some requests one after the other, and goes.

    Those under way when the rollout begins are there from the start: the number of them, what
    they have left and how long until they send it are those of a steady state at the rate of
    the instant 0.
    """

    requests: Annotated[float, Meta(ge=1, description="Requests of a session, in the mean.")]
    length: Annotated[
        Literal["geometric", "fixed"],
        Meta(description="Any request may be the last alike, or all sessions are as long."),
    ] = "geometric"
    think: Annotated[
        Lognormal | Gamma,
        Meta(description="From one request of a session to its next."),
    ]

    # Sessions are drawn so many at a time, whatever the size of the arrays that are asked for.
    BATCH: ClassVar[int] = 2048

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length == "fixed" and self.requests != int(self.requests):
            raise ValueError(
                f"requests is {self.requests!r}; sessions of a fixed length need a whole number"
            )

    @property
    def mean_think(self) -> float:
        """Mean time between two requests of a session, in seconds."""
        think = self.think
        if isinstance(think, Gamma):
            return think.mean_ms / 1000
        return think.p50_ms * exp(_sigma(think) ** 2 / 2) / 1000

    @property
    def mean_seconds(self) -> float:
        """Mean time from a session's first request to its last."""
        return (self.requests - 1) * self.mean_think

    def lengths(self, random: Generator, n: int) -> Ints:
        """Numbers of requests of the next `n` sessions."""
        if self.length == "fixed":
            return np.full(n, int(self.requests))
        return random.geometric(1 / self.requests, n)

    def left(self, random: Generator, n: int) -> Ints:
        """Numbers of requests still to come of `n` sessions whose user is thinking."""
        if self.length == "fixed":
            # One is found thinking after any of its requests but the last, alike.
            return random.integers(1, int(self.requests), n)
        # A geometric length has no memory: what is left is like a whole one.
        return random.geometric(1 / self.requests, n)

    @property
    def think_met(self) -> Lognormal | Gamma:
        """The pause in which an instant finds a user: the longer, the likelier (length-biased)."""
        think = self.think
        if isinstance(think, Gamma):
            # t f(t) / mean is again a gamma, of the shape + 1, or a lognormal, of the median times
            # e^σ².
            longer = (think.shape + 1) / think.shape
            return Gamma(mean_ms=think.mean_ms * longer, shape=think.shape + 1)
        longer = exp(_sigma(think) ** 2)
        return Lognormal(p50_ms=think.p50_ms * longer, p95_ms=think.p95_ms * longer)


def gathered(
    sessions: Sessions,
    seed: int,
    begins: Iterable[Floats],
    *,
    under_way_at: float,
    keys: Callable[[int], Ints],
    size: int,
) -> Iterator[tuple[Floats, Ints, Ints]]:
    """Requests of all sessions in order, in arrays of at most `size`.

    Args:
        sessions: What they are like.
        seed: Of all that is random.
        begins: When sessions begin: arrays that do not depend on `size`.
        under_way_at: The rate at which sessions have begun before the instant 0.
        keys: Draws a key for each session.
        size: Of the arrays.

    Yields:
        Instants, numbers of the sessions in the order in which they began, numbers of keys.
    """
    lengths = generator(seed_of(seed, "session lengths"))
    thinks = seed_of(seed, "think times")
    think = sessions.think.sampler(child(thinks, 0))
    # Sessions under way at an instant are Poisson, and their mean is Little's law (M/G/∞).
    alive = int(lengths.poisson(under_way_at * sessions.mean_seconds))
    waits = generator(child(thinks, 1)).random(alive)
    # The instant falls anywhere in the pause that it meets.
    waits *= sessions.think_met.sampler(child(thinks, 2))(alive) / 1000
    left = sessions.left(lengths, alive) if alive else np.empty(0, np.int64)
    pending: Sequence[Any] = _spread(waits, left, keys(alive), 0, think)
    number = alive
    for at in begins:
        if not len(at):
            continue
        made = _spread(at, sessions.lengths(lengths, len(at)), keys(len(at)), number, think)
        number += len(at)
        pending = [np.concatenate(pair) for pair in zip(pending, made, strict=True)]
        # Sessions to come begin no earlier than the last one has begun.
        ready = pending[0] < at[-1]
        yield from _cut(_sorted([part[ready] for part in pending]), size)
        pending = [part[~ready] for part in pending]
    yield from _cut(_sorted(pending), size)


def _spread(first: Floats, lengths: Ints, keys: Ints, number: int, think: Sampler) -> Parts:
    """The requests of sessions that send their first at `first`; session by session."""
    owner = np.repeat(np.arange(len(first)), lengths)
    starts = np.cumsum(lengths) - lengths
    gaps = np.zeros(len(owner))
    later = np.ones(len(owner), np.bool_)
    later[starts] = False
    gaps[later] = think(len(owner) - len(first)) / 1000
    # One sum over all sessions, less what stands in it before each: no loop over sessions.
    since = np.cumsum(gaps)
    at: Floats = first[owner] + (since - since[starts][owner])
    return at, owner + number, keys[owner]


def _sorted(parts: Sequence[Any]) -> Parts:
    order = np.argsort(parts[0], kind="stable")
    return parts[0][order], parts[1][order], parts[2][order]


def _cut(parts: Sequence[Any], size: int) -> Iterator[Parts]:
    for first in range(0, len(parts[0]), size):
        part = slice(first, first + size)
        yield parts[0][part], parts[1][part], parts[2][part]


def _sigma(think: Lognormal) -> float:
    return log(think.p95_ms / think.p50_ms) / _Z95
