"""What Prometheus knows of a service: an answer of /api/v1/query_range, or a text exposition.

Both hold counters. Of a range, what they have grown by is taken, over restarts; of a single
exposition, all that they have counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from canario.arms import ARMS
from canario.contracts.quoting import brief
from canario.tape.format import TapeError
from canario_sim.streams import Flags, Floats
from canario_sim.tapes.left_out import LeftOut
from canario_sim.tapes.parsed import outcome_of_status
from canario_sim.tapes.recording import BAD, GOOD, NEUTRAL
from canario_sim.tapes.which_service import Where, only_one

from .arrivals import Counts
from .observed import ArmObserved, Observed
from .prometheus_series import Series, read_series
from .samples import Binned

__all__ = ["read_prometheus"]

# Labels that tell what came of a request. A status says more than a word that somebody chose.
_STATUS = (
    "http_response_status_code",
    "http_status_code",
    "status_code",
    "response_code",
    "code",
    "status",
    "http_status",
    "status_class",
)
_STATUS_CLASS = re.compile(r"([1-5])xx", re.IGNORECASE)
_WORDS = {
    GOOD: "good ok success successful succeeded informational redirection",
    BAD: "bad error errors failure failed fail exception server_error timeout timed_out",
    NEUTRAL: "neutral client_error",
}
_OUTCOMES = {word: outcome for outcome, words in _WORDS.items() for word in words.split()}
_SAID = {GOOD: "good", BAD: "an error", NEUTRAL: "says nothing"}

# What is of several of these is of several services; of several instances it is one service.
_SERVICES = (
    "job",
    "exported_job",
    "service_name",
    "service",
    "app",
    "namespace",
    "environment",
    "env",
    "deployment_id",
)

_UNITS = {
    "seconds": 1000.0,
    "milliseconds": 1.0,
    "ms": 1.0,
    "microseconds": 1e-3,
    "us": 1e-3,
    "nanoseconds": 1e-6,
    "ns": 1e-6,
}
_GIVEN_UNITS = {"s": 1000.0, "ms": 1.0, "us": 1e-3, "ns": 1e-6}
_SHOWN_UNITS = {1000.0: "s", 1.0: "ms", 1e-3: "us", 1e-6: "ns"}

_ALL = "+Inf"
# A range that is cut finer than this has no counts worth fitting.
_LEAST_STEPS = 2


class Growth(NamedTuple):
    """What a series grew by, and by when; `restarts` are those that were seen."""

    at: Floats
    by: Floats
    restarts: int = 0

    @property
    def total(self) -> float:
        return float(self.by.sum())


def read_prometheus(
    path: Path,
    *,
    metric: str | None = None,
    rate: float | None = None,
    where: Mapping[str, str] | None = None,
    unit: str | None = None,
    errors: Collection[int] = (),
) -> Observed:
    """What a file says of one histogram, and of the requests and errors beside it.

    Args:
        path: An answer of /api/v1/query_range in JSON, or a text exposition.
        metric: The histogram's name, without `_bucket`; by default the one with the most in it
            of those whose names tell a unit of time.
        rate: Requests per second; a text exposition does not tell.
        where: Labels that series have to have.
        unit: Of the buckets' edges, `s`, `ms`, `us` or `ns`, where the name tells none.
        errors: Statuses below 500 that count as errors.

    Raises:
        TapeError: For a file without a histogram, or without the one that is asked for; for
            series of several services; for native histograms, and answers to expressions, whose
            counters cannot be told any more.
    """
    return _Reader(path, Where(where or {}), unit, errors).read(metric, rate)


class _Reader:
    def __init__(self, path: Path, where: Where, unit: str | None, errors: Collection[int]) -> None:
        self._path = path
        self._unit = unit
        self._errors = errors
        self._points = LeftOut()
        self._aside = LeftOut()
        series, self._notes = read_series(path, self._points)
        if where:
            kept = [each for each in series if where.takes(each.labels)]
            if len(kept) < len(series):
                self._aside.add(f"without {where}", count=len(series) - len(kept))
            series = kept
        self._series = series
        self._ranged = any(len(each.at) > 1 for each in series)
        # By `id`, for a series holds arrays and has no hash.
        self._growths = dict(_growths(series, ranged=self._ranged))

    def read(self, metric: str | None, rate: float | None) -> Observed:
        """See `read_prometheus`."""
        name, buckets = self._histogram(metric)
        shown = name.removesuffix("_bucket")
        scale = self._scale(shown)
        for label in _SERVICES:
            named = Counter(each.labels.get(label, "") for each in buckets)
            only_one(self._path, f"series of {shown}", label, named)
        arms = self._arms(buckets)
        told = {arm: self._told(arm, of, shown) for arm, of in arms.items()}
        observed = {arm: self._observed(of, scale, told[arm], shown) for arm, of in arms.items()}
        baseline = observed.get("baseline") or next(iter(observed.values()))
        canary = observed.get("canary") if "baseline" in observed else None
        counts = self._counts(buckets, rate)
        notes = [
            f"latencies are of {shown}, in {_SHOWN_UNITS[scale]}",
            *self._meanings(told),
            *self._summed(buckets),
            *self._left_out(),
            *self._notes,
            *_doubts(observed),
        ]
        return Observed(
            source=self._path.name,
            counts=counts,
            baseline=baseline,
            canary=canary if canary is not None and canary.requests else None,
            notes=tuple(dict.fromkeys(notes)),
        )

    # -- which series

    def _histogram(self, metric: str | None) -> tuple[str, list[Series]]:
        """The name of the histogram, and its buckets."""
        found: dict[str, list[Series]] = {}
        for each in self._series:
            if "le" in each.labels:
                try:
                    float(each.labels["le"])
                except ValueError:
                    self._aside.add("an le that is no number", each.name)
                    continue
                found.setdefault(each.name, []).append(each)
        if "" in found:
            raise TapeError(
                f"{self._path} holds series without a name, so the answer to an expression, whose "
                "restarts and counts are gone; ask for the `_bucket` counters themselves"
            )
        names = sorted(found)
        if metric is not None:
            asked = next((name for name in (metric, f"{metric}_bucket") if name in found), None)
            if asked is None:
                raise TapeError(
                    f"{self._path} holds no histogram {metric!r}; it has {_listed(names)}"
                )
            return asked, found[asked]
        if not names:
            summary = any("quantile" in each.labels for each in self._series)
            why = "; a summary's quantiles cannot be added up" if summary else ""
            raise TapeError(
                f"{self._path} holds no histogram with buckets; it has none{why}"
                + "".join(f"; {note}" for note in self._left_out())
            )
        timed = [name for name in names if self._unit is not None or _unit_of(name)]
        if not timed:
            raise TapeError(
                f"{self._path} holds {_listed(names)}, whose names tell no unit of time; say which "
                "is the latency with --metric, and its unit with --unit"
            )
        name = max(timed, key=lambda each: self._total(found[each]))
        others = [each.removesuffix("_bucket") for each in names if each != name]
        if others:
            self._notes.append(f"other histograms are left out: {_listed(others)} (--metric)")
        return name, found[name]

    def _scale(self, shown: str) -> float:
        told = _unit_of(shown)
        if self._unit is not None:
            return _GIVEN_UNITS[self._unit]
        if told is None:
            raise TapeError(
                f"{self._path}: the name {shown} tells no unit of time; say it with --unit"
            )
        return told

    def _arms(self, buckets: list[Series]) -> dict[str, list[Series]]:
        arms: dict[str, list[Series]] = {}
        for each in buckets:
            arms.setdefault(each.labels.get("arm", "baseline"), []).append(each)
        strange = sorted(set(arms) - set(ARMS))
        if strange and len(arms) > 1:
            raise TapeError(
                f"{self._path} holds series of the arms {_listed(sorted(arms))}; valid are "
                f"{' and '.join(ARMS)}; take one with --where arm={brief(strange[0], 40)}"
            )
        if strange:
            self._notes.append(f"the arm {brief(strange[0], 40)!r} is taken as the baseline")
            return {"baseline": arms[strange[0]]}
        return arms

    # -- what came of requests

    def _told(self, arm: str, buckets: list[Series], shown: str) -> list[Series]:
        """The series that tell errors: the histogram's own, or a counter of requests beside it."""
        every = [each for each in buckets if _is_all(each)]
        told = [each for each in every if _label_of(each)]
        if told:
            silent = sum(self._growths[id(each)].total for each in every if not _label_of(each))
            if silent:
                self._notes.append(
                    f"{silent:,.0f} requests of the {arm} have no label that tells errors; they "
                    "take part in no error rate"
                )
            return told
        beside = [
            each
            for each in self._series
            if each.name.endswith("requests_total")
            and _label_of(each)
            and each.labels.get("arm", arm) == arm
        ]
        names = sorted({each.name for each in beside})
        first = f"{shown.partition('_')[0]}_"
        own = [name for name in names if name.startswith(first)]
        if len(names) > 1 and len(own) == 1:
            names = own
        if len(names) == 1:
            self._notes.append(f"errors are those of {names[0]}")
            return [each for each in beside if each.name == names[0]]
        if names:
            self._notes.append(
                f"errors may be those of {_listed(names)}: which is not clear, so the error rate "
                "is taken as 0"
            )
        else:
            self._notes.append(
                "no label tells errors (code, status, outcome): the error rate is taken as 0"
            )
        return []

    def _outcome(self, series: Series) -> int | None:
        """What a series' requests were worth; None for a word that is not known."""
        label = _label_of(series)
        value = series.labels[label]
        if label != "outcome":
            found = _STATUS_CLASS.fullmatch(value)
            status = f"{found[1]}00" if found else value
            # 0 is no response at all.
            if status.isdecimal() and (not int(status) or 100 <= int(status) <= 999):
                return outcome_of_status(int(status), self._errors)
        return _OUTCOMES.get(value.lower().replace("-", "_").replace(" ", "_"))

    def _meanings(self, told: Mapping[str, list[Series]]) -> Iterator[str]:
        """What was taken for what."""
        sums: dict[tuple[str, str], list[float]] = {}
        outcomes = {}
        for series in (each for of in told.values() for each in of):
            label = _label_of(series)
            key = label, series.labels[label]
            sums.setdefault(key, []).append(self._growths[id(series)].total)
            outcomes[key] = self._outcome(series)
        for key, parts in sorted(sums.items(), key=lambda each: -sum(each[1])):
            word = f'{key[0]}="{brief(key[1], 40)}"'
            outcome, n = outcomes[key], round(sum(parts))
            if outcome is None:
                yield (
                    f"{word} is no status and no word that is known: its {n:,} requests take part "
                    f"in no error rate; known are {', '.join(_OUTCOMES)}"
                )
            else:
                yield f"{word} is {_SAID[outcome]}: {n:,} requests"

    # -- numbers

    def _observed(
        self, buckets: list[Series], scale: float, told: list[Series], shown: str
    ) -> ArmObserved:
        binned = self._binned(buckets, scale, shown)
        sums = {GOOD: 0.0, BAD: 0.0, NEUTRAL: 0.0}
        for each in told:
            outcome = self._outcome(each)
            sums[NEUTRAL if outcome is None else outcome] += self._growths[id(each)].total
        requests = round(sums[GOOD] + sums[BAD]) if told else binned.n
        return ArmObserved(
            requests, min(round(sums[BAD]), requests), binned if binned.n >= 2 else None
        )

    def _binned(self, buckets: list[Series], scale: float, shown: str) -> Binned:
        groups: dict[tuple[tuple[str, str], ...], dict[float, float]] = {}
        for each in buckets:
            of = groups.setdefault(_without_le(each), {})
            le = float(each.labels["le"])
            of[le] = of.get(le, 0.0) + self._growths[id(each)].total
        counted = [of for of in groups.values() if any(of.values())] or [*groups.values()]
        common = set.intersection(*map(set, counted))
        if np.inf not in common:
            raise TapeError(
                f'{self._path} has series of {shown} without the bucket le="{_ALL}", so how many '
                "took longer than the last one is not known"
            )
        if any(set(of) != common for of in counted):
            self._notes.append(
                f"series of {shown} have different buckets; the {len(common)} that all have are "
                "taken"
            )
        edges = np.array(sorted(common))
        upto = np.array([sum(of[edge] for of in counted) for edge in edges])
        cumulated = np.maximum.accumulate(upto)
        # Scrapes are not of one instant, so a count may be one behind; more is no histogram.
        if np.any(cumulated - upto > 0.01 * cumulated[-1] + 1):
            self._notes.append(
                f"the buckets of {shown} are not cumulative: are they a histogram's?"
            )
        counts = np.round(np.diff(cumulated, prepend=0.0)).astype(np.float64)
        return Binned(np.concatenate([[0.0], edges * scale]), counts)

    def _counts(self, buckets: list[Series], rate: float | None) -> Counts | None:
        """Requests in each step of a range."""
        if rate is not None:
            if self._ranged:
                self._notes.append(f"traffic is {rate:g} requests/s as --rate says, not as it was")
            # One interval: a rate does not say how it swings.
            return Counts((round(rate * 3600),), 3600.0)
        own = [each for each in buckets if _is_all(each)]
        instants = np.unique(np.concatenate([each.at for each in own]))
        steps = [np.median(np.diff(each.at)) for each in own if len(each.at) > 1]
        if len(instants) < _LEAST_STEPS or not steps:
            raise TapeError(
                f"{self._path} is one look at the counters, which does not tell how many requests "
                "come in a second; give --rate"
            )
        step = float(np.median(steps))
        # Series are not looked at at one instant; what grew belongs to the step that it ended in.
        numbers = np.zeros(max(round((instants[-1] - instants[0]) / step), 1))
        for each in own:
            grown = self._growths[id(each)]
            places = np.ceil((grown.at - instants[0]) / step - 0.5).astype(np.int64) - 1
            np.add.at(numbers, np.clip(places, 0, len(numbers) - 1), grown.by)
        restarts = sum(self._growths[id(each)].restarts for each in own)
        if restarts:
            what = "one counter" if restarts == 1 else f"{restarts:,} times a counter"
            self._notes.append(f"{what} fell: taken as a restart, after which it began at 0")
        falls = sum(len(self._growths[id(each)].at) for each in own) / 10
        if restarts > max(falls, 3):
            self._notes.append("counters fall so often that they may be none: is it a gauge?")
        return Counts(tuple(np.round(numbers).astype(np.int64).tolist()), step, float(instants[0]))

    def _total(self, buckets: Iterable[Series]) -> float:
        return sum(self._growths[id(each)].total for each in buckets if _is_all(each))

    # -- what a reader should know

    def _summed(self, buckets: list[Series]) -> Iterator[str]:
        values: dict[str, set[str]] = {}
        for each in buckets:
            for name, value in each.labels.items():
                values.setdefault(name, set()).add(value)
        many = {
            name: len(found)
            for name, found in values.items()
            if len(found) > 1 and name not in ("le", "arm")
        }
        if many:
            named = ", ".join(f"{brief(name, 40)} ({n})" for name, n in sorted(many.items()))
            yield f"summed over the values of {named} (--where takes one)"

    def _left_out(self) -> Iterator[str]:
        yield from self._points.notes("1 point", "points")
        yield from self._aside.notes("1 series", "series")


