"""What cannot be had, and what it would take: in numbers of requests and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, inf

import numpy as np

from canario.control.words import seconds_in_words
from canario.plan import Deployment
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import CHUNK, Fates
from canario_sim.distributions import Empirical, Gamma, Lognormal, Mixture
from canario_sim.lab.experiment import Condition, seed_number
from canario_sim.scenario.faults import AddedLatency, Errors, MultipliedLatency
from canario_sim.scenario.scenario import Scenario
from canario_sim.scenario.service import Service
from canario_sim.streams import Flags

from .goals import Goals
from .result import Impossible
from .sample_sizes import divergence, requests_to_see_one, requests_to_tell
from .scores import Asked, Scored
from .sums import begins

__all__ = ["cannot_be_told", "impossible"]

# Requests that a condition's shares are estimated from.
_SAMPLE = 200_000

# Rehearsals that they may come from.
_REHEARSALS = 200


def impossible(
    conditions: Sequence[Condition],
    shapes: Sequence[Scored],
    chosen: Deployment,
    goals: Goals,
    seed: int,
) -> Iterator[Impossible]:
    """Each goal that no candidate meets under a condition while it spares good releases.

    `chosen` is the plan whose stages decide how many requests the canary gets.
    """
    for place, goal in enumerate(shapes[0].asked):
        each = [scored.asked[place] for scored in shapes]
        best = _best(shapes, each, goals)
        if (best > goal.wanted) if goal.at_most else (best < goal.wanted):
            condition = conditions[goal.condition]
            if condition.kind == "healthy":
                yield _unspared(condition, goal, best)
            else:
                yield _missed(condition, conditions, shapes, each, best, chosen, goals, seed)


def cannot_be_told(
    good: float, bad: float, *, rate: float, seconds: float, goals: Goals, what: str
) -> str | None:
    """One sentence, where two shares of `what` cannot be told apart in the time; else None.

    `good` and `bad` are shares from 0 to 1, `rate` the canary's requests per second.
    """
    needed = requests_to_tell(good, bad, goals.false_rollback, goals.detect)
    if needed <= rate * seconds:
        return None
    if needed == inf:
        return f"{_share(bad)} {what} is what a good release has too: nothing tells them apart"
    whole = ceil(needed)
    caught = _caught(rate * seconds, good, bad, goals)
    return (
        f"at {rate:.3g} requests/s of the canary {_article(good)} {_share(good)} {what} cannot be "
        f"told from {_share(bad)} within {seconds:g} s: it takes {whole:,} requests; hold for "
        f"{seconds_in_words(ceil(whole / rate))} or accept that at most {100 * caught:.3g} % of "
        "such releases are rolled back by then"
    )


@dataclass(frozen=True, slots=True)
class _World:
    """What a condition's canary is like: requests of the app per second, and their fates."""

    pace: float
    fates: Fates
    errors: float

    def slow(self, limit_ms: float) -> float:
        return float(np.mean(self.fates.seconds * 1000 > limit_ms))

    @property
    def broken(self) -> float:
        return float(np.mean(self.fates.broken > 0))


def _missed(
    condition: Condition,
    conditions: Sequence[Condition],
    shapes: Sequence[Scored],
    each: Sequence[Asked],
    best: float,
    chosen: Deployment,
    goals: Goals,
    seed: int,
) -> Impossible:
    goal = each[0]
    needed, words = inf, ""
    start = begins(condition)
    bad = _drawn(condition.scenario, seed, start)
    good = _drawn(conditions[_twin(condition, conditions)].scenario, seed, 0.0)
    seconds = goals.within_seconds if goal.goal == "within" else None
    arrived, rate = _arrived(bad, chosen, start, seconds)
    if bad is not None and good is not None:
        needed, what, shares = _signal(good, bad, shapes[0].grid.max_p95_latency_ms, goals)
        if goal.goal == "at_most" and needed < inf:
            words = _too_many(needed, bad, chosen, goals, what, shares)
        elif needed > arrived:
            words = _too_few(needed, arrived, rate, seconds, what, shares, goals)
    if not words:
        words = _too_hard(_twin(condition, conditions), shapes, each, best, needed, goals)
    return Impossible(
        condition=condition.name,
        goal=goal.goal,
        best=best,
        why=f"{condition.name}, {_wish(goal, goals)}: {words}",
        requests=ceil(needed) if 0 < needed < inf else None,
    )


