"""Fitted traffic and latencies in a few words."""

from __future__ import annotations

from canario.control.words import seconds_in_words
from canario_sim.distributions import Empirical, Gamma, Latency, Lognormal, Mixture, Model
from canario_sim.traffic import Diurnal, MarkovModulated, Poisson, Schedule, Traffic, Weekly

__all__ = ["latency_in_words", "traffic_in_words"]


def latency_in_words(latency: Latency) -> str:
    """`p50 80 ms, p95 210 ms`."""
    match latency:
        case Lognormal(p50_ms=p50, p95_ms=p95):
            return f"p50 {p50:.4g} ms, p95 {p95:.4g} ms"
        case Gamma(mean_ms=mean, shape=shape):
            return f"mean {mean:.4g} ms, shape {shape:.4g}"
        case Mixture(components=parts):
            return " + ".join(
                f"{100 * part.weight:.3g} % {latency_in_words(part.latency)}" for part in parts
            )
        case Empirical(values_ms=values):
            return f"{len(values)} measured quantiles"
        case Model(model=name):
            return f"by {name}"


def traffic_in_words(traffic: Traffic) -> str:
    """`3.01 requests/s`, and what makes it swing."""
    match traffic:
        case Poisson(rate=rate):
            return f"{rate:.4g} requests/s"
        case Diurnal():
            return (
                f"{traffic.rate:.4g} requests/s, {traffic.peak_to_mean:.3g} times as many at the "
                f"peak of every {seconds_in_words(round(traffic.period_seconds))}"
            )
        case MarkovModulated(states=states):
            return ", ".join(
                f"{state.rate:.4g}/s for {seconds_in_words(round(state.mean_seconds, 1))}"
                for state in states
            )
        case Weekly():
            return (
                f"{traffic.rate:.4g} requests/s, days from {min(traffic.days):.2g} to "
                f"{max(traffic.days):.2g} times that, hours from {min(traffic.hours):.2g} to "
                f"{max(traffic.hours):.2g}"
            )
        case Schedule(points=points):
            rates = [rate for _, rate in points]
            return f"{len(points)} rates from {min(rates):.4g} to {max(rates):.4g} requests/s"
        case _:
            return ""
