"""Recoveries of a real circuit breaker and of a real retry reach the monitor."""

from __future__ import annotations

import pybreaker
import pytest
import tenacity
from tests.requirements.proofs import proves

from canario.recovery import FaultRecovery, breaker_listener
from canario.slo import SLOMonitor, create_slo_monitor

FLOW = "document_processing"


@pytest.fixture
def monitor() -> SLOMonitor:
    return create_slo_monitor(environ={})


@proves("phase.4.breaker")
def test_the_recovery_of_a_circuit_breaker_is_recorded(monitor: SLOMonitor) -> None:
    """A real breaker opens at the first failure, and closes at the next call that succeeds."""
    breaker = pybreaker.CircuitBreaker(
        fail_max=1, reset_timeout=0, listeners=[breaker_listener(FaultRecovery(monitor, FLOW))]
    )
    with pytest.raises(pybreaker.CircuitBreakerError):
        breaker.call(_fail)
    assert breaker.current_state == "open"
    assert monitor.check_slo_status(FLOW).recoveries == 0
    breaker.call(lambda: None)
    assert breaker.current_state == "closed"
    status = monitor.check_slo_status(FLOW)
    assert status.recoveries == 1
    assert status.p99_recovery_time_ms is not None
    assert status.p99_recovery_time_ms > 0


def test_the_recovery_of_a_retry_is_recorded(monitor: SLOMonitor) -> None:
    calls = iter([RuntimeError("away"), None])
    recovery = FaultRecovery(monitor, FLOW)

    @recovery
    @tenacity.retry(before_sleep=recovery.before_sleep, sleep=lambda seconds: None)
    def call() -> None:
        error = next(calls)
        if error is not None:
            raise error

    call()
    assert monitor.check_slo_status(FLOW).recoveries == 1


def _fail() -> None:
    raise RuntimeError("away")
