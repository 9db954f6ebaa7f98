"""Instructions that a request takes, counted by valgrind's callgrind.

python -m benchmarks.instructions [--quick | --check]

`--check` ends with an error where canario adds more than what `instructions.json` keeps for this
version of Python, and 5 %.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import json

from canario.asgi import CanaryMiddleware as ASGIMiddleware
from canario.controller import CanaryDeploymentController
from canario.exchange import current_arm
from canario.routing.bucket import BUCKETS, bucket_of
from canario.wsgi import CanaryMiddleware

from .apps import PLAN, evaluate_by_arm, starlette
from .callgrind import Counter, counted, missing
from .measure import Row, Table, report
from .middleware import receive, scope_of, send

KEPT = Path(__file__).with_name("instructions.json")

# How much more than what is kept is let pass.
_TOLERATED = 1.05

_present: ContextVar[bool] = ContextVar("minimal", default=False)

REQUESTS = 100
BATCHES = 3
WARM_UP = 300  # the interpreter has specialised its code by then

# What is counted, and beside what.
NAMES = {
    "pass-through": ("a callable that only awaits the app", "bare"),
    "minimal": ("the least that a guard does in pure Python", "bare"),
    "two apps": ("canario, two apps", "bare"),
    "one app": ("canario, one app that asks `current_arm()`", "bare"),
    "WSGI": ("canario, WSGI, two apps", "bare WSGI"),
}
AIMED = ("two apps", "one app")
CHECKED = (*AIMED, "WSGI")
_MEASURE = "minimal"
_MOST_ADDED = 30_000


def main() -> None:
    """Count, and print the table."""
    parser = argparse.ArgumentParser(description="Instructions that a request takes.")
    parser.add_argument("--quick", action="store_true", help="the same: it takes seconds")
    parser.add_argument("--check", action="store_true", help="compare with what is kept")
    parser.add_argument("--within", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.within:
        _count(REQUESTS)
        return
    why = missing()
    if why is not None:
        sys.exit(f"no instructions can be counted: {why}")
    added = _added()
    if chosen.check:
        _check(added)
    else:
        report([_table(added)])


def _added() -> dict[str, int]:
    """Instructions per request: of what is bare, and what each of `NAMES` adds to that."""
    totals = counted("benchmarks.instructions", ["--within"])
    each: dict[str, int] = {}
    for batch, total in totals.items():  # the least: now and then a thread of canario's has a turn
        name = batch.partition("/")[0]
        each[name] = min(each.get(name, sys.maxsize), round(total / REQUESTS))
    return {
        "bare": each["bare"],
        "bare WSGI": each["bare WSGI"],
        **{name: each[name] - each[base] for name, (_, base) in NAMES.items()},
    }


def _table(added: dict[str, int]) -> Table:
    rows = [Row("the bare route, ASGI", f"{added['bare']:,}")]
    rows.append(Row("the bare app, WSGI", f"{added['bare WSGI']:,}"))
    for name, (what, _) in NAMES.items():
        aimed = name in AIMED
        rows.append(
            Row(
                what,
                f"+ {added[name]:,}",
                aim=f"≤ + {_MOST_ADDED:,}" if aimed else "",
                reached=added[name] <= _MOST_ADDED if aimed else None,
            )
        )
    return Table(
        "Instructions per request, in-process",
        rows,
        f"Counted by valgrind's callgrind over {REQUESTS} requests, the least of {BATCHES} times, "
        f"after {WARM_UP} that warm the interpreter up, with the collector off: the same within "
        "1 %, however busy the machine is. Another build of Python has other numbers. CI fails "
        "where canario adds 5 % more than `benchmarks/instructions.json` keeps, measured by what "
        "the least guard adds.",
    )


def _check(added: dict[str, int]) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    kept: dict[str, dict[str, int]] = json.decode(KEPT.read_bytes())
    if version not in kept:
        now = json.encode({name: added[name] for name in NAMES}).decode()
        sys.exit(f"{KEPT.name} has nothing for Python {version}, but {', '.join(kept)}; add {now}")
    before = kept[version]
    # Compilers differ: by how much, the least guard tells, which is in nobody's hands.
    scale = added[_MEASURE] / before[_MEASURE]
    risen = []
    for name in CHECKED:
        most = before[name] * scale * _TOLERATED
        print(f"{name}: + {added[name]:,} instructions per request, at most {most:,.0f}")
        if added[name] > most:
            risen.append(name)
    if risen:
        sys.exit(f"more than 5 % above what {KEPT} keeps: {', '.join(risen)}")


# -- within callgrind


def _count(requests: int) -> None:
    counter = Counter()
    with asyncio.Runner() as runner:
        for name in ("bare", "pass-through", "minimal", "two apps", "one app"):
            app = _app(name)
            runner.run(_asgi(app, [scope_of(user) for user in range(WARM_UP)]))
            for batch in range(BATCHES):
                served = _asgi(app, [scope_of(user) for user in range(requests)])
                counter.count(f"{name}/{batch}", partial(runner.run, served))
    guarded = CanaryMiddleware(_wsgi_app, _controller(), canary=_wsgi_app)
    for name, wsgi in (("bare WSGI", _wsgi_app), ("WSGI", guarded)):
        _wsgi(wsgi, [_environ(user) for user in range(WARM_UP)])
        for batch in range(BATCHES):
            environs = [_environ(user) for user in range(requests)]
            counter.count(f"{name}/{batch}", partial(_wsgi, wsgi, environs))


def _app(name: str) -> Any:
    match name:
        case "pass-through":
            return _PassThrough(starlette())
        case "minimal":
            return _Minimal(starlette())
        case "two apps":
            return ASGIMiddleware(starlette(), _controller(), canary=starlette())
        case "one app":
            return ASGIMiddleware(starlette(evaluate_by_arm), _controller())
    return starlette()


def _controller() -> CanaryDeploymentController:
    """Guards on a clock that costs what the system's does and goes a hundredth as fast: so slow is
    everything under callgrind, and what is done once a second is to be done as seldom as ever."""
    counter, began = partial(time.clock_gettime, time.CLOCK_BOOTTIME), time.time()

    def slow() -> float:
        return began + counter() * 0.01

    controller = CanaryDeploymentController(PLAN, clock=slow)
    controller.start()
    return controller


async def _asgi(app: Any, scopes: Iterable[dict[str, Any]]) -> None:
    for scope in scopes:
        await app(scope, receive, send)


class _PassThrough:
    """The least that a middleware is."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        return await self._app(scope, receive, send)


class _Minimal:
    """The least that a guard does, without any of its cares: the key, its bucket, the context, two
    clocks, a wrapped `send` and a list."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._seen: list[float] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        started = time.monotonic()
        key = next(value for name, value in scope["headers"] if name == b"x-user-id")
        arm = bucket_of(b"salt", key) < BUCKETS // 4
        token = _present.set(arm)

        async def seen(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self._seen.append((time.monotonic() - started) * 1000)

        try:
            return await self._app(scope, receive, seen)
        finally:
            _present.reset(token)


def _wsgi_app(_: Any, start_response: Callable[..., object]) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "13")])
    return [b'{"score":0.7}' if current_arm() == "canary" else b'{"score":0.6}']


def _wsgi(app: Any, environs: Iterable[dict[str, Any]]) -> None:
    for environ in environs:
        body = app(environ, _start_response)
        for _ in body:
            pass


def _start_response(*_: object) -> None:
    """Takes every head."""


def _environ(user: int) -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/plans/17",
        "QUERY_STRING": "",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "127.0.0.1:8000",
        "HTTP_X_USER_ID": f"user-{user:04d}",
        "wsgi.url_scheme": "http",
        "wsgi.version": (1, 0),
    }


if __name__ == "__main__":
    main()
