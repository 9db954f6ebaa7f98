"""The app: `POST /evaluate` for programs, `GET /` for people, `GET /health` and `GET /version`.

`create_app` gives a plain Starlette app of one version. Version one is the baseline, version two
reads amounts of money better, and version three is version two with one of three faults.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from canario.tracing import FlowType, create_span_logger, trace_flow

from . import page, plans
from .faults import FAULTS, Fault, broken_body, slow_down, with_failing_component
from .pipeline import COMPONENTS, IMPROVED, Pipeline, traced

if TYPE_CHECKING:
    from starlette.requests import Request

    from .contract import Evaluation

__all__ = ["FAULT_VARIABLE", "MAX_PLAN_BYTES", "create_app"]

logger = create_span_logger(__name__)

FAULT_VARIABLE = "EVALUATION_APP_FAULT"
MAX_PLAN_BYTES = 200_000

# A form spells each byte of an accent with three characters.
_MAX_FORM_BYTES = 3 * MAX_PLAN_BYTES
_CONTENT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"


class _PlanInJson(msgspec.Struct):
    plan: str


def create_app(version: int = 1, fault: Fault | None = None) -> Starlette:
    """The app of `version` (1, 2 or 3).

    Only version three can have a `fault`; where none is given it is read from the environment
    variable `EVALUATION_APP_FAULT`, and without that there is none. Raises `ValueError` for an
    unknown version or fault, and for a fault of a sound version.
    """
    if version not in (1, 2, 3):
        raise ValueError(f"version is {version!r}; it must be 1, 2 or 3")
    if version < 3 and fault not in (None, "none"):
        raise ValueError(f"fault is {fault!r}; only version 3 can be broken")
    endpoints = _Endpoints(version, _fault(fault) if version == 3 else "none")
    return Starlette(
        routes=[
            Route("/", endpoints.show_form, methods=["GET"]),
            Route("/", endpoints.submit_form, methods=["POST"]),
            Route("/evaluate", endpoints.evaluate, methods=["POST"]),
            Route("/health", _health),
            Route("/version", endpoints.describe),
        ],
        exception_handlers={HTTPException: _error},
    )


def _fault(given: Fault | None) -> Fault:
    name = os.environ.get(FAULT_VARIABLE, "none") if given is None else given
    for fault in FAULTS:
        if name == fault:
            return fault
    raise ValueError(f"fault is {name!r}; it must be one of {', '.join(FAULTS)}")


class _Endpoints:
    """The endpoints of one version."""

    def __init__(self, version: int, fault: Fault) -> None:
        pipeline = Pipeline() if version == 1 else IMPROVED
        if fault == "failing":
            pipeline = with_failing_component(pipeline)
        self._pipeline = traced(pipeline)
        self._version = version
        self._fault = fault

    async def evaluate(self, request: Request) -> Response:
        """The evaluation of the plan in the body, as JSON."""
        body = await _body(request, MAX_PLAN_BYTES)
        text = _plan(_content_type(request), body)
        evaluation = await self._evaluation(text)
        if self._fault == "contract":
            answer = broken_body(text, evaluation)
        else:
            answer = msgspec.json.encode(evaluation)
        return Response(answer, media_type="application/json")

    async def show_form(self, request: Request) -> Response:
        """The page with an empty form, or with the plan that `?sample=` names in it."""
        sample = request.query_params.get("sample")
        if sample is not None and sample not in plans.TITLES:
            raise HTTPException(404, f"there is no sample named {sample!r}")
        return self._page(plan=plans.load(sample) if sample else "")

    async def submit_form(self, request: Request) -> Response:
        """The page with the evaluation of the plan in the form."""
        plan = ""
        try:
            plan = _form_field(await _body(request, _MAX_FORM_BYTES), "plan")
            _check_size(plan)
        except HTTPException as error:
            return self._page(plan=plan, status=error.status_code)
        return self._page(plan=plan, evaluation=await self._evaluation(plan))

    async def describe(self, _request: Request) -> Response:
        """Which version this is and what it is made of."""
        return JSONResponse({"version": self._version, "components": COMPONENTS})

    @trace_flow(FlowType.DECALOGO_EVALUATION)
    async def _evaluation(self, text: str) -> Evaluation:
        if self._fault == "slow":
            await slow_down(text)
        # Some tens of milliseconds of CPU: in a thread, the event loop goes on meanwhile.
        evaluation = await run_in_threadpool(self._pipeline.evaluate, text, self._version)
        logger.info("plan evaluated", percent=evaluation.total.percent, version=self._version)
        return evaluation

    def _page(
        self,
        *,
        plan: str,
        evaluation: Evaluation | None = None,
        status: int = 200,
    ) -> Response:
        html = page.render(self._version, plan, evaluation=evaluation, status=status)
        return HTMLResponse(html, status, headers={"content-security-policy": _CONTENT_POLICY})


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


async def _body(request: Request, limit: int) -> bytes:
    """The whole body; 413 as soon as more than `limit` bytes of it have come."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"the plan is too large; at most {MAX_PLAN_BYTES} bytes")
    return bytes(body)


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "text/plain").split(";")[0].strip().lower()


def _plan(content_type: str, body: bytes) -> str:
    if content_type == "application/json":
        text = _plan_in_json(body)
    elif content_type == "text/plain":
        text = _utf8(body)
    else:
        raise HTTPException(
            415, f"the content type is {content_type}; send text/plain or application/json"
        )
    _check_size(text)
    return text


def _plan_in_json(body: bytes) -> str:
    try:
        return msgspec.json.decode(body, type=_PlanInJson).plan
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HTTPException(400, f'the body is not JSON like {{"plan": "..."}}: {error}') from error


def _form_field(body: bytes, name: str) -> str:
    try:
        fields = parse_qs(_utf8(body), errors="strict", max_num_fields=8)
    except ValueError as error:
        raise HTTPException(400, f"the form cannot be read: {error}") from error
    return fields.get(name, [""])[0]


def _utf8(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise HTTPException(400, f"the plan is not UTF-8 text: {error}") from error


def _check_size(plan: str) -> None:
    if not plan.strip():
        raise HTTPException(400, "the plan is empty")
    if len(plan.encode("utf-8", "surrogatepass")) > MAX_PLAN_BYTES:
        raise HTTPException(413, f"the plan is too large; at most {MAX_PLAN_BYTES} bytes")