def _too_hard(
    twin: int,
    shapes: Sequence[Scored],
    each: Sequence[Asked],
    best: float,
    needed: float,
    goals: Goals,
) -> str:
    """Of what requests enough come for, and yet no candidate does it: what stands in the way."""
    wanted = each[0].wanted
    anyhow = max(
        float(own.counts.max()) / scored.replications
        for own, scored in zip(each, shapes, strict=True)
    )
    if anyhow < wanted:
        return (
            f"no candidate does it in more than {100 * anyhow:.3g} % of the rollouts; try others, "
            "or longer holds"
        )
    caught = f"what does it in {100 * anyhow:.3g} % of the rollouts rolls back more than "
    caught += f"{100 * goals.false_rollback:.3g} % of the good releases "
    # As good as the twin allows, whatever happens to the others.
    alone = 0.0
    for own, scored in zip(each, shapes, strict=True):
        (theirs,) = (
            other.counts
            for other in scored.asked
            if other.condition == twin and other.goal == "false_rollback"
        )
        spares = theirs <= goals.false_rollback * scored.replications
        if spares.any():
            alone = max(alone, float(own.counts[spares].max()) / scored.replications)
    if alone >= wanted:
        return (
            f"{caught}of other services; what spares those does it in at most {100 * best:.3g} %: "
            "give such services plans of their own, or accept one of the two"
        )
    takes = f" takes {ceil(needed):,} requests at the least, and" if 0 < needed < inf else ""
    return (
        f"{caught}of the same service; what spares those does it in at most {100 * best:.3g} %: "
        f"telling the two apart{takes} is too hard for what was tried; hold for longer or accept "
        "one of the two"
    )


def _wish(goal: Asked, goals: Goals) -> str:
    """What is wanted, in words."""
    match goal.goal:
        case "within":
            return f"a rollback within {goals.within_seconds:g} s"
        case "at_most":
            return f"at most {goals.at_most:,} bad requests"
        case _:
            return "a rollback"


def _unspared(condition: Condition, goal: Asked, best: float) -> Impossible:
    return Impossible(
        condition=condition.name,
        goal=goal.goal,
        best=best,
        why=f"{condition.name}: every candidate rolls this good release back in at least "
        f"{100 * best:.3g} % of the rollouts; raise the limits that are tried, or give contracts "
        "that it breaks now and then a budget",
    )


def _best(shapes: Sequence[Scored], each: Sequence[Asked], goals: Goals) -> float:
    """The best share of a candidate that spares good releases; of any where none does."""
    found = []
    for strict in (True, False):
        for scored, own in zip(shapes, each, strict=True):
            spares = scored.false_rollback <= goals.false_rollback
            if strict and spares.any() and not own.at_most:
                found.append(float(own.counts[spares].max()) / scored.replications)
            elif not strict:
                counts = own.counts.min() if own.at_most else own.counts.max()
                found.append(float(counts) / scored.replications)
        if found:
            break
    return min(found) if each[0].at_most else max(found)


def _signal(
    good: _World, bad: _World, limits: Sequence[float], goals: Goals
) -> tuple[float, str, tuple[float, float]]:
    """The metric that tells the two with the fewest requests: how many, its name, its shares."""
    tried = [("error rate", good.errors, bad.errors)]
    tried += [(f"share above {limit:g} ms", good.slow(limit), bad.slow(limit)) for limit in limits]
    found = [
        (requests_to_tell(a, b, goals.false_rollback, goals.detect), what, (a, b))
        for what, a, b in tried
        # What a good release never did in the sample is not known to be impossible.
        if b > a > 0
    ]
    if bad.broken > good.broken:
        seen = requests_to_see_one(bad.broken, goals.detect)
        found.append((seen, "share of broken contracts", (good.broken, bad.broken)))
    return min(found, default=(inf, "share of bad requests", (0.0, 0.0)))


def _too_few(
    needed: float,
    arrived: float,
    rate: float,
    seconds: float | None,
    what: str,
    shares: tuple[float, float],
    goals: Goals,
) -> str:
    time = arrived / rate if seconds is None and rate else seconds or 0.0
    good, bad = shares
    if needed < inf and rate and what != "share of broken contracts":
        said = cannot_be_told(good, bad, rate=rate, seconds=time, goals=goals, what=what)
        if said is not None:
            return said
    takes = "" if needed == inf else f": it takes {ceil(needed):,} requests"
    longer = (
        f"hold for {seconds_in_words(ceil(needed / rate))}"
        if rate and needed < inf
        else ("wait for more traffic")
    )
    return (
        f"at {rate:.3g} requests/s of the canary {_article(bad)} {_share(bad)} {what} is not "
        f"surely seen within {time:g} s{takes}; {longer} or accept that fewer are caught"
    )


