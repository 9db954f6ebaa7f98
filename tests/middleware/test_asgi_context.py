"""`current_arm()` and the choice between two apps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
    UnauthenticatedUser,
)
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.middleware.asgi_tools import (
    Answer,
    App,
    Controller,
    Receive,
    Scope,
    Send,
    ask,
    forced,
    http_scope,
    named,
    respond,
    talk,
    user,
    websocket_scope,
)

from canario import Routing, current_arm
from canario.asgi import CanaryMiddleware
from canario.routing import Arm
from canario.routing.forced import sign_choice

ARMS: tuple[Arm, ...] = ("baseline", "canary")


async def tells(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)
    await respond(send, current_arm().encode())


def told(app: App, arm: Arm, path: str = "/") -> str:
    """What the app says of its arm to a user of `arm`."""
    controller = Controller()
    return ask(CanaryMiddleware(app, controller), user(controller.a_key(arm), path)).body.decode()


@pytest.mark.parametrize("arm", ARMS)
def test_each_arm_has_its_app(arm: Arm) -> None:
    controller = Controller()
    app = CanaryMiddleware(named(b"baseline"), controller, canary=named(b"canary"))
    assert ask(app, user(controller.a_key(arm))).body == arm.encode()


@pytest.mark.parametrize("arm", ARMS)
def test_one_app_asks_for_its_arm(arm: Arm) -> None:
    assert told(tells, arm) == arm
    assert current_arm() == "baseline"


def test_a_websocket_has_an_arm_too() -> None:
    controller = Controller(100)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept", "subprotocol": current_arm()})

    scope = websocket_scope(headers=[("x-user-id", "u")])
    assert ask(CanaryMiddleware(app, controller), scope).sent[0]["subprotocol"] == "canary"


def test_overlapping_requests_of_one_task_group_keep_their_arms() -> None:
    controller = Controller()
    app = CanaryMiddleware(tells, controller)

    async def main() -> list[Answer]:
        return await asyncio.gather(*(talk(app, user(str(n))) for n in range(200)))

    for number, answer in enumerate(asyncio.run(main())):
        assert answer.body.decode() == controller.router.route_request(str(number))


def test_after_a_request_of_the_same_task_there_is_none() -> None:
    controller = Controller(100)

    async def main() -> None:
        for app in (tells, named(b"x")):
            await talk(CanaryMiddleware(app, controller), user("u"))
            assert current_arm() == "baseline"

        async def fails(scope: Scope, receive: Receive, send: Send) -> None:
            raise LookupError(current_arm())

        answer = await talk(CanaryMiddleware(fails, controller), user("u"))
        assert repr(answer.raised) == "LookupError('canary')"
        assert current_arm() == "baseline"

    asyncio.run(main())


@pytest.mark.parametrize("arm", ARMS)
def test_wherever_starlette_runs_the_code(arm: Arm) -> None:
    later: list[str] = []

    def sync(request: Request) -> Response:
        return PlainTextResponse(current_arm())

    async def threads(request: Request) -> Response:
        return PlainTextResponse(await run_in_threadpool(current_arm))

    async def nested(request: Request) -> Response:
        async def ask() -> str:
            await asyncio.sleep(0)
            return current_arm()

        return PlainTextResponse(await asyncio.create_task(ask()))

    async def stream(request: Request) -> Response:
        async def parts() -> AsyncIterator[str]:
            await asyncio.sleep(0)
            yield current_arm()

        return StreamingResponse(parts())

    async def background(request: Request) -> Response:
        return PlainTextResponse(
            current_arm(), background=BackgroundTask(lambda: later.append(current_arm()))
        )

    endpoints = {e.__name__: e for e in (sync, threads, nested, stream, background)}
    app = Starlette(routes=[Route(f"/{name}", e) for name, e in endpoints.items()])
    for name in endpoints:
        assert told(app, arm, f"/{name}") == arm
    assert later == [arm]


@pytest.mark.parametrize("arm", ARMS)
def test_as_a_middleware_of_starlette(arm: Arm) -> None:
    def index(request: Request) -> Response:
        return PlainTextResponse(current_arm())

    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(current_arm())
        await websocket.close()

    controller = Controller()
    app = Starlette(routes=[Route("/", index), WebSocketRoute("/chat", chat)])
    app.add_middleware(CanaryMiddleware, controller=controller)
    headers = [("x-user-id", controller.a_key(arm))]
    assert ask(app, http_scope(headers=headers)).body.decode() == arm
    messages = ask(app, websocket_scope("/chat", headers=headers), {"type": "websocket.connect"})
    assert messages.sent[1]["text"] == arm
    assert [(seen.arm, seen.outcome.value) for seen in controller.seen] == [(arm, "good")] * 2


# -- the user that the host's authentication found


class Numbered:
    """A user as Django and the ORMs have them."""

    is_authenticated = True

    def __init__(self, pk: object) -> None:
        self.pk = pk


class Nameless(BaseUser):
    """One that tells nothing about itself."""

    is_authenticated = True


@pytest.mark.parametrize(
    ("found", "key"),
    [
        ("ann", "ann"),
        (b"ann", "ann"),
        (Numbered(42), "42"),
        (Numbered(0), "0"),
        (SimpleUser("ann"), "ann"),
        (UnauthenticatedUser(), None),
        (Numbered(None), None),
        (Nameless(), None),
        (None, None),
        ("", None),
        (object(), None),
    ],
)
def test_the_user_in_the_scope_is_a_key(found: object, key: str | None) -> None:
    controller = Controller(routing=Routing(key_sources=("user",)))
    ask(CanaryMiddleware(tells, controller), user("ignored", user=found))
    if key is None:
        assert controller.only.arm == "baseline"
        assert controller.counters == {"no_key": 1}
    else:
        assert controller.only.arm == controller.router.route_request(key)
        assert controller.counters == {}


def test_behind_the_authentication_of_starlette() -> None:
    class Basic(AuthenticationBackend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser]:
            return AuthCredentials(), SimpleUser(conn.headers["authorization"])

    def index(request: Request) -> Response:
        return PlainTextResponse(current_arm())

    controller = Controller(routing=Routing(key_sources=("user",)))
    app = Starlette(
        routes=[Route("/", index)],
        middleware=[
            Middleware(AuthenticationMiddleware, backend=Basic()),
            Middleware(CanaryMiddleware, controller=controller),
        ],
    )
    for arm in ARMS:
        headers = [("authorization", controller.a_key(arm))]
        assert ask(app, http_scope(headers=headers)).body.decode() == arm


# -- users without a key, and claims


def test_a_user_without_a_key_comes_back_to_the_same_arm() -> None:
    controller = Controller(routing=Routing(anonymous_cookie="bucket"))
    app = CanaryMiddleware(tells, controller, arm_header="x-arm")
    arms = set()
    for _ in range(40):
        first = ask(app, http_scope(scheme="https"))
        (cookie,) = (value for name, value in first.headers if name == b"set-cookie")
        assert cookie.endswith(b"; HttpOnly; SameSite=Lax; Secure")
        pair = cookie.decode().partition(";")[0]
        again = ask(app, http_scope(headers=[("cookie", f"a=b; {pair}")]))
        assert again.headers == [
            (b"content-type", b"text/plain"),
            (b"x-arm", first.body),
        ]
        assert again.body == first.body
        arms.add(first.body)
    assert arms == {b"baseline", b"canary"}


def test_a_websocket_is_given_the_cookie_too() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})

    controller = Controller(routing=Routing(anonymous_cookie="bucket"))
    (accept,) = ask(CanaryMiddleware(app, controller), websocket_scope()).sent
    ((name, value),) = accept["headers"]
    assert name == b"set-cookie"
    assert value.startswith(b"bucket=")


def test_a_trusted_peer_may_choose_the_arm_and_another_may_not() -> None:
    controller = Controller(routing=forced(trusted_peers=("10.0.0.0/8",)))
    app = CanaryMiddleware(tells, controller)
    scope = http_scope(headers=[("X-Canary", "always")])
    assert ask(app, {**scope, "client": ("10.1.2.3", 1)}).body == b"canary"
    assert ask(app, scope).body == b"baseline"
    assert ask(app, {**scope, "client": None}).body == b"baseline"
    controller.abort()
    assert ask(app, {**scope, "client": ("10.1.2.3", 1)}).body == b"baseline"


def test_a_signed_claim_chooses_the_arm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_SECRET", "s3cret")
    controller = Controller(routing=forced(secret_env="FORCE_SECRET"))
    app = CanaryMiddleware(tells, controller)
    until = int(controller.time()) + 60
    claim = sign_choice(b"s3cret", controller.deployment_id, "always", until)
    scope = http_scope(headers=[("x-canary", claim)])
    assert ask(app, scope).body == b"canary"
    controller.time.advance(60)
    assert ask(app, scope).body == b"baseline"
    assert ask(app, http_scope(headers=[("x-canary", claim[:-1])])).body == b"baseline"
    assert controller.counters["force_refused"] == 2
