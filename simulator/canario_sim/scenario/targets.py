"""Whom something happens to: certain keys, routes, classes of payload."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from canario_sim.streams import Bytes, Flags, Ints, Numbers

from .timed import Timed

__all__ = ["Aim", "Targeted"]

Names = tuple[str, ...]


class Targeted(Timed, frozen=True, kw_only=True):
    """Something that happens to requests of certain keys, routes and payload classes alone.

    Where several are named a request must be among all of them.
    """

    keys: Annotated[Names | None, Meta(description="The only keys it happens to; none: all.")] = (
        None
    )
    routes: Annotated[
        Names | None, Meta(description="The only routes it happens to; none: all.")
    ] = None
    payloads: Annotated[
        Names | None, Meta(description="The only payload classes it happens to; none: all.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("keys", "routes", "payloads"):
            named = getattr(self, name)
            if named is not None and not named:
                raise ValueError(f"{name} is empty; name some, or leave it out for all")

    @property
    def targets(self) -> str:
        """Whom it happens to, in words; empty for everybody."""
        parts = []
        for what, named in (
            ("route", self.routes),
            ("payload", self.payloads),
            ("key", self.keys),
        ):
            if named is not None:
                shown = ", ".join(named[:3]) + (" …" if len(named) > 3 else "")
                parts.append(f"{what}{'s' if len(named) > 1 else ''} {shown}")
        return " and ".join(parts)


class Aim:
    """The targets by number, to be looked up in arrays."""

    def __init__(
        self,
        targeted: Targeted,
        key_number: Callable[[str], int | None],
        routes: Sequence[str],
        payloads: Sequence[str],
    ) -> None:
        named = (targeted.keys, targeted.routes, targeted.payloads)
        ways = (key_number, routes.index, payloads.index)
        self._numbers = [
            None if names is None else np.array([way(name) for name in names], np.int64)
            for names, way in zip(named, ways, strict=True)
        ]

    def narrow(self, met: Flags, key: Ints, route: Numbers, payload: Bytes) -> None:
        """Take out of `met` the requests that are no targets."""
        parts: tuple[NDArray[Any], ...] = (key, route, payload)
        for numbers, of in zip(self._numbers, parts, strict=True):
            if numbers is not None:
                met &= np.isin(of, numbers)
