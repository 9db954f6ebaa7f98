"""Paths below where an app is mounted, and templates of routes without their names."""

from __future__ import annotations

import pytest

from canario.routing.keys import path_below
from canario.routing.template import normal_route


@pytest.mark.parametrize(
    ("path", "root", "below"),
    [
        ("/api/plans/7", "/api", "/plans/7"),
        ("/api/plans/7", "/api/", "/plans/7"),
        ("/api", "/api", "/"),
        ("/apis/7", "/api", "/apis/7"),
        ("/other/7", "/api", "/other/7"),
        ("/plans/7", "", "/plans/7"),
    ],
)
def test_a_path_is_told_from_where_the_app_is_mounted(path: str, root: str, below: str) -> None:
    assert path_below(path, root) == below


@pytest.mark.parametrize(
    "route", ["/items/{id}", "/items/{id:int}", "/items/<int:id>", "items/<x>"]
)
def test_what_a_parameter_is_called_says_nothing_of_a_route(route: str) -> None:
    assert normal_route(route) == "/items/{}"
