"""Behind real servers: two versions, streams, clients that leave, rollbacks, forks."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from tests.middleware.asgi_servers import gunicorn_server, uvicorn_server
from tests.middleware.asgi_tools import BAD, GOOD, NEUTRAL, App, Controller, named
from tests.waiting import PATIENCE, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from canario import Phase, RollbackReason, Stage, current_arm
from canario.asgi import CanaryMiddleware
from canario.clock import system_clock
from canario.control.events import Held, Promoted, StageEntered
from canario.plan import MissingEvidence
from canario.sinks import inline
from canario.sinks.listeners import Listeners


def live(share: float = 50, **options: Any) -> Controller:
    """A controller on the real clock; how fast this machine is decides nothing."""
    return Controller(share, clock=system_clock(), **{"max_p95_latency_ms": 100_000, **options})


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        for number in range(200):
            yield b"%d\n" % number * 1000

    return StreamingResponse(parts())


async def drip(request: Request) -> Response:
    """Never ends by itself."""

    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"data: drop\n\n"
            await asyncio.sleep(0.02)

    kind = "text/event-stream" if "events" in request.query_params else "text/plain"
    return StreamingResponse(parts(), media_type=kind)


async def chat(websocket: WebSocket) -> None:
    if websocket.query_params.get("deny"):
        await websocket.send_denial_response(PlainTextResponse("no", status_code=401))
        return
    await websocket.accept()
    async for text in websocket.iter_text():
        if text == "fail":
            raise LookupError("no answer")
        await websocket.send_text(f"{current_arm()} {text}")


def starlette(name: str, log: list[str] | None = None) -> Starlette:
    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        if log is not None:
            log.append(f"{name} starts")
        yield {"model": f"model of {name}"}
        if log is not None:
            log.append(f"{name} ends")

    async def index(request: Request) -> Response:
        return JSONResponse({"app": name, "model": getattr(request.state, "model", None)})

    async def fails(request: Request) -> Response:
        raise LookupError("no model")

    return Starlette(
        routes=[
            Route("/", index),
            Route("/fails", fails),
            Route("/stream", stream),
            Route("/drip", drip),
            WebSocketRoute("/chat", chat),
        ],
        lifespan=lifespan,
    )


@pytest.fixture
def controller() -> Controller:
    return live()


@pytest.fixture
def log() -> list[str]:
    return []


@pytest.fixture
def url(controller: Controller, log: list[str]) -> Iterator[str]:
    baseline, canary = starlette("baseline", log), starlette("canary", log)
    with uvicorn_server(CanaryMiddleware(baseline, controller, canary=canary)) as port:
        yield f"http://127.0.0.1:{port}"


def test_half_of_the_users_are_served_by_the_canary(url: str, controller: Controller) -> None:
    with httpx.Client(base_url=url) as client:
        for _ in range(2):
            for number in range(150):
                answer = client.get("/", headers={"x-user-id": f"user-{number}"}).json()
                arm = controller.router.route_request(f"user-{number}")
                assert answer == {"app": arm, "model": f"model of {arm}"}
    # A client may have its answer a moment before the server goes on to observe it.
    until(lambda: [seen.outcome for seen in controller.seen] == [GOOD] * 300)
    assert 100 < sum(seen.arm == "canary" for seen in controller.seen) < 200
    assert all((seen.latency_ms or 0) > 0 for seen in controller.seen)


def test_many_clients_at_once(url: str, controller: Controller) -> None:
    async def main() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=40)
        async with httpx.AsyncClient(base_url=url, limits=limits, timeout=PATIENCE) as client:
            keys = [{"x-user-id": str(number)} for number in range(200)]
            return await asyncio.gather(*(client.get("/", headers=key) for key in keys))

    for number, answer in enumerate(asyncio.run(main())):
        assert answer.json()["app"] == controller.router.route_request(str(number))
    until(lambda: len(controller.seen) == 200)


def test_a_stream_arrives_whole(url: str, controller: Controller) -> None:
    text = httpx.get(f"{url}/stream").content
    assert text == b"".join(b"%d\n" % number * 1000 for number in range(200))
    until(lambda: controller.seen)
    assert controller.only.outcome is GOOD


def leave(url: str, path: str, *, after: bytes) -> None:
    """Close the connection once `after` has come."""
    parsed = httpx.URL(url)
    with socket.create_connection((parsed.host, parsed.port or 80)) as connection:
        connection.sendall(b"GET %s HTTP/1.1\r\nhost: test\r\n\r\n" % path.encode())
        received = b""
        while after not in received:
            received += connection.recv(4096)


def test_a_client_that_closes_the_connection_is_neutral(url: str, controller: Controller) -> None:
    leave(url, "/drip", after=b"drop")
    until(lambda: controller.seen)
    assert controller.only.outcome is NEUTRAL


def test_a_client_that_leaves_an_event_stream_has_been_served(
    url: str, controller: Controller
) -> None:
    leave(url, "/drip?events=1", after=b"drop")
    until(lambda: controller.seen)
    assert controller.only.outcome is GOOD
    assert controller.only.latency_ms is not None
    assert controller.only.latency_ms < 30_000


def test_an_error_of_the_app_is_the_servers_to_answer(url: str, controller: Controller) -> None:
    assert httpx.get(f"{url}/fails").status_code == 500
    assert httpx.get(f"{url}/none").status_code == 404
    until(lambda: [seen.outcome for seen in controller.seen] == [BAD, NEUTRAL])


def test_a_websocket(url: str, controller: Controller) -> None:
    address = url.replace("http", "ws") + "/chat"
    for arm in ("baseline", "canary"):
        headers = {"x-user-id": controller.a_key(arm)}
        with connect(address, additional_headers=headers) as websocket:
            websocket.send("hi")
            assert websocket.recv() == f"{arm} hi"
    until(lambda: len(controller.seen) == 2)
    assert [(seen.arm, seen.outcome) for seen in controller.seen] == [
        ("baseline", GOOD),
        ("canary", GOOD),
    ]


def test_a_websocket_that_fails_and_one_that_is_denied(url: str, controller: Controller) -> None:
    address = url.replace("http", "ws") + "/chat"
    with connect(address) as websocket:
        websocket.send("fail")
        with pytest.raises(ConnectionClosed):
            websocket.recv()
    until(lambda: len(controller.seen) == 1)
    with pytest.raises(InvalidStatus):
        connect(address + "?deny=1")
    until(lambda: len(controller.seen) == 2)
    assert [seen.outcome for seen in controller.seen] == [BAD, NEUTRAL]


def test_both_apps_start_and_end_with_the_server(controller: Controller, log: list[str]) -> None:
    app = CanaryMiddleware(starlette("baseline", log), controller, canary=starlette("canary", log))
    with uvicorn_server(app, lifespan="on"):
        assert controller.state.phase is Phase.RUNNING
        assert log == ["baseline starts", "canary starts"]
    assert log[2:] == ["canary ends", "baseline ends"]


def test_without_lifespan_it_begins_with_the_first_request(controller: Controller) -> None:
    app = CanaryMiddleware(starlette("baseline"), controller, canary=starlette("canary"))
    with uvicorn_server(app, lifespan="off") as port:
        assert controller.events == ()
        key = next(str(n) for n in range(1000) if controller.router.bucket(str(n)) < 50_000)
        answer = httpx.get(f"http://127.0.0.1:{port}/", headers={"x-user-id": key})
        assert answer.json() == {"app": "canary", "model": None}


@pytest.mark.parametrize("lifespan", ["auto", "on", "off"])
def test_apps_that_do_not_know_lifespan(controller: Controller, lifespan: str) -> None:
    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await named(b"served")(scope, receive, send)

    app = CanaryMiddleware(refuses, controller, canary=CanaryMiddleware(refuses, live()))
    if lifespan == "on":
        with pytest.raises(AssertionError, match="not started"), uvicorn_server(app, lifespan="on"):
            pass
        return
    with uvicorn_server(app, lifespan=lifespan) as port:
        assert httpx.get(f"http://127.0.0.1:{port}/").content == b"served"
    assert controller.only.outcome is GOOD


def serve_until_withdrawn(app: App, controller: Controller) -> int:
    """Ask as many users as it takes; returns how many were served by the canary."""
    with uvicorn_server(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for number in range(2000):
            client.get("/", headers={"x-user-id": str(number)})
            if controller.state.phase.withdrawn:
                break
        reached = sum(seen.arm == "canary" for seen in controller.seen)
        for number in range(100):
            assert client.get("/", headers={"x-user-id": str(number)}).text == "1"
    assert sum(seen.arm == "canary" for seen in controller.seen) == reached
    return reached


def version(body: str, status: int = 200) -> Starlette:
    def index(request: Request) -> Response:
        return PlainTextResponse(body, status)

    return Starlette(routes=[Route("/", index)])


def test_errors_of_the_canary_roll_it_back() -> None:
    controller = live(max_error_rate=10, check_interval=0.2)
    app = CanaryMiddleware(version("1"), controller, canary=version("2", 500))
    assert serve_until_withdrawn(app, controller) >= 10
    assert controller.state.phase is Phase.ROLLED_BACK
    assert controller.state.reason is RollbackReason.ERROR_RATE


def test_one_broken_contract_of_the_canary_rolls_it_back() -> None:
    controller = live()

    def contract(route: str, status: int, headers: Any, body: bytes) -> None:
        assert route == "/"
        assert int(body) < 2, "version 2 is not out yet"

    app = CanaryMiddleware(
        version("1"), controller, canary=version("2"), contract=contract, contract_routes=["/"]
    )
    assert serve_until_withdrawn(app, controller) < 50
    assert controller.state.reason is RollbackReason.CONTRACT_VIOLATION


def test_a_healthy_canary_is_promoted() -> None:
    controller = live(stages=(Stage(50, 0.3), Stage(100, 0.3)), check_interval=0.1, min_samples=5)
    app = CanaryMiddleware(version("1"), controller, canary=version("2"))
    with uvicorn_server(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for number in range(5000):
            text = client.get("/", headers={"x-user-id": str(number)}).text
            if controller.state.phase is Phase.COMPLETED:
                break
        assert client.get("/", headers={"x-user-id": "anybody"}).text == "2"
    assert text in "12"
    assert controller.state.phase is Phase.COMPLETED


def test_stages_end_on_time_without_any_traffic() -> None:
    controller = live(
        stages=(Stage(50, 1), Stage(100, 1)),
        missing=MissingEvidence(deadline_seconds=0.5, then="advance"),
    )
    noticed: list[float] = []
    controller._listeners = Listeners([inline(lambda event: noticed.append(controller.clock()))])
    with uvicorn_server(CanaryMiddleware(version("1"), controller)):
        until(lambda: controller.state.phase is Phase.COMPLETED)
    began = controller.events[0].at
    ends = [event for event in controller.events if isinstance(event, StageEntered | Promoted)]
    assert [round(event.at - began, 6) for event in ends] == [0, 1.5, 3]
    assert [type(event) for event in controller.events].count(Held) == 2
    late = [at - event.at for at, event in zip(noticed, controller.events, strict=True)]
    assert max(late) < 30
    assert not controller.seen


# -- gunicorn, which loads the app and then forks

MODULE = """
import asyncio, json, os, threading
from canario import CanaryDeploymentController, Deployment, Plan, Stage, current_arm
from canario.asgi import CanaryMiddleware

