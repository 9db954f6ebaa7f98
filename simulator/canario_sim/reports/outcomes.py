"""How rollouts end, and how often: words, tones and times that every rendering of a report has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

from canario.control.events import Aborted, Checked, Event, Held, Promoted, RolledBack
from canario.control.words import seconds_in_words
from canario.judges.verdict import VerdictKind
from canario_sim.world.rehearsal import FIGURES, Exposure

from .columns import Field
from .report import Fact, Tone

__all__ = [
    "VERDICTS",
    "after",
    "ending",
    "event_tone",
    "figure_fields",
    "interval",
    "outcome_tone",
    "percent",
    "plain_outcome",
    "reach",
    "reasons_in_words",
    "rounded",
]

# The better first: of several that fall into one place, the last is shown.
VERDICTS: dict[VerdictKind, Tone] = {
    VerdictKind.HEALTHY: "good",
    VerdictKind.INSUFFICIENT: "wait",
    VerdictKind.UNHEALTHY: "bad",
}
_OUTCOMES: dict[str, Tone] = {"completed": "good", "rolled_back": "bad", "aborted": "bad"}

T = TypeVar("T")


class Ended(Protocol):
    """A rollout that has been rehearsed, recorded or judged again."""

    @property
    def outcome(self) -> str: ...

    @property
    def reason(self) -> str | None: ...


def plain_outcome(outcome: str) -> str:
    """`rolled back`."""
    return outcome.replace("_", " ")


def ending(ended: Ended, *, raw: bool = False) -> str:
    """`rolled back, error_rate`; `raw` has the outcome as programs do."""
    words = ended.outcome if raw else plain_outcome(ended.outcome)
    return f"{words}, {ended.reason}" if ended.reason else words


def outcome_tone(outcome: str) -> Tone:
    """Good, bad, or still waiting; of an outcome as programs have it or as people do."""
    return _OUTCOMES.get(outcome.replace(" ", "_"), "wait")


def event_tone(event: Event) -> Tone:
    """What an event means to whoever waits for the end."""
    match event:
        case Checked(verdict=verdict):
            return VERDICTS[verdict.kind]
        case RolledBack() | Aborted():
            return "bad"
        case Promoted():
            return "good"
        case Held():
            return "wait"
        case _:
            return "plain"


def rounded(seconds: float) -> float:
    """As exact as a reader wants it: to seconds, or to tenths of the first minute."""
    return round(seconds, 0 if seconds >= 60 else 1)


def after(seconds: float) -> str:
    """How long something took: `12 min 5 s`."""
    return seconds_in_words(rounded(seconds))


def percent(share: float, unit: str = " %") -> str:
    """One decimal; two for what would look like none or all."""
    value = 100 * share
    digits = 2 if 0 < value < 1 or 99 < value < 100 else 1
    return f"{value:.{digits}f}{unit}"


class Estimated(Protocol):
    """A share of many rollouts, with its interval."""

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


def interval(estimate: Estimated) -> str:
    """`12.5 % [10.1–15.3]`."""
    low, high = percent(estimate.low, ""), percent(estimate.high, "")
    return f"{percent(estimate.value)} [{low}–{high}]"


def reasons_in_words(reasons: Mapping[str, int]) -> str:
    """`12 error_rate, 3 p95_latency`, as they come."""
    return ", ".join(f"{count} {reason}" for reason, count in reasons.items())


def figure_fields(exposure: Callable[[T], Exposure]) -> Iterator[Field[T]]:
    """Columns of `Exposure.figures`."""

    def of(name: str) -> Callable[[T], int]:
        return lambda thing: getattr(exposure(thing), name)

    for name, title in FIGURES.items():
        yield Field(name, title, of(name), 12, brief=title)


def reach(exposure: Exposure) -> tuple[Fact, ...]:
    """Whom a canary has reached."""
    served, bad, in_flight, users = (f"{figure:,}" for figure in exposure.figures)
    return (
        Fact(label="requests served", value=served),
        Fact(label="bad requests served", value=bad),
        Fact(label="in flight at the end", value=in_flight),
        *(
            Fact(label=label, value=f"{number:,}", tone="bad")
            for label, number in (
                ("of them overdue", exposure.overdue),
                ("never answered", exposure.abandoned),
            )
            if number
        ),
        Fact(label="users reached", value=users),
    )
