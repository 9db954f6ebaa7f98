"""What the app reports itself: from a handler, a thread, a background task, and from nowhere."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from tests.contracts.test_through_the_middleware import get, serve
from tests.middleware.asgi_tools import Controller
from tests.waiting import PATIENCE

from canario import Phase, report_contract_violation
from canario.asgi import CanaryMiddleware
from canario.control.events import RolledBack
from canario.control.violation import Violation
from canario.slo import SLOMonitor
from canario.wsgi import CanaryMiddleware as WSGIMiddleware


def report() -> bool:
    return report_contract_violation("two rights share a number", rule="unique", path="/rights")


async def in_the_handler(request: Request) -> Response:
    return JSONResponse(report())


async def in_a_thread(request: Request) -> Response:
    return JSONResponse(await asyncio.to_thread(report))


async def in_a_plain_thread(request: Request) -> Response:
    thread = threading.Thread(target=contextvars.copy_context().run, args=(report,))
    thread.start()
    thread.join(PATIENCE)
    return JSONResponse(True)


async def in_a_background_task(request: Request) -> Response:
    return JSONResponse(True, background=BackgroundTask(report))


HANDLERS = (in_the_handler, in_a_thread, in_a_plain_thread, in_a_background_task)


@pytest.mark.parametrize("handler", HANDLERS)
def test_on_the_canary_it_rolls_back_and_says_where(handler: Any) -> None:
    controller = Controller(100)
    app = Starlette(routes=[Mount("/api", routes=[Route("/plans/{id}", handler)])])
    (response,) = get(CanaryMiddleware(app, controller), "/api/plans/7")
    assert response.json() is True
    end = controller.events[-1]
    assert isinstance(end, RolledBack)
    assert end.violation == Violation(
        message="two rights share a number",
        contract="app",
        rule="unique",
        path="/rights",
        route="/api/plans/{id}",
    )


@pytest.mark.parametrize("handler", HANDLERS)
def test_on_the_baseline_it_does_not(handler: Any) -> None:
    controller = Controller(50)
    app = Starlette(routes=[Route("/plans/{id}", handler)])
    get(CanaryMiddleware(app, controller), "/plans/7", user=controller.a_key("baseline"))
    assert controller.state.phase is Phase.RUNNING
    assert controller.counts("baseline").violations == 1


def test_the_monitor_is_told_of_the_route_s_flow() -> None:
    told: list[Any] = []

    class Monitor(SLOMonitor):
        def record_violation(self, flow_name: str, violation: Violation) -> None:
            told.append((flow_name, violation.route))

    monitor = Monitor()
    app = Starlette(routes=[Route("/plans/{id}", in_the_handler)])
    flows = {"/plans/{id}": "decalogo_evaluation"}
    get(CanaryMiddleware(app, Controller(100), monitor=monitor, flows=flows), "/plans/7")
    assert told == [("decalogo_evaluation", "/plans/{id}")]


def test_a_flask_app_reports_alike() -> None:
    app = Flask("reports")
    app.get("/plans/<int:number>")(lambda number: {"told": report()})
    controller = Controller(100)
    body = serve(WSGIMiddleware(app.wsgi_app, controller), "/plans/7", "u")
    assert b"true" in body
    end = controller.events[-1]
    assert isinstance(end, RolledBack)
    assert end.violation is not None
    assert end.violation.route == "/plans/<int:number>"


def test_outside_of_a_request_nobody_is_told_and_that_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert report() is False
    assert "told to nobody" in caplog.text
    assert "two rights share a number" in caplog.text


def test_outside_of_a_request_a_controller_is_told() -> None:
    controller = Controller(100)
    controller.start()
    assert report_contract_violation("slow", controller=controller, arm="baseline")
    assert not controller.state.phase.terminal
    assert report_contract_violation("wrong", controller=controller)
    assert controller.state.phase is Phase.ROLLED_BACK


def test_it_never_raises() -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    class Broken:
        def report_violation(self, *arguments: Any) -> None:
            raise RuntimeError("no")

    anything: Any = Unspeakable()
    assert report_contract_violation(anything) is False
    controller: Any = Broken()
    assert report_contract_violation("wrong", controller=controller) is False
