"""What a plan must stand when nobody says otherwise."""

from __future__ import annotations

from canario_sim.lab.conditions import PROFILES, Conditions, Contracts, Errors, Latency

__all__ = ["CONDITIONS"]

# Good releases are those of `canario assess`. Bad ones are plainly bad: a table with releases that
# are a little worse has none that meets the goals, and which of those matter is the user's to say.
CONDITIONS = Conditions(
    rates=(10.0,),
    profiles=PROFILES,
    regressions=(Errors(points=20), Latency(factor=5), Contracts(rate=5)),
)