def note(event):
    with open("events", "a") as file:
        file.write(f"{os.getpid()} {type(event).__name__}\\n")

controller = CanaryDeploymentController(
    Plan(deployment=Deployment(canary_stages=(Stage(50, 1000),))),
    deployment_id="release-1",
    sinks=[note],
)

async def serve(scope, receive, send):
    if scope["type"] == "lifespan":
        if not LIFESPAN:
            raise ValueError("no lifespan")
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        return await send({"type": "lifespan.shutdown.complete"})
    about = {"pid": os.getpid(), "arm": current_arm(), "phase": controller.state.phase}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(about).encode()})

app = CanaryMiddleware(serve, controller, contract=lambda *response: None)

with open("imports", "a") as file:
    file.write(f"{os.getpid()} {threading.active_count()} {controller.state.phase}\\n")
"""

# A newer gunicorn has a worker of its own, an older uvicorn brings one: there is always one.
WORKERS = [
    name
    for name, module in {
        "asgi": "gunicorn.workers.gasgi",
        "uvicorn.workers.UvicornWorker": "uvicorn.workers",
    }.items()
    if find_spec(module)
]


def test_gunicorn_has_a_worker_for_asgi() -> None:
    assert WORKERS


@pytest.mark.parametrize("worker", WORKERS)
@pytest.mark.parametrize("lifespan", [True, False])
def test_nothing_begins_before_gunicorn_forks(tmp_path: Path, worker: str, lifespan: bool) -> None:
    (tmp_path / "service.py").write_text(f"LIFESPAN = {lifespan}\n{MODULE}")
    options = ("--preload", "--workers=2", f"--worker-class={worker}")
    with gunicorn_server(tmp_path, "service:app", *options) as (port, master):
        with httpx.Client(headers={"connection": "close"}) as client:
            url = f"http://127.0.0.1:{port}/"
            users = [{"x-user-id": str(number)} for number in range(100)]
            answers = [client.get(url, headers=user).json() for user in users]

            def both_have_served() -> bool:
                """The worker that is ready first may have taken them all."""
                answers.append(client.get(url, headers=users[0]).json())
                return len({answer["pid"] for answer in answers}) == 2

            until(both_have_served)
        threads = Path(f"/proc/{master}/task")
        assert not threads.exists() or len(list(threads.iterdir())) == 1
    assert (tmp_path / "imports").read_text() == f"{master} 1 pending\n"
    pids = {answer["pid"] for answer in answers}
    assert master not in pids
    assert {answer["arm"] for answer in answers} == {"baseline", "canary"}
    assert {answer["phase"] for answer in answers} == {"running"}
    events = [line.split() for line in (tmp_path / "events").read_text().splitlines()]
    begun = [int(pid) for pid, event in events if event == "Started"]
    assert pids <= set(begun)
    assert master not in begun
    assert len(begun) == len(set(begun)) == 2
