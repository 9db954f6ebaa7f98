"""A whole response, and what a contract may say of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from canario.control.violation import Violation
from canario.routing.router import Arm
from canario.wire import Headers

from .quoting import brief

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from canario.tape import Mark

__all__ = [
    "NOT_ABOUT",
    "Answer",
    "Contract",
    "Headers",
    "NotChecked",
    "Response",
    "ResponseContract",
    "answer_of",
    "bodiless",
    "header",
]

# (route, status, headers, body) -> what is wrong: nothing (None or True), False, a text or a
# Violation; or a NotChecked.
Contract = Callable[[str, int, Headers, bytes], object]


class NotChecked(Struct, frozen=True):
    """What a contract answers of a response that it could not check: it is counted, not valid."""

    why: str


# What a contract answers of a response that it says nothing about.
NOT_ABOUT = NotChecked("the contract is not about it")

Answer = Violation | NotChecked | None


class Response(NamedTuple):
    """A whole response of one arm."""

    arm: Arm
    route: str
    status: int
    headers: Headers
    body: bytes
    span: SpanContext | None = None  # of the request, so that a report can be linked to it
    method: str = ""  # "" when it is not known
    mark: Mark | None = None  # of the request, where a tape records it


class ResponseContract(ABC):
    """A contract that looks at whole responses; calling it is asking it about one."""

    name: str
    by_route = False  # whether it can say nothing of a response whose route has no name

    @abstractmethod
    def check(self, response: Response) -> Answer:
        """The first thing that is wrong, that it was not checked and why, or None: it is valid."""

    def may_be_about(self, status: int, headers: Headers) -> bool:  # noqa: ARG002
        """False when it can say nothing of a response that begins so, on whatever route."""
        return True

    def __call__(self, route: str, status: int, headers: Headers, body: bytes) -> Answer:
        return self.check(Response("baseline", route, status, headers, body))


def answer_of(contract: Contract, response: Response) -> Answer:
    """What a contract says of a response. An `Exception` that it raises is wrong with the response.

    Raises what is none, as a validator written in Rust does that panics: that is no answer.
    """
    try:
        if isinstance(contract, ResponseContract):
            return contract.check(response)
        answer = contract(response.route, response.status, response.headers, response.body)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if answer is None or answer is True:
        return None
    if isinstance(answer, Violation | NotChecked):
        return answer
    message = "the contract does not hold" if answer is False else brief(str(answer))
    return Violation(message=message, route=response.route or None)


def header(headers: Headers, name: bytes) -> bytes | None:
    """The value of a header, its lines joined by commas; None without one."""
    values = [value for key, value in headers if len(key) == len(name) and key.lower() == name]
    return b",".join(values) if values else None


def bodiless(status: int) -> bool:
    """True for a status whose responses have no body (RFC 9110, 6.4.1)."""
    return status < 200 or status in (204, 205, 304)
