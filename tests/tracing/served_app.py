"""An app that is traced, as workers of a server load it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from canario import create_canary_controller
from canario.asgi import CanaryMiddleware
from canario.tracing import (
    ComponentType,
    ContextThreadPoolExecutor,
    FlowType,
    initialize_tracing,
    trace_component,
    trace_flow,
)

pool = ContextThreadPoolExecutor(2)

if os.environ.get("INITIALIZE_AT") == "import":
    initialize_tracing()


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    # What is initialised already stays as it is, and is shut down here all the same.
    with initialize_tracing() if os.environ["SHUT_DOWN_BY"] == "app" else nullcontext():
        yield


@trace_component(ComponentType.EMBEDDING_MODEL)
def encode(text: str) -> list[float]:
    return [float(len(text))]


@trace_flow(FlowType.DECALOGO_EVALUATION)
async def evaluate(text: str) -> list[float]:
    return await asyncio.get_running_loop().run_in_executor(pool, encode, text)


async def plan(request: Request) -> PlainTextResponse:
    await evaluate(request.path_params["text"])
    return PlainTextResponse(str(os.getpid()))


app = Starlette(routes=[Route("/plans/{text}", plan)], lifespan=lifespan)
app.add_middleware(CanaryMiddleware, controller=create_canary_controller("v2"))
