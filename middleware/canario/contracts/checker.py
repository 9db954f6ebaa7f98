"""Checking responses against a contract, beside the requests and never in their way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from canario.background import BackgroundQueue
from canario.control.violation import Violation
from canario.routing.router import Arm

__all__ = ["Contract", "ContractChecker", "Response", "breach_of"]

Headers = Sequence[tuple[bytes, bytes]]

# (route, status, headers, body) -> what is wrong: nothing (None or True), a text or a Violation.
Contract = Callable[[str, int, Headers, bytes], object]


class Response(NamedTuple):
    """A whole response of one arm."""

    arm: Arm
    route: str
    status: int
    headers: Headers
    body: bytes


def breach_of(contract: Contract, response: Response) -> Violation | None:
    """What is wrong with a response, or None. Whatever the contract raises is wrong with it."""
    try:
        answer = contract(response.route, response.status, response.headers, response.body)
    except Exception as error:
        answer = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if answer is None or answer is True:
        return None
    if isinstance(answer, Violation):
        return answer
    message = "the contract does not hold" if answer is False else str(answer)
    return Violation(message=message, route=response.route or None)


class ContractChecker:
    """Runs a contract on responses, one after the other, on a thread of its own."""

    def __init__(
        self,
        contract: Contract,
        report: Callable[[Response, Violation], object],
        *,
        capacity: int = 256,
    ) -> None:
        self._contract = contract
        self._report = report
        self._queue = BackgroundQueue(self._check, name="canario-contracts", capacity=capacity)

    def submit(self, response: Response) -> bool:
        """Have a response checked soon. False when too many wait: it will not be checked."""
        return self._queue.submit(response)

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is checked. False when `timeout` (s) was too short."""
        return self._queue.drain(timeout)

    def _check(self, response: Response) -> None:
        violation = breach_of(self._contract, response)
        if violation is not None:
            self._report(response, violation)