def _growths(series: list[Series], *, ranged: bool) -> Iterator[tuple[int, Growth]]:
    """What each series has grown by; of one look at all of them, all that they have counted."""
    began: dict[tuple[str | None, ...], float] = {}
    groups: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for each in series:
        began[each.source] = min(began.get(each.source, np.inf), float(each.at[0]))
        groups.setdefault(_without_le(each), []).append(each)
    for group in groups.values():
        # A process that begins anew does so with all of its buckets, also where one of them has
        # counted more since than before.
        fell = set().union(*(each.at[1:][_falls(each)].tolist() for each in group))
        for each in group:
            if not ranged:
                yield id(each), Growth(each.at, each.values)
                continue
            anew = np.isin(each.at[1:], [*fell])
            by = np.where(anew, each.values[1:], np.diff(each.values))
            at = each.at[1:]
            if each.at[0] > began[each.source]:
                # Its process is known from before, so the counter was at 0 until then.
                at, by = each.at, np.concatenate([each.values[:1], by])
            yield id(each), Growth(at, by, int(np.count_nonzero(anew)))


def _falls(series: Series) -> Flags:
    falls: Flags = np.diff(series.values) < 0
    return falls


def _without_le(series: Series) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(each for each in series.labels.items() if each[0] != "le"))


