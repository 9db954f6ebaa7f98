"""From what was observed to a scenario, and how well it fits."""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite

import msgspec
import numpy as np
from msgspec import Struct, to_builtins
from msgspec.structs import replace

from canario.plan import Plan
from canario_sim.lab.intervals import wilson
from canario_sim.scenario.request_kinds import Answer, Route
from canario_sim.scenario.scenario import Scenario
from canario_sim.scenario.service import Service
from canario_sim.streams import Floats, Ints
from canario_sim.traffic import Population, Schedule

from .arrivals import ArrivalFit, fit_arrivals
from .latency import LatencyFit, choose, fit_all
from .observed import LEAST, ArmObserved, Observed
from .toml_text import toml_text

__all__ = ["Calibration", "ErrorFit", "Fitted", "calibrate", "scenario_text"]

_MOST_USERS = 1_000_000


class ErrorFit(Struct, frozen=True, kw_only=True):
    """How many of an arm's requests failed, in percent, with a 95 % interval (Wilson)."""

    requests: int
    errors: int
    percent: float
    low: float
    high: float


class Fitted(Struct, frozen=True, kw_only=True):
    """One arm, or one route of the baseline: every latency fit, the chosen one, and its errors."""

    name: str
    latencies: int
    fits: tuple[LatencyFit, ...]
    chosen: str
    errors: ErrorFit

    @property
    def fit(self) -> LatencyFit:
        """The chosen one."""
        return choose(self.fits, self.chosen)


class Calibration(Struct, frozen=True, kw_only=True):
    """A scenario that was fitted, and everything by which to judge it.

    `arrivals` are all kinds of traffic that were tried, the best first; `arms` the baseline and,
    where it was seen, the canary; `routes` the routes of either.
    """

    source: str
    scenario: Scenario
    requests: int
    seconds: float
    arrivals: tuple[ArrivalFit, ...]
    chosen_arrivals: str
    arms: tuple[Fitted, ...]
    routes: tuple[Fitted, ...]
    users: int
    skew: float
    notes: tuple[str, ...]


def calibrate(
    observed: Observed,
    *,
    name: str = "fitted",
    plan: Plan | None = None,
    latency: str | None = None,
    traffic: str | None = None,
    period_seconds: float | None = None,
    routes: bool = True,
) -> Calibration:
    """Fit traffic, latencies, errors, routes and users.

    Args:
        observed: What is fitted.
        name: The scenario's.
        plan: The scenario's; by default the recorded one, or the documented defaults.
        latency: A kind of latency that is taken, however it fits; by default the best one.
        traffic: A kind of traffic that is taken.
        period_seconds: Of a daily wave; see `fit_arrivals`.
        routes: Whether routes are fitted by themselves.

    Raises:
        ValueError: Where too little was observed, or a kind of traffic cannot be fitted to it.
    """
    if observed.baseline.latencies is None:
        raise ValueError(f"{observed.source} has no latencies to fit anything to")
    assert observed.counts is not None
    arrivals = fit_arrivals(observed.counts, period_seconds=period_seconds)
    if traffic is not None and traffic not in [fit.kind for fit in arrivals]:
        raise ValueError(f"{observed.source} is too short to fit {traffic} traffic to")
    fit = next(fit for fit in arrivals if traffic is None or fit.kind == traffic)
    baseline = _fitted("baseline", observed.baseline, latency)
    arms = [baseline]
    if observed.canary is not None and observed.canary.latencies is not None:
        arms.append(_fitted("canary", observed.canary, latency))
    fitted_routes = list(_routes(observed, latency)) if routes else []
    users, skew = _users(observed.per_user)
    flow = fit.traffic
    if isinstance(flow, Schedule):
        flow = replace(flow, repeat_seconds=observed.counts.span)
    if users:
        flow = replace(flow, keys=Population(size=min(users, _MOST_USERS), skew=skew))
    scenario = Scenario(
        name=name,
        teaches=f"What {observed.source} shows: {sum(observed.counts.numbers):,} requests in "
        f"{observed.counts.span:g} s.",
        plan=plan or observed.plan or Plan(),
        traffic=flow,
        baseline=_service(baseline),
        canary=_service(arms[1]) if len(arms) > 1 else None,
        routes=tuple(_mixed(observed, fitted_routes, arms)),
    )
    return Calibration(
        source=observed.source,
        scenario=scenario,
        requests=sum(observed.counts.numbers),
        seconds=observed.counts.span,
        arrivals=arrivals,
        chosen_arrivals=fit.kind,
        arms=tuple(arms),
        routes=tuple(fitted_routes),
        users=users,
        skew=skew,
        notes=observed.notes,
    )


def scenario_text(made: Calibration) -> str:
    """The scenario as a TOML file, with how well it fits above it."""
    document = _without_defaults(made.scenario)
    return toml_text(document, _comments(made))


