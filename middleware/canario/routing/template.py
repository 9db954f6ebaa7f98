"""Templates of routes, as frameworks write them."""

from __future__ import annotations

import re

__all__ = ["normal_route"]

# {id}, {id:int} and <int:id>: what a framework calls a parameter says nothing of the route.
_PARAMETER = re.compile(r"\{[^{}/]*\}|<[^<>/]*>")


def normal_route(route: str) -> str:
    """A template without its parameters' names: `/items/{}` for `/items/<int:id>`."""
    plain = _PARAMETER.sub("{}", route)
    return plain if plain.startswith("/") else "/" + plain
