"""Whether what a scenario expects comes true under as many seeds as it says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from msgspec import Raw, Struct, json

from canario_sim.scenario.expect import Expectation, under
from canario_sim.scenario.scenario import Scenario
from canario_sim.world.rehearsal import run

from .intervals import wilson

__all__ = [
    "CONFIDENCE",
    "Miss",
    "Share",
    "share_document",
    "share_of",
    "shares_document",
    "told",
]

# Of the interval in which the share that is stated must lie: a file whose share is right fails
# under one set of seeds in a hundred.
CONFIDENCE = 0.99


class Miss(Struct, frozen=True, kw_only=True):
    """A seed under which a scenario is not as expected, and what was otherwise."""

    seed: int
    expectations: tuple[Expectation, ...]

    @property
    def words(self) -> str:
        """On one line."""
        return f"seed {self.seed}: " + ", ".join(
            f"{each.name} is {each.actual}, expected {each.expected}" for each in self.expectations
        )


class Share(Struct, frozen=True, kw_only=True):
    """Under how many of some seeds a scenario is as expected.

    Attributes:
        scenario: Its name.
        chance: The share of seeds that it states, 1 for any seed; None where it expects nothing.
        first_seed: The first of them; they follow each other.
        seeds: How many there were.
        as_expected: Under how many it was.
        low: Wilson's interval for the share, at 99 % …
        high: … and its end.
        missed: The others.
    """

    scenario: str
    chance: float | None
    first_seed: int
    seeds: int
    as_expected: int
    low: float
    high: float
    missed: tuple[Miss, ...]

    @property
    def ok(self) -> bool:
        """True when what is stated may be: for any seed none is missing; a share is inside the
        interval."""
        if self.chance is None:
            return True
        return not self.missed if self.chance == 1 else self.low <= self.chance <= self.high

    @property
    def counted(self) -> str:
        """`under 27 of 30 seeds (90 %, 99 % interval 68.1 to 97.4 %)`."""
        share = 100 * self.as_expected / self.seeds
        return (
            f"under {self.as_expected} of {self.seeds} seeds ({share:.3g} %, "
            f"{100 * CONFIDENCE:g} % interval {100 * self.low:.3g} to {100 * self.high:.3g} %)"
        )

    @property
    def words(self) -> str:
        """How often it was, what it states, and whether the two go together."""
        if self.chance is None:
            return "expects nothing"
        if self.ok:
            counted = f"under all {self.seeds} seeds" if self.chance == 1 else self.counted
            return f"as expected {counted}, as it says: {under(self.chance)}"
        if self.chance == 1:
            remedy = (
                "make its world robust, or state the share of the seeds, as in chance = "
                f"{_rounded(self.as_expected / self.seeds)}"
            )
        else:
            remedy = "that lies outside; measure it under more seeds, and state what is true"
        return f"as expected {self.counted}, and it says {under(self.chance)}: {remedy}"


def share_of(
    scenario: Scenario,
    seeds: int,
    first_seed: int | None = None,
    progress: Callable[[int], object] | None = None,
) -> Share:
    """Rehearse a scenario under so many seeds.

    Args:
        scenario: What to rehearse.
        seeds: How many, at least 1.
        first_seed: The first of them; by default the scenario's own.
        progress: Called with the number of seeds that are done.

    Raises:
        ValueError: For less than one seed.
    """
    if seeds < 1:
        raise ValueError(f"seeds is {seeds!r}; it must be at least 1")
    first = scenario.seed if first_seed is None else first_seed
    missed = []
    # Where nothing is expected, no seed has to be tried.
    for seed in range(first, first + seeds if scenario.expect else first):
        made = run(scenario, seed)
        if not made.as_expected:
            wrong = tuple(each for each in made.expectations if not each.ok)
            missed.append(Miss(seed=seed, expectations=wrong))
        if progress is not None:
            progress(seed - first + 1)
    low, high = wilson(seeds - len(missed), seeds, CONFIDENCE)
    return Share(
        scenario=scenario.name,
        chance=None if scenario.expect is None else scenario.expect.chance,
        first_seed=first,
        seeds=seeds,
        as_expected=seeds - len(missed),
        low=low,
        high=high,
        missed=tuple(missed),
    )


def told(share: Share, *, most: int | None = 3) -> Iterator[str]:
    """A line of what came, and where it is not as stated the seeds, `most` of them (None: all)."""
    yield f"{share.scenario}: {share.words}"
    shown = share.missed if most is None else () if share.ok else share.missed[:most]
    for miss in shown:
        yield f"    {miss.words}"
    if not share.ok and len(share.missed) > len(shown):
        yield f"    … and {len(share.missed) - len(shown)} more"


def shares_document(shares: Sequence[Share]) -> bytes:
    """All of them as one JSON document, indented, ending in a line feed."""
    made = {
        "ok": all(share.ok for share in shares),
        "confidence": CONFIDENCE,
        "shares": [Raw(share_document(share)) for share in shares],
    }
    return json.format(json.encode(made), indent=2) + b"\n"


def share_document(share: Share) -> bytes:
    """One as a JSON document, ending in a line feed: the same seeds, the same bytes."""
    return json.encode({"ok": share.ok, "share": share}, order="deterministic") + b"\n"


def _rounded(share: float) -> str:
    """A share that a file may state: two digits, never 0 and never 1."""
    return f"{min(max(share, 0.01), 0.99):.2g}"
