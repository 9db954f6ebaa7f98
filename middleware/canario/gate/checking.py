"""Which responses the gate shows to a contract, and who is told when they break it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from msgspec.structs import replace
from opentelemetry.trace import format_trace_id

from canario.contracts import Response
from canario.contracts.by_route import Lookup, contract_of, may_be_about
from canario.contracts.checker import ContractChecker
from canario.control.violation import Violation
from canario.exchange import Exchange, Finished
from canario.routing.router import Arm
from canario.tracing.request import as_current

__all__ = ["Checking", "Tell"]

# Told of a broken contract: the arm, how it is broken, and what a tape says of the request.
Tell = Callable[[Arm, Violation, Any], object]


class Checking:
    """Submits the responses of one middleware to its contract.

    Args:
        contract: What `contract_of` takes.
        routes: The routes that it is about; None for all.
        max_body: Longer bodies (bytes) are passed over.
        tell: Called with each response that breaks the contract.
        count: Called with the names of counters.
    """

    def __init__(
        self,
        contract: Any,
        routes: Collection[str] | None,
        *,
        max_body: int,
        tell: Tell,
        count: Callable[[str], object],
    ) -> None:
        self.checker = ContractChecker(
            contract_of(contract), self._report, count=count, limit=max_body
        )
        self._routes = None if routes is None else Lookup(dict.fromkeys(routes, True))
        self._max_body = max_body
        self._tell = tell

    def may_check(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """False when the contract can say nothing of a response that begins so."""
        return may_be_about(self.checker.contract, status, headers)

    def observe(self, exchange: Exchange, finished: Finished) -> None:
        """A request has ended. The answer to one that was given up is nobody's any more."""
        if not exchange.complete or exchange.abandoned_at is not None:
            return
        if exchange.body is None or exchange.status is None:
            return
        name = finished.route or ""
        if self._routes is not None and not self._routes(name):
            return
        if exchange.body_bytes > self._max_body:
            why = f"its body does not pass through here in {self._max_body} bytes"
            self.checker.pass_over(why)
            return
        self.checker.submit(
            Response(
                exchange.arm,
                name,
                exchange.status,
                exchange.response_headers,
                b"".join(exchange.body),
                exchange.span_context,
                exchange.method,
                exchange.mark,
            )
        )

    def _report(self, response: Response, violation: Violation) -> None:
        span = response.span
        if span is not None and violation.trace_id is None:
            violation = replace(violation, trace_id=format_trace_id(span.trace_id))
        with as_current(span):
            self._tell(response.arm, violation, response.mark)