def _is_all(series: Series) -> bool:
    return float(series.labels["le"]) == np.inf


def _label_of(series: Series) -> str:
    """The label that tells what came of a series' requests; "" for none."""
    # A label `status` may hold words as well; what has a number beside it is told by that.
    for name in _STATUS:
        value = series.labels.get(name, "")
        if value[:1].isdecimal():
            return name
    if "outcome" in series.labels:
        return "outcome"
    return next((name for name in _STATUS if name in series.labels), "")


def _unit_of(name: str) -> float | None:
    """How many ms a number in a histogram of this name is; None where it tells no unit."""
    parts = name.removesuffix("_bucket").split("_")
    found = [_UNITS[part] for part in parts if part in _UNITS]
    return found[-1] if found else None


def _doubts(observed: Mapping[str, ArmObserved]) -> Iterator[str]:
    for arm, of in observed.items():
        if isinstance(of.latencies, Binned) and of.latencies.n:
            (median,) = of.latencies.quantiles(np.array([0.5])).tolist()
            if median < 1:
                yield (
                    f"half of the {arm}'s requests took less than {median:.3g} ms: is the unit "
                    "right?"
                )
            elif median > 60_000 and np.isfinite(median):
                yield (
                    f"half of the {arm}'s requests took {median / 1000:,.0f} s: is the unit right?"
                )
        if of.requests >= 100 and of.errors == of.requests:
            yield f"all of the {arm}'s {of.requests:,} requests failed"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(brief(name, 60) for name in names) or "none"
