"""The template of the route that served a request, read from the scope after the app has run."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from canario.asgi_types import Scope
from canario.gate.route_names import DjangoRoutes, falcon_routes, listen_to_quart, sanic_route

__all__ = ["RouteNames"]

# What Starlette appends to the template of a mount, to match what lies below it.
_BELOW = "/{path}"

# Routes that are remembered. An app that makes its routes as it goes makes no end of them.
_KNOWN = 1000


class RouteNames:
    """Finds the template of a route as its framework writes it.

    Starlette's and FastAPI's (`/api/items/{id}`) and Litestar's are read from what they leave in a
    scope; what Quart, Sanic, Django and Falcon have matched is asked for. Below a mount of
    Starlette's that serves another framework the names are one.

    The template is the whole one, mounts included, and without what the server calls the root
    path. A route whose template cannot be told has no name; the raw path never becomes one.
    """

    __slots__ = ("_django", "_falcon", "_known", "_literal")

    def __init__(self, app: object = None) -> None:
        listen_to_quart()
        self._falcon = falcon_routes(app)
        self._django = DjangoRoutes()
        # Mounts without parameters, which are their own template: no need to look again.
        self._literal: set[tuple[int, str]] = set()
        # Templates of routes outside of mounts, which stay what they are: by the route's id, with
        # the route, so that no other one takes that id.
        self._known: dict[int, tuple[object, str | None]] = {}

    def __call__(self, scope: Scope, noted: str | None = None) -> str | None:
        """The template; `noted` is what a framework has told while it served the request."""
        route = scope.get("route")
        if route is None:
            return self._elsewhere(scope, noted)
        known = self._known.get(id(route))
        if known is not None and "app_root_path" not in scope and "fastapi" not in scope:
            return known[1]
        own = _template(_as_included(scope, route))
        root: str = scope.get("root_path", "")
        outside: str = scope.get("app_root_path", root)
        if own is None or root == outside:
            if (
                len(self._known) < _KNOWN
                and "app_root_path" not in scope
                and "fastapi" not in scope
            ):
                self._known[id(route)] = route, own
            return own
        mounted = root[len(outside) :]
        if _is_mount(route):  # what it serves is not Starlette's, or keeps its routes to itself
            above, below = self._above(scope, mounted), self._elsewhere(scope, noted)
            return above if above is None or below is None else f"{above}/{below.lstrip('/')}"
        above = self._above(scope, mounted)
        return None if above is None else above + own

    def _elsewhere(self, scope: Scope, noted: str | None) -> str | None:
        if noted is not None:
            return noted
        template: str | None = scope.get("path_template")  # Litestar's
        if template is not None:
            return template
        if self._falcon is not None:
            return self._falcon(scope.get("path", ""))
        listen_to_quart()  # it may have been imported since
        return sanic_route(scope) or self._django(partial(_django_path, scope))

    def _above(self, scope: Scope, mounted: str) -> str | None:
        router = scope.get("router")
        known = (id(router), mounted)
        if known in self._literal:
            return mounted
        template = _mounts(getattr(router, "routes", ()), mounted)
        if template == mounted:
            self._literal.add(known)
        return template


def _django_path(scope: Scope, urls: Any) -> str:
    """The path info; the prefix is the root path, or what the settings force."""
    path: str = scope.get("path", "")
    return path.removeprefix(urls.get_script_prefix().rstrip("/"))


def _as_included(scope: Scope, route: object) -> object:
    """FastAPI lets a route know nothing of the prefix of a router that includes its own."""
    fastapi = scope.get("fastapi")
    if isinstance(fastapi, dict):
        context = fastapi.get("effective_route_context")
        if getattr(context, "original_route", None) is route:
            return context
    return route


def _is_mount(route: object) -> bool:
    return hasattr(route, "routes")


def _template(route: object) -> str | None:
    template = getattr(route, "path_format", None)
    if not isinstance(template, str):
        return None
    return (template.removesuffix(_BELOW) or "/") if _is_mount(route) else template


def _mounts(routes: Iterable[Any], mounted: str) -> str | None:
    """The template of the mounts that took `mounted` off the path; None if it is none of them."""
    if not mounted:
        return ""
    for route in routes:
        if not _is_mount(route):
            continue
        pattern = getattr(route, "path_regex", None)
        if pattern is None:  # mounted by host: it takes nothing off the path
            above, below = "", mounted
        elif match := pattern.match(mounted + "/"):
            above, below = route.path_format.removesuffix(_BELOW), ("/" + match["path"])[:-1]
        else:
            continue
        rest = _mounts(route.routes, below)
        if rest is not None:
            return above + rest
    return None
