"""The template of the route that serves a WSGI request, as its framework writes it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from canario.gate.route_names import DjangoRoutes, falcon_routes
from canario.wire import utf8_text

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

__all__ = ["RouteNames", "path_info"]


class RouteNames:
    """Finds the route once the app has chosen it: Flask's, Django's, Falcon's or Bottle's.

    A request that none of them serves has no name, nor has one that they have no route for.
    """

    __slots__ = ("_django", "_falcon")

    def __init__(self, app: object = None) -> None:
        self._falcon = falcon_routes(app)
        self._django = DjangoRoutes()

    def __call__(self, environ: WSGIEnvironment) -> str | None:
        if "werkzeug.request" in environ:  # Flask's, or one of Werkzeug's own, which has no rule
            rule = getattr(environ["werkzeug.request"], "url_rule", None)
            return None if rule is None else str(rule.rule)
        if "bottle.route" in environ:
            return str(environ["bottle.route"].rule)
        if self._falcon is not None:
            return self._falcon(path_info(environ))
        return self._django(lambda _: path_info(environ))


def path_info(environ: WSGIEnvironment) -> str:
    """The path below `SCRIPT_NAME` as text; the environ has its UTF-8 bytes as Latin-1 letters."""
    return utf8_text(environ.get("PATH_INFO", ""))
