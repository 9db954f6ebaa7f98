"""Checking responses against a contract, beside the requests and never in their way."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from canario.routing.router import Arm

__all__ = ["Contract", "ContractChecker", "Response", "breach_of"]

Headers = Sequence[tuple[bytes, bytes]]

# (route, status, headers, body) -> what is wrong: nothing (None or True) or a text.
Contract = Callable[[str, int, Headers, bytes], object]


class Response(NamedTuple):
    """A whole response of one arm."""

    arm: Arm
    route: str
    status: int
    headers: Headers
    body: bytes


def breach_of(contract: Contract, response: Response) -> str | None:
    """What is wrong with a response, or None. Whatever the contract raises is wrong with it."""
    try:
        answer = contract(response.route, response.status, response.headers, response.body)
    except Exception as error:
        return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if answer is None or answer is True:
        return None
    return "the contract does not hold" if answer is False else str(answer)


class ContractChecker:
    """Runs a contract on responses, one after the other, on a thread of its own.

    The thread starts with the first response, so that nothing runs before a server forks, and
    ends when there is nothing to check for a while. At most `capacity` responses wait.
    """

    def __init__(
        self,
        contract: Contract,
        report: Callable[[Response, str], object],
        *,
        capacity: int = 256,
        idle_seconds: float = 1.0,
    ) -> None:
        self._contract = contract
        self._report = report
        self._capacity = capacity
        self._idle_seconds = idle_seconds
        self._waiting: deque[Response] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False

    def submit(self, response: Response) -> bool:
        """Have a response checked soon. False when too many wait: it will not be checked."""
        with self._changed:
            if len(self._waiting) >= self._capacity:
                return False
            self._waiting.append(response)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(
                    target=self._work, name="canario-contracts", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()
            return True

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is checked. False when `timeout` (s) was too short."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                if not self._changed.wait_for(lambda: bool(self._waiting), self._idle_seconds):
                    self._thread = None
                    return
                response = self._waiting.popleft()
                self._busy = True
            breach = breach_of(self._contract, response)
            if breach is not None:
                self._report(response, breach)