def _too_many(
    needed: float,
    bad: _World,
    chosen: Deployment,
    goals: Goals,
    what: str,
    shares: tuple[float, float],
) -> str:
    """Of a bound on bad requests: how many are served until the release can be told."""
    limit = chosen.rollback_thresholds.max_p95_latency_ms
    hurt = bad.fates.failed | (bad.fates.broken > 0) | (bad.fates.seconds * 1000 > limit)
    served = needed * float(np.mean(hurt))
    if goals.at_most is None or served <= goals.at_most + 1:
        return ""
    return (
        f"{_article(shares[0])} {_share(shares[0])} {what} cannot be told from "
        f"{_share(shares[1])} by at most {goals.at_most:,} bad requests: it takes "
        f"{ceil(needed):,} requests, {ceil(served):,} of them bad; accept as many or accept that "
        "fewer are caught"
    )


def _caught(requests: float, good: float, bad: float, goals: Goals) -> float:
    """The largest share of bad releases that so many requests can tell, by the same bound."""
    said = requests * divergence(bad, good)
    low, high = goals.false_rollback, goals.detect
    # So many halvings come down to the last digit of a float.
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if divergence(middle, goals.false_rollback) <= said else (low, middle)
        )
    return low


def _arrived(
    world: _World | None, deployment: Deployment, start: float, seconds: float | None
) -> tuple[float, float]:
    """Requests that the canary gets from `start` on, for so many seconds or to the end of the
    holds, and how many that is a second."""
    until = deployment.hold_seconds if seconds is None else start + seconds
    if world is None or until <= start:
        return 0.0, 0.0
    entered, whole = 0.0, 0.0
    for stage in deployment.canary_stages:
        first, end = max(entered, start), min(entered + stage.hold_seconds, until)
        if end > first:
            whole += world.pace * (end - first) * stage.percentage / 100
        entered += stage.hold_seconds
    return whole, whole / (min(until, max(entered, start)) - start or 1.0)


def _drawn(scenario: Scenario, seed: int, since: float) -> _World | None:
    """The canary's requests from an instant on, of as many rehearsals as it takes for a sample;
    None when there is none."""
    paces: list[float] = []
    parts: list[Fates] = []
    number = 0
    for replication in range(_REHEARSALS):
        arrived = 0
        own = seed_number(seed, replication)
        for chunk in Draws(scenario.settled(own), own).chunks(CHUNK):
            inside: Flags = chunk.at < scenario.horizon
            arrived += int(inside.sum())
            inside &= chunk.at >= since
            fates = chunk.canary
            parts.append(Fates(fates.seconds[inside], fates.failed[inside], fates.broken[inside]))
            number += int(inside.sum())
        paces.append(arrived / scenario.horizon)
        if number >= _SAMPLE:
            break
    if not number:
        return None
    fates = Fates(
        np.concatenate([part.seconds for part in parts]),
        np.concatenate([part.failed for part in parts]),
        np.concatenate([part.broken for part in parts]),
    )
    # What is declared is exact; a sample's share is not, and the number of requests hangs on it.
    declared = _declared_errors(scenario, since)
    errors = float(np.mean(fates.failed)) if declared is None else declared
    return _World(float(np.mean(paces)), fates, errors)


def _declared_errors(scenario: Scenario, since: float) -> float | None:
    """The canary's error rate from an instant on, where the scenario says it; None where it is
    the outcome of more than plain error rates."""
    service = scenario.service("canary")
    plain = isinstance(service.latency, Lognormal | Gamma | Mixture | Empirical)
    plain = plain and not (scenario.routes or scenario.payloads)
    if not plain or service != Service(latency=service.latency, error_rate=service.error_rate):
        return None
    good = 1 - service.error_rate / 100
    for fault in scenario.faults:
        if fault.strikes("canary") and not isinstance(fault, AddedLatency | MultipliedLatency):
            if not isinstance(fault, Errors) or fault.at > since:
                return None
            if fault != Errors(rate=fault.rate, at=fault.at, arm=fault.arm):
                return None
            # The causes are independent: a request survives when it survives each of them.
            good *= 1 - fault.rate / 100
    return 1 - good


def _twin(condition: Condition, conditions: Sequence[Condition]) -> int:
    """The number of the good release that is like a bad one: of the same service at the same
    traffic, or what comes closest."""
    bad = condition.scenario
    healthy = [number for number, each in enumerate(conditions) if each.kind == "healthy"]
    return max(
        healthy,
        key=lambda number: (
            conditions[number].scenario.traffic == bad.traffic,
            conditions[number].scenario.baseline == bad.baseline,
        ),
    )


def _share(share: float) -> str:
    return f"{100 * share:.3g} %"


def _article(share: float) -> str:
    said = f"{100 * share:.3g}"
    return "an" if said.startswith("8") or said in ("11", "18") else "a"
