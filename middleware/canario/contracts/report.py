"""Violations that the app itself has found."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from msgspec.structs import replace

from canario.control.violation import Violation
from canario.exchange import present
from canario.host.interrupts import pass_on
from canario.routing.router import Arm

from .quoting import brief

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController

__all__ = ["report_contract_violation", "report_violation"]

logger = logging.getLogger("canario")


def report_contract_violation(
    message: str,
    *,
    contract: str = "app",
    rule: str | None = None,
    path: str | None = None,
    route: str | None = None,
    trace_id: str | None = None,
    controller: CanaryDeploymentController | None = None,
    arm: Arm | None = None,
) -> bool:
    """Report that the app has broken a contract. On the canary this rolls back at once.

    It is about the request that is being served, wherever its context is: in a handler, in a
    background task, in a thread that the context was carried into. Outside of one, give the
    `controller`; without it nothing can be told, which is logged as a warning. Each report
    counts, so report a contract once for a request.

    Args:
        message: What is wrong, in a line; a longer text is shortened.
        contract: Names the contract; a plan may give it a budget.
        rule: The part of the contract that does not hold.
        path: A JSON pointer to what breaks it.
        route: The route; by default that of the present request.
        trace_id: The trace of the request, 32 hex digits.
        controller: Whom to tell; by default the present request's.
        arm: Which version it was; by default the present request's, and outside of one the
            canary, which is what a release guards.

    Returns:
        Whether it was told. Nothing is ever raised.
    """
    try:
        violation = Violation(
            message=brief(str(message)),
            contract=str(contract),
            rule=rule,
            path=path,
            route=route,
            trace_id=trace_id,
        )
        return report_violation(violation, controller=controller, arm=arm)
    except BaseException as error:
        pass_on(error)
        logger.exception("a broken contract could not be reported")
        return False


def report_violation(
    violation: Violation,
    *,
    controller: CanaryDeploymentController | None = None,
    arm: Arm | None = None,
) -> bool:
    """`report_contract_violation`, of a violation that has been put together."""
    try:
        exchange = present.get()
        if exchange is not None:
            violation = replace(
                violation,
                route=violation.route or exchange.find_route(),
                trace_id=violation.trace_id or exchange.trace_id,
            )
        gate = None if exchange is None else exchange.gate
        if controller is not None and (gate is None or gate.controller is not controller):
            of_request: Arm = "canary" if exchange is None else exchange.arm
            controller.report_violation(arm or of_request, violation)
            return True
        if exchange is not None and gate is not None:
            gate.report_violation(arm or exchange.arm, violation, gate.mark_of(exchange))
            return True
    except BaseException as error:
        pass_on(error)
        logger.exception("a broken contract could not be reported")
        return False
    logger.warning(
        "a broken contract is told to nobody, since no request is being served here; "
        "carry the context or give controller=: %s",
        violation,
    )
    return False