def _comments(made: Calibration) -> Iterator[str]:
    yield f"Fitted to {_line(made.source)}: {made.requests:,} requests in {made.seconds:g} s."
    best = next(fit for fit in made.arrivals if fit.kind == made.chosen_arrivals)
    yield (
        f"Traffic: {best.kind}, AIC {best.aic:.6g}"
        + "".join(f", {fit.kind} {fit.aic:.6g}" for fit in made.arrivals if fit.kind != best.kind)
        + f"; dispersion {best.dispersion:.3g} (1: nothing is left to explain)."
    )
    for fitted in (*made.arms, *made.routes):
        fit = fitted.fit
        others = "".join(
            f", {each.kind} {each.aic:.6g}"
            for each in fitted.fits
            if isfinite(each.aic) and each.kind != fit.kind
        )
        aic = f", AIC {fit.aic:.6g}" if isfinite(fit.aic) else ""
        yield (
            f"Latency of {_line(fitted.name)}: {fit.kind}{aic}{others}; KS distance {fit.ks:.3g} "
            f"of {fitted.latencies:,} latencies."
        )
        errors = fitted.errors
        yield (
            f"Errors of {_line(fitted.name)}: {errors.errors:,} of {errors.requests:,}, "
            f"{errors.percent:.3g} % ({errors.low:.3g} to {errors.high:.3g})."
        )
    yield from map(_line, made.notes)


def _line(text: str) -> str:
    """Text of a file's, which must not end a comment."""
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]", " ", text)


def _without_defaults(scenario: Scenario) -> dict[str, object]:
    """What differs from the defaults, so that the file says what was fitted and no more."""
    return _lean(scenario, keep=("name", "teaches"))


def _lean(value: Struct, keep: tuple[str, ...] = ()) -> dict[str, object]:
    found: dict[str, object] = {}
    tag = value.__struct_config__.tag_field
    if tag is not None and value.__struct_config__.tag is not None:
        found[tag] = value.__struct_config__.tag
    for field in msgspec.structs.fields(value):
        given = getattr(value, field.name)
        if given == field.default and field.name not in keep:
            continue
        found[field.encode_name] = _lean_value(given)
    return found


def _lean_value(value: object) -> object:
    if isinstance(value, Struct):
        return _lean(value)
    if isinstance(value, tuple | list):
        return [_lean_value(each) for each in value]
    if isinstance(value, dict):
        return {key: _lean_value(each) for key, each in value.items()}
    return to_builtins(value)


def _service(fitted: Fitted) -> Service:
    return Service(latency=fitted.fit.latency, error_rate=_percent(fitted.errors))


def _percent(errors: ErrorFit) -> float:
    return float(f"{errors.percent:.4g}")


def _fitted(name: str, arm: ArmObserved, kind: str | None) -> Fitted:
    assert arm.latencies is not None
    fits = fit_all(arm.latencies)
    low, high = wilson(arm.errors, arm.requests)
    return Fitted(
        name=name,
        latencies=arm.latencies.n,
        fits=fits,
        chosen=choose(fits, kind).kind,
        errors=ErrorFit(
            requests=arm.requests,
            errors=arm.errors,
            percent=arm.error_rate,
            low=100 * low,
            high=100 * high,
        ),
    )


def _routes(observed: Observed, kind: str | None) -> Iterator[Fitted]:
    """Each route of each arm that has enough latencies to be fitted by itself."""
    for route in observed.routes:
        arms = [(route.name, route.baseline)]
        if observed.canary is not None:
            arms.append((route.name + _ON_CANARY, route.canary))
        for name, arm in arms:
            if arm.latencies is not None and arm.latencies.n >= LEAST:
                yield _fitted(name, arm, kind)


# What a route is called in the fits of the canary.
_ON_CANARY = ", canary"


def _mixed(observed: Observed, fitted: list[Fitted], arms: list[Fitted]) -> Iterator[Route]:
    """The routes of the scenario; where too little was seen of one it is as its arm is."""
    own = {each.name: each for each in fitted}
    whole = sum(route.requests for route in observed.routes)
    for route in observed.routes if own else ():
        baseline, canary = Answer(), Answer()
        if route.name in own:
            baseline = _answer(own[route.name])
            if baseline.error_rate == _percent(arms[0].errors):
                baseline = replace(baseline, error_rate=None)
        if len(arms) > 1:
            # In full: what it left out would be taken from the baseline's.
            canary = _answer(own.get(route.name + _ON_CANARY, arms[1]))
        yield Route(
            name=route.name,
            weight=float(f"{100 * route.requests / whole:.4g}"),
            baseline=baseline,
            canary=canary,
        )


def _answer(fitted: Fitted) -> Answer:
    return Answer(latency=fitted.fit.latency, error_rate=_percent(fitted.errors))


def _users(per_user: Ints | None) -> tuple[int, float]:
    """How many users there are, and the exponent of Zipf's law over them."""
    if per_user is None or len(per_user) < 2:
        return 0 if per_user is None else len(per_user), 0.0
    counts = np.sort(per_user.astype(np.float64))[::-1]
    mean = counts.mean()
    dispersion = counts.var() / mean
    # Users who are all alike send Poisson numbers of requests, whose ranks look skewed as well.
    # Four standard deviations of the index of dispersion, which is about 1 ± √(2/n) then.
    if dispersion < 1 + 4 * np.sqrt(2 / len(counts)):
        return len(counts), 0.0
    return len(counts), _zipf(counts)


def _zipf(counts: Floats) -> float:
    """The exponent of the greatest likelihood, of counts by rank, by halving its slope."""
    logs = np.log(np.arange(1, len(counts) + 1))
    measured = float((counts * logs).sum() / counts.sum())
    low, high = 0.0, 5.0
    for _ in range(50):
        middle = (low + high) / 2
        weights = np.exp(-middle * logs)
        if (weights * logs).sum() / weights.sum() > measured:
            low = middle
        else:
            high = middle
    found = (low + high) / 2
    return float(f"{found:.4g}") if isfinite(found) else 0.0
