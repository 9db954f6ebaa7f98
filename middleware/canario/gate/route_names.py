"""Templates of routes that frameworks leave neither in the scope nor in the environ.

Nothing here imports a framework: one that has not been imported serves nobody.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from canario.exchange import present

__all__ = ["DjangoRoutes", "falcon_routes", "listen_to_quart", "sanic_route"]

# Where wrappers keep the app that they wrap.
_WRAPPED = ("app", "application", "asgi_app", "wsgi_app", "_app", "_application", "wrapped")

# What answers every name with a new object has no end of layers.
_DEEPEST = 20


class DjangoRoutes:
    """Asks Django which route it finds for a path, such as `items/<int:id>/`.

    Django keeps what it has found in a request object that nobody else can get at. So its resolver
    is asked once more, in the URL configuration that it uses for the request.
    """

    __slots__ = ("_serves",)

    def __init__(self) -> None:
        self._serves = False  # until it has served a request here

    def __call__(self, path: Callable[[Any], str]) -> str | None:
        """The route; `path` is given the module `django.urls`, and gives Django's path info."""
        urls: Any = sys.modules.get("django.urls")
        if urls is None:
            return None
        # Handlers set it for the task or the thread that serves a request. Whoever asks for the
        # route of a request in flight may be another one.
        if urls.get_urlconf() is not None:
            self._serves = True
        if not self._serves:
            return None
        try:
            route: str = urls.resolve(path(urls)).route
        except urls.Resolver404:
            return None
        return route or "/"


def falcon_routes(app: object) -> Callable[[str], str | None] | None:
    """What finds the template for a path, `/items/{id:int}`, if `app` is Falcon's or wraps it.

    Falcon keeps what it has found to itself, too, and searching a compiled router takes about a
    microsecond.
    """
    falcon: Any = sys.modules.get("falcon")
    if falcon is None:
        return None
    found: Any = next((each for each in _layers(app) if isinstance(each, falcon.App)), None)
    if found is None:
        return None
    options, search = found.req_options, found._router.find

    def find(path: str) -> str | None:
        path = path or "/"
        if options.strip_url_path_trailing_slash and len(path) > 1:
            path = path.removesuffix("/")
        route = search(path, req=None)
        # Routers of Falcon's early days give no template, or three times None for no route.
        return None if route is None or len(route) < 4 else route[3]

    return find


def _layers(app: object) -> Iterator[object]:
    """An app and what it wraps, as far as it can be seen from outside."""
    seen: list[object] = []
    while app is not None and len(seen) < _DEEPEST and not any(app is one for one in seen):
        seen.append(app)
        yield app
        app = next((one for name in _WRAPPED if callable(one := getattr(app, name, None))), None)


def listen_to_quart() -> None:
    """Have Quart, once it is there, tell each request's exchange the rule that it has matched."""
    if _listen is not None and "quart.signals" in sys.modules:
        _listen()


def _connect() -> None:
    global _listen
    _listen = None
    signals: Any = sys.modules["quart.signals"]
    quart: Any = sys.modules["quart"]

    def note(rule: Any) -> None:
        exchange = present.get()
        while exchange is not None:  # for each of several releases around one app
            exchange.noted_route = None if rule is None else str(rule.rule)
            exchange = exchange.outer

    # Coroutine functions, since Quart sends others to a thread.
    async def request_started(_: object, **__: object) -> None:
        note(quart.request.url_rule)

    async def websocket_started(_: object, **__: object) -> None:
        note(quart.websocket.url_rule)

    # Not weakly, as is the default: nobody else keeps these two.
    signals.request_started.connect(request_started, weak=False)
    signals.websocket_started.connect(websocket_started, weak=False)


_listen: Callable[[], None] | None = _connect  # until it has been done


def sanic_route(scope: object) -> str | None:
    """The template that Sanic has matched, such as `/items/<id:int>`, if it serves this request."""
    sanic: Any = sys.modules.get("sanic.request")
    if sanic is None:
        return None
    request = sanic.Request._current.get(None)
    # The last request that Sanic has served here may have been another one.
    if request is None or getattr(request.transport, "scope", None) is not scope:
        return None
    template: str | None = request.uri_template
    return template
