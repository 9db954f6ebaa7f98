"""Contracts behind real apps: FastAPI's own document, models by route, gzip, Flask."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import httpx
import msgspec
import pytest
from fastapi import FastAPI
from flask import Flask, Response
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route
from tests.middleware.asgi_tools import Controller, ask, http_scope, user
from tests.waiting import PATIENCE

from canario import Phase
from canario.asgi import CanaryMiddleware
from canario.contracts import NotChecked, json_schema_contract, openapi_contract
from canario.contracts import Response as Answered
from canario.contracts.by_route import contracts_by_route
from canario.contracts.checker import ContractChecker
from canario.control.events import RolledBack
from canario.control.violation import Violation
from canario.wsgi import CanaryMiddleware as WSGIMiddleware


class Answer(BaseModel):
    id: int
    score: Annotated[int, Field(ge=0, le=100)]


class Plan(msgspec.Struct):
    title: str


def fastapi_app(score: int) -> FastAPI:
    """An app that answers past the model that documents it."""
    app = FastAPI()

    @app.get("/answers/{id}", response_model=Answer)
    async def answer(id: int) -> StarletteResponse:  # noqa: A002
        return JSONResponse({"id": id, "score": score})

    @app.get("/health", status_code=204)
    async def health() -> None:
        pass

    return app


def get(app: Any, *paths: str, user: str = "u", **headers: str) -> list[httpx.Response]:
    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return [
                await client.get(path, headers={"x-user-id": user, **headers}) for path in paths
            ]

    return asyncio.run(main())


def test_an_app_keeps_the_document_that_it_gives_of_itself() -> None:
    app = fastapi_app(50)
    controller = Controller(100)
    contract = openapi_contract(app.openapi(), undocumented_route="violation")
    middleware = CanaryMiddleware(app, controller, contract=contract)
    paths = ("/answers/7", "/answers/no-number", "/health")
    statuses = [response.status_code for response in get(middleware, *paths)]
    assert statuses == [200, 422, 204]
    assert middleware.gate.drain(5)
    assert controller.state.phase is Phase.RUNNING
    assert controller.counters["contract_checked"] == 3
    assert "contract_not_checked" not in controller.counters


def test_a_canary_that_breaks_its_document_is_rolled_back() -> None:
    controller = Controller(100)
    good, bad = fastapi_app(50), fastapi_app(104)
    contract = openapi_contract(good.openapi(), name="plans-api")
    middleware = CanaryMiddleware(good, controller, canary=bad, contract=contract)
    get(middleware, "/answers/7")
    assert middleware.gate.drain(5)
    end = controller.events[-1]
    assert isinstance(end, RolledBack)
    assert end.violation == Violation(
        message="104 is greater than the maximum of 100.0",
        contract="plans-api",
        rule="maximum",
        path="/score",
        route="/answers/{id}",
    )
    assert get(middleware, "/answers/7")[0].json() == {"id": 7, "score": 50}


def by_route() -> dict[str, Any]:
    return {
        "/answers/{anything}": Answer,
        "/plans": {"type": "array", "items": {"required": ["title"]}},
        "/plans/{id}": Plan,
        "/odd": lambda route, status, headers, body: b"odd" in body,
        "/named": json_schema_contract({"minimum": 3}, name="numbers"),
    }


@pytest.mark.parametrize(
    ("route", "body", "contract"),
    [
        ("/answers/{id}", b'{"id": 1, "score": 101}', "Answer"),
        ("/plans", b"[{}]", "contract"),
        ("/plans/<int:id>", b"{}", "Plan"),
        ("/odd", b"even", "contract"),
        ("/named", b"2", "numbers"),
    ],
)
def test_each_route_has_its_contract(route: str, body: bytes, contract: str) -> None:
    headers = [(b"content-type", b"application/json")]
    answer = contracts_by_route(by_route())(route, 200, headers, body)
    assert isinstance(answer, Violation)
    assert (answer.contract, answer.route) == (contract, route)


def test_a_mapping_is_a_contract_for_the_middleware() -> None:
    async def plan(request: Request) -> StarletteResponse:
        return JSONResponse({"title": 3})

    async def other(request: Request) -> StarletteResponse:
        return PlainTextResponse("anything")

    controller = Controller(100)
    app = Starlette(routes=[Route("/plans/{number:int}", plan), Route("/other", other)])
    middleware = CanaryMiddleware(app, controller, contract=by_route())
    get(middleware, "/other", "/none")
    assert middleware.gate.drain(5)
    assert controller.counters == {}
    get(middleware, "/plans/3")
    assert middleware.gate.drain(5)
    assert controller.state.phase is Phase.ROLLED_BACK
    assert controller.counters == {"contract_checked": 1}


@pytest.mark.parametrize(
    ("contract", "error", "message"),
    [
        ({"/a/{x}": int, "/a/{y}": int}, ValueError, "twice"),
        ({"/a": {"type": "nothing"}}, ValueError, "contract of /a: schema: not a valid"),
        ({"/a": 3}, TypeError, "contract of /a: contract is 3"),
        (3, TypeError, "contract is 3"),
        ({"type": "nothing"}, ValueError, "schema: not a valid JSON Schema"),
    ],
)
def test_a_contract_that_is_none_is_refused(
    contract: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        CanaryMiddleware(Starlette(), Controller(), contract=contract)


def test_bodies_compressed_by_the_app_are_decoded() -> None:
    async def answer(request: Request) -> StarletteResponse:
        return JSONResponse({"id": 1, "score": 50, "text": "x" * 3000})

    inner = Starlette(routes=[Route("/answers/{id}", answer)])
    for limit, checked in ((64 * 1024, 1), (2000, 0)):
        controller = Controller(100)
        middleware = CanaryMiddleware(
            GZipMiddleware(inner), controller, contract=by_route(), contract_max_body=limit
        )
        (response,) = get(middleware, "/answers/7", **{"accept-encoding": "gzip"})
        assert response.headers["content-encoding"] == "gzip"
        assert int(response.headers["content-length"]) < 200
        assert middleware.gate.drain(5)
        assert controller.counters.get("contract_checked", 0) == checked
        assert controller.counters.get("contract_not_checked", 0) == 1 - checked


def flask_app(score: int, compress: bool) -> Flask:
    app = Flask("contracts")

    @app.get("/answers/<int:number>")
    def answer(number: int) -> Response:
        body = msgspec.json.encode({"id": number, "score": score})
        headers = {"Content-Encoding": "gzip"} if compress else {}
        body = gzip.compress(body) if compress else body
        return Response(body, content_type="application/json", headers=headers)

    return app


def serve(app: Any, path: str, user: str) -> bytes:
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": path,
        "SERVER_NAME": "test",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": None,
        "HTTP_X_USER_ID": user,
    }

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[..., object]:
        return lambda data: None

    body: Iterable[bytes] = app(environ, start_response)
    try:
        return b"".join(body)
    finally:
        close = getattr(body, "close", None)
        if close is not None:
            close()


@pytest.mark.parametrize("compress", [True, False])
def test_flask_is_checked_alike(compress: bool) -> None:
    controller = Controller(100)
    middleware = WSGIMiddleware(
        flask_app(50, compress).wsgi_app,
        controller,
        canary=flask_app(104, compress).wsgi_app,
        contract={"/answers/{id}": Answer},
    )
    serve(middleware, "/answers/7", "u")
    assert middleware.gate.drain(5)
    end = controller.events[-1]
    assert isinstance(end, RolledBack)
    assert end.violation is not None
    assert (end.violation.rule, end.violation.path) == ("less_than_equal", "/score")
    assert end.violation.route == "/answers/<int:number>"


def test_many_violations_at_once_roll_back_once() -> None:
    seen: list[Any] = []
    controller = Controller(100, sinks=(seen.append,))
    controller.start()
    barrier = threading.Barrier(16)

    def break_it(number: int) -> None:
        barrier.wait(PATIENCE)
        for _ in range(20):
            controller.report_violation("canary", Violation(message=f"{number}"))

    threads = [threading.Thread(target=break_it, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert controller.drain(PATIENCE)
    for events in (controller.events, seen):
        assert [type(event) for event in events].count(RolledBack) == 1


def test_a_response_that_finds_no_room_is_counted_as_not_checked() -> None:
    release, counted = threading.Event(), list[str]()
    checker = ContractChecker(
        lambda *response: release.wait(PATIENCE) and None,
        lambda *report: None,
        count=counted.append,
        capacity=3,
    )
    response = Answered("canary", "/a", 200, (), b"")
    taken = [checker.submit(response) for _ in range(20)].count(True)
    release.set()
    assert checker.drain(PATIENCE)
    assert counted.count("contract_checked") == taken
    assert counted.count("contract_not_checked") == 20 - taken >= 16


def test_a_callable_may_say_that_it_did_not_check() -> None:
    controller = Controller(100)
    middleware = CanaryMiddleware(
        Starlette(), controller, contract=lambda *response: NotChecked("not today")
    )
    ask(middleware, http_scope())
    assert middleware.gate.drain(5)
    assert controller.counters["contract_not_checked"] == 1
    assert "contract_checked" not in controller.counters


def test_a_body_that_no_contract_is_about_is_not_kept() -> None:
    contract = json_schema_contract({}, statuses={201})
    middleware = CanaryMiddleware(Starlette(), Controller(100), contract=contract)
    ask(middleware, user("u"))
    assert not middleware.gate.may_check(404, [])
    assert middleware.gate.may_check(201, [])
