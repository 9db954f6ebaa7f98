"""Recorded arrivals, as parallel arrays in order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from canario.config import ConfigError
from canario_sim.streams import Bytes, Floats, Ints, Numbers

__all__ = ["Recording", "recording_of"]

# Their numbers are held as `streams.Numbers` and `streams.Bytes`.
_MOST = {"routes": 65_536, "payload classes": 256}

# Names by number, and the number of each request's; −1 for one that has none.
Named = tuple[tuple[str, ...], Ints]


@dataclass(frozen=True)
class Recording:
    """Recorded requests in order of arrival, as parallel arrays; None for what is not known.

    Attributes:
        at: Instants, in seconds.
        keys: The keys.
        key: Their numbers, request by request.
        routes: The routes.
        route: Their numbers.
        payloads: The payload classes.
        payload: Their numbers.
        session: Numbers of the sessions.
    """

    at: Floats
    keys: tuple[str, ...] = ()
    key: Ints | None = None
    routes: tuple[str, ...] = ()
    route: Numbers | None = None
    payloads: tuple[str, ...] = ()
    payload: Bytes | None = None
    session: Ints | None = None

    @cached_property
    def key_numbers(self) -> dict[str, int]:
        """The number of each key."""
        return {key: number for number, key in enumerate(self.keys)}


def recording_of(
    path: str,
    at: Floats,
    key: Named | None,
    route: Named | None = None,
    payload: Named | None = None,
    session: Ints | None = None,
) -> Recording:
    """Requests put in order of arrival.

    Those without a key are left out where others have one: they never reach a canary. Where a
    route or a payload class is missing it has the name "other". Raises `ConfigError` for too
    many names and when nothing is left.
    """
    # Stable: of one instant they arrive in the order in which they were written down.
    order = np.argsort(at, kind="stable")
    if key is not None and not (key[1] >= 0).any():
        key = None
    if key is not None:
        order = order[key[1][order] >= 0]
    if not len(order):
        raise ConfigError(path, "", "holds no request; give an instant a line")
    routes, route_of = _complete(path, "routes", route, order)
    payloads, payload_of = _complete(path, "payload classes", payload, order)
    return Recording(
        at=at[order],
        keys=() if key is None else key[0],
        key=None if key is None else key[1][order],
        routes=routes,
        route=None if route_of is None else route_of.astype(np.uint16),
        payloads=payloads,
        payload=None if payload_of is None else payload_of.astype(np.uint8),
        session=None if session is None else session[order],
    )


def _complete(
    path: str, what: str, named: Named | None, order: Ints
) -> tuple[tuple[str, ...], Ints | None]:
    if named is None or not (named[1] >= 0).any():
        return (), None
    names, numbers = named[0], named[1][order]
    missing = numbers < 0
    if missing.any():
        names = names if "other" in names else (*names, "other")
        numbers = np.where(missing, names.index("other"), numbers)
    if len(names) > _MOST[what]:
        raise ConfigError(path, "", f"has {len(names)} {what}; at most {_MOST[what]} are possible")
    return names, numbers
