"""How many worlds are drawn, and whether what is found is made smaller."""

from __future__ import annotations

from os import environ

from hypothesis import HealthCheck, Phase, settings

__all__ = ["many"]


def many(examples: int) -> settings:
    """So many examples, or as many as `CANARIO_WORLDS` says.

    Shrinking takes minutes, which nobody waits for in the suite: it is done by whoever asks for
    more.
    """
    asked = environ.get("CANARIO_WORLDS")
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    return settings(
        max_examples=int(asked or examples),
        phases=[*phases, Phase.shrink] if asked else phases,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
