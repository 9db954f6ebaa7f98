"""What chance gives to requests beside their fates: back-off, and how their calls go."""

from __future__ import annotations

from typing import Any

import numpy as np

from canario_sim.chance.buckets import Buckets
from canario_sim.chance.requests import Fates, Requests
from canario_sim.scenario.scenario import Scenario
from canario_sim.streams import Floats, Ints, child, generator, seed_of

from .columns import Columns, Queue

__all__ = ["CallDraws", "codes"]


class CallDraws:
    """What chance gives to requests beside their fates: back-off, and how their calls go."""

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._retries = scenario.clients.attempts - 1 if scenario.clients else 0
        self._jitter = generator(seed_of(seed, "back-off")).random
        streams = seed_of(seed, "calls")
        # For the first attempts, and for the retries.
        self._calls = [
            [
                (
                    each.latency.sampler(child(child(streams, number), 2 * again)),
                    generator(child(child(streams, number), 2 * again + 1)).random,
                )
                for number, each in enumerate(scenario.dependencies)
            ]
            for again in range(2)
        ]

    def fates_and_calls(self, fates: tuple[Fates, Fates], *, again: bool = False) -> Floats:
        """Requests × the draws up to `Rules.jitter`: fates, and calls of the next requests."""
        n = len(fates[0].seconds)
        columns = [each.seconds for each in fates]
        for sample, random in self._calls[again]:
            columns += [sample(n) / 1000, random(n)]
        return np.stack(columns, 1)

    def jitter(self, n: int) -> Floats:
        """Requests × waits: how long within its limits each wait of the next requests is."""
        return self._jitter((n, self._retries))

    def queue(self, requests: Requests, buckets: Buckets, columns: Columns) -> Queue:
        """The columns of the next requests."""
        fates = (requests.baseline, requests.canary)
        known = (requests.route, requests.payload, requests.session)
        numbers: list[Any] = [requests.key, buckets.of(requests), *known, *map(codes, fates)]
        draws = np.concatenate([self.fates_and_calls(fates), self.jitter(len(requests))], axis=1)
        values = {"at": requests.at, "numbers": np.stack(numbers, 1), "draws": draws}
        return columns.all_of(Queue, values)


def codes(fates: Fates) -> Ints:
    """As in `Queue.fate`."""
    codes: Ints = fates.failed + 2 * fates.broken.astype(np.int64)
    return codes
