"""Measured latencies: one by one, or how many fell into each bucket of a histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from canario_sim.streams import Floats

__all__ = ["LEAST_MS", "Binned", "Latencies", "Sample", "sample_of"]

# A log in whole milliseconds has zeros, which no distribution of positive numbers has.
LEAST_MS = 0.001

# So many values decide; more are thinned out evenly.
MOST = 50_000


@dataclass(frozen=True, slots=True)
class Sample:
    """Latencies (ms) in rising order, of `n` that were measured."""

    values: Floats
    n: int

    @property
    def points(self) -> tuple[Floats, Floats]:
        """Values and their weights, for fitting."""
        return self.values, np.ones(len(self.values))

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest."""
        return float(self.values[0]), float(self.values[-1])

    def quantiles(self, q: Floats) -> Floats:
        """The values of rank ⌈q n⌉."""
        rank = np.clip(np.ceil(q * len(self.values)).astype(np.int64) - 1, 0, len(self.values) - 1)
        return self.values[rank]

    def halves(self) -> tuple[Sample, Sample]:
        """Every second value, and the others."""
        even, odd = self.values[::2], self.values[1::2]
        return Sample(even, len(even)), Sample(odd, len(odd))


@dataclass(frozen=True, slots=True)
class Binned:
    """How many latencies lie in (edges[i], edges[i + 1]], in ms; the last edge may be inf."""

    edges: Floats
    counts: Floats

    @property
    def n(self) -> int:
        """How many there are."""
        return int(self.counts.sum())

    @property
    def bounds(self) -> tuple[float, float]:
        """About the least and the greatest."""
        used = np.flatnonzero(self.counts)
        low, high = self.edges[used[0]], self.edges[used[-1] + 1]
        return max(float(low), float(self.edges[used[0] + 1]) / 50, LEAST_MS), (
            float(high) if np.isfinite(high) else 4 * float(self.edges[used[-1]])
        )

    def quantiles(self, q: Floats) -> Floats:
        """On a straight line within a bucket; inf in the last one, if it has no end."""
        upto = np.concatenate([[0.0], np.cumsum(self.counts)]) / self.counts.sum()
        bucket = np.clip(np.searchsorted(upto, q, "left") - 1, 0, len(self.counts) - 1)
        low, high = self.edges[bucket], self.edges[bucket + 1]
        part = (q - upto[bucket]) / np.maximum(upto[bucket + 1] - upto[bucket], 1e-300)
        with np.errstate(invalid="ignore"):
            found: Floats = np.where(np.isfinite(high), low + (high - low) * part, np.inf)
        return found


Latencies = Sample | Binned


def sample_of(values: Floats) -> Sample:
    """The finite ones of some latencies (ms), in order, at most `MOST` of them."""
    kept = np.sort(np.maximum(values[np.isfinite(values)], LEAST_MS))
    n = len(kept)
    if n > MOST:
        # Evenly over the ranks: the quantiles stay where they are.
        kept = kept[((np.arange(MOST) + 0.5) * n / MOST).astype(np.int64)]
    return Sample(kept, n)
