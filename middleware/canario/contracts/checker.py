"""Checking responses against a contract, beside the requests and never in their way."""

from __future__ import annotations

import logging
from collections.abc import Callable

from canario.control.violation import Violation
from canario.host.background import BackgroundQueue

from .body import NotDecodableError, decoded
from .quoting import brief
from .response import (
    NOT_ABOUT,
    Answer,
    Contract,
    NotChecked,
    Response,
    answer_of,
    bodiless,
)

__all__ = ["CHECKED", "NOT_CHECKED", "ContractChecker", "breach_of"]

logger = logging.getLogger("canario")

# The counters: responses that were checked, and that should have been.
CHECKED, NOT_CHECKED = "contract_checked", "contract_not_checked"

# Reasons that are logged, each once.
_REASONS = 50


def breach_of(contract: Contract, response: Response, limit: int | None = None) -> Answer:
    """What a contract says of a response, once its body is decompressed (to at most `limit`)."""
    if not bodiless(response.status):
        try:
            body = decoded(response.body, response.headers, _MOST if limit is None else limit)
        except NotDecodableError as error:
            return Violation(
                message=brief(str(error)),
                contract=getattr(contract, "name", "contract"),
                rule="content-encoding",
                path="",
                route=response.route or None,
            )
        if isinstance(body, NotChecked):
            return body
        response = response._replace(body=body)
    return answer_of(contract, response)


# Bytes of a body without another limit: a small one that is compressed may hold any number.
_MOST = 2**30


class ContractChecker:
    """Runs a contract on responses, one after the other, on a thread of its own.

    Args:
        contract: What the responses are held against.
        report: Called with each response that breaks it, and how.
        count: Called with `CHECKED` or `NOT_CHECKED` for each response that was submitted.
        limit: A body that is longer (bytes) when decompressed is not checked.
        capacity: How many responses may wait.
    """

    def __init__(
        self,
        contract: Contract,
        report: Callable[[Response, Violation], object],
        *,
        count: Callable[[str], object] = str,  # which takes a name, and does nothing with it
        limit: int | None = None,
        capacity: int = 256,
    ) -> None:
        self.contract = contract
        self._report = report
        self._count = count
        self._limit = limit
        self._told: set[str] = set()
        self._queue = BackgroundQueue(self._check, name="canario-contracts", capacity=capacity)

    def submit(self, response: Response) -> bool:
        """Have a response checked soon. False, and counted, when too many wait."""
        if self._queue.submit(response):
            return True
        self.pass_over("too many responses wait for being checked")
        return False

    def pass_over(self, why: str, error: BaseException | None = None) -> None:
        """Count a response that is not checked; why is logged once, with `error`'s traceback."""
        self._count(NOT_CHECKED)
        if why not in self._told and len(self._told) < _REASONS:
            self._told.add(why)
            logger.warning(
                "a response is not checked against its contract: %s", why, exc_info=error
            )

    def drain(self, timeout: float | None = None) -> bool:
        """Wait until all that was submitted is checked. False when `timeout` (s) was too short."""
        return self._queue.drain(timeout)

    def _check(self, response: Response) -> None:
        try:
            answer = breach_of(self.contract, response, self._limit)
        except BaseException as error:
            # On a thread of canario's own, where even an interrupt is the contract's: no signal
            # comes here.
            self.pass_over(f"the contract raised {type(error).__qualname__}", error)
            return
        if isinstance(answer, NotChecked):
            if answer is not NOT_ABOUT:
                self.pass_over(answer.why)
            return
        self._count(CHECKED)
        if answer is not None:
            self._report(response, answer)
