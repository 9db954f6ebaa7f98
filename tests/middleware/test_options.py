"""Options that are none are refused when the middleware is made, and name what would be valid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from canario import ConfigError, create_canary_controller
from canario.asgi import CanaryMiddleware
from canario.tape import TapeRecorder
from canario.wsgi import CanaryMiddleware as WSGIMiddleware


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Never called."""


def _made(kind: Any = CanaryMiddleware, **options: Any) -> Any:
    return kind(app, create_canary_controller("x", environ={}), **options)


@pytest.mark.parametrize("kind", [CanaryMiddleware, WSGIMiddleware])
@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"canary": "v2:app"}, "canary: is 'v2:app'; it must be the app of the new version"),
        ({"route": "/items"}, "route: is '/items'; it must be a function"),
        ({"health_paths": "/health"}, "health_paths: is '/health'; it must be a set such as"),
        ({"contract_routes": "/items"}, "contract_routes: is '/items'; it must be a set such as"),
        ({"errors": [404]}, r"errors: is \[404\]; it must be a mapping such as"),
        ({"errors": {"/items": 404}}, "errors: is .*; it must be a mapping such as"),
        ({"errors": {"/items": {20000}}}, "errors: is .*; it must be a mapping such as"),
        ({"flows": ["items"]}, "flows: is .*; it must be a mapping such as"),
        ({"monitor": 3}, "monitor: is 3; it must be what create_slo_monitor makes"),
    ],
)
def test_an_option_that_is_none_is_refused(kind: Any, options: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=f"middleware: {says}"):
        _made(kind, **options)


@pytest.mark.parametrize("kind", [CanaryMiddleware, WSGIMiddleware])
@pytest.mark.parametrize(
    "options",
    [
        {"canary": "v2:app"},
        {"key": 3},
        {"contract": 3},
        {"errors": {"/a/{x}": [404], "/a/{y}": [409]}},
    ],
)
def test_what_is_refused_has_claimed_nothing(kind: Any, options: Any, tmp_path: Path) -> None:
    controller = create_canary_controller("x", environ={})
    with pytest.raises((ConfigError, TypeError), match=r"valid|must be|are one route"):
        kind(app, controller, tape=tmp_path / "refused.tape", **options)
    controller.record_to(TapeRecorder(tmp_path / "right.tape"))  # another one would be refused


@pytest.mark.parametrize("kind", [CanaryMiddleware, WSGIMiddleware])
def test_an_app_and_a_controller_in_the_wrong_order_are_refused(kind: Any) -> None:
    with pytest.raises(ConfigError, match="must be"):
        kind(create_canary_controller("x", environ={}), app)
    with pytest.raises(ConfigError, match="app: is None; it must be the app of the old version"):
        kind(None, create_canary_controller("x", environ={}))


def test_what_is_valid_is_taken() -> None:
    _made(
        errors={"/items/{id}": [404, 409]},
        health_paths=["/up"],
        contract_routes=("/items/{id}",),
        flows={"/evaluate": "decalogo_evaluation"},
    )
