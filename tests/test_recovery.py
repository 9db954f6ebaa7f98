"""Time from fault to recovery, with the retry libraries and breakers that apps use."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator

import pybreaker
import pytest
import stamina
import tenacity
from tests.waiting import PATIENCE

from canario.recovery import FaultRecovery, breaker_listener, on_retry
from canario.testing import ManualClock


class Monitor:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, bool, float]] = []

    def record_recovery(self, flow_name: str, success: bool, recovery_time_ms: float) -> None:
        self.told.append((flow_name, success, round(recovery_time_ms, 6)))


class Flaky:
    """Fails so many times, each taking a second of the clock, and then works."""

    def __init__(self, clock: ManualClock, failures: int) -> None:
        self.clock = clock
        self.failures = failures

    def __call__(self) -> str:
        self.clock.advance(1)
        if self.failures:
            self.failures -= 1
            raise OSError("away")
        return "there"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def monitor() -> Monitor:
    return Monitor()


@pytest.fixture
def recovery(monitor: Monitor, clock: ManualClock) -> FaultRecovery:
    return FaultRecovery(monitor, "document_processing", clock)


@pytest.fixture
def stamina_hook() -> Iterator[None]:
    stamina.set_testing(True, attempts=3, cap=True)  # without waiting
    stamina.instrumentation.set_on_retry_hooks([on_retry])
    yield
    stamina.instrumentation.set_on_retry_hooks(None)
    stamina.set_testing(False)


def test_it_is_measured_from_the_first_fault_to_the_end_of_the_block(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    with recovery:
        clock.advance(5)
        recovery.fault()
        clock.advance(0.25)
        recovery.fault()
        clock.advance(1)
    assert monitor.told == [("document_processing", True, 1250.0)]


def test_without_a_fault_nothing_is_recorded(recovery: FaultRecovery, monitor: Monitor) -> None:
    with recovery:
        pass
    assert recovery.recovered() is None
    assert recovery.gave_up() is None
    with pytest.raises(KeyError), recovery:
        raise KeyError
    assert monitor.told == []


def test_an_exception_that_leaves_the_block_is_no_recovery(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    @recovery
    def fails() -> None:
        recovery.fault()
        clock.advance(2)
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fails()
    assert monitor.told == [("document_processing", False, 2000.0)]


def test_a_generator_is_refused_for_its_call_is_not_its_run(recovery: FaultRecovery) -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    for function in (generator, async_generator):
        with pytest.raises(TypeError, match="is a generator function"):
            recovery(function)


def test_it_can_be_told_by_hand_and_begins_anew(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    for seconds in (1, 3):
        recovery.fault()
        clock.advance(seconds)
        assert recovery.recovered() == pytest.approx(1000 * seconds)
    assert [ms for _, _, ms in monitor.told] == [1000.0, 3000.0]


def test_nested_operations_are_measured_by_themselves(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    inner = FaultRecovery(monitor, "inner", clock)
    with recovery:
        recovery.fault()
        clock.advance(1)
        with inner:
            inner.fault()
            recovery.fault()
            clock.advance(1)
        clock.advance(1)
    assert monitor.told == [("inner", True, 1000.0), ("document_processing", True, 3000.0)]


def test_a_monitor_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def record_recovery(self, flow_name: str, success: bool, recovery_time_ms: float) -> None:
            raise RuntimeError("full")

    with FaultRecovery(Broken(), "flow") as recovery:
        recovery.fault()
    assert "could not be recorded" in caplog.text


def test_concurrent_tasks_are_measured_separately(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    async def operation(number: int) -> None:
        with recovery:
            recovery.fault()
            for _ in range(number):
                await asyncio.sleep(0)
            clock.advance(1)  # one second for each task that ends

    async def main() -> None:
        await asyncio.gather(*(operation(number) for number in range(1, 51)))

    asyncio.run(main())
    assert sorted(ms for _, _, ms in monitor.told) == [1000.0 * n for n in range(1, 51)]


def test_concurrent_threads_are_measured_separately(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    barrier = threading.Barrier(8)

    def operation() -> None:
        for _ in range(25):
            recovery.fault()
            barrier.wait(PATIENCE)  # all of them have failed
            recovery.recovered()
            barrier.wait(PATIENCE)

    threads = [threading.Thread(target=operation) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert len(monitor.told) == 200


def test_stamina_s_retries_are_measured(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock, stamina_hook: None
) -> None:
    flaky = Flaky(clock, failures=2)
    with recovery:
        for attempt in stamina.retry_context(OSError, attempts=5):
            with attempt:
                said = flaky()
    assert said == "there"
    # From the end of the first attempt, at 1 s, to the end of the third, at 3 s.
    assert monitor.told == [("document_processing", True, 2000.0)]


def test_stamina_giving_up_is_no_recovery(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock, stamina_hook: None
) -> None:
    flaky = Flaky(clock, failures=9)
    watched = recovery(stamina.retry(on=OSError, attempts=3)(flaky.__call__))
    with pytest.raises(OSError, match="away"):
        watched()
    assert monitor.told == [("document_processing", False, 2000.0)]


def test_stamina_with_coroutines(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock, stamina_hook: None
) -> None:
    @recovery
    @stamina.retry(on=OSError, attempts=3)
    async def fetch(flaky: Flaky) -> str:
        await asyncio.sleep(0)
        return flaky()

    async def main() -> list[str]:
        return await asyncio.gather(*(fetch(Flaky(clock, failures)) for failures in (0, 1, 2)))

    assert asyncio.run(main()) == ["there"] * 3
    assert len(monitor.told) == 2
    assert all(success for _, success, _ in monitor.told)


def test_tenacity_s_retries_are_measured(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    flaky = Flaky(clock, failures=3)
    retry = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(5),
        before_sleep=recovery.before_sleep,
        sleep=clock.advance,
        wait=tenacity.wait_fixed(0.5),
    )
    with recovery:
        assert retry(flaky) == "there"
    assert monitor.told == [("document_processing", True, 3 * 1500.0)]


def test_tenacity_s_fallback_is_no_recovery(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    flaky = Flaky(clock, failures=9)
    retry = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(2),
        after=recovery.before_sleep,
        retry_error_callback=recovery.retry_error(lambda state: f"tried {state.attempt_number}"),
    )
    with recovery:
        assert retry(flaky) == "tried 2"
    assert monitor.told == [("document_processing", False, 1000.0)]


def test_a_circuit_breaker_is_measured_from_open_to_closed(
    recovery: FaultRecovery, monitor: Monitor, clock: ManualClock
) -> None:
    listeners = [breaker_listener(recovery)]
    breaker, other = (
        pybreaker.CircuitBreaker(fail_max=2, reset_timeout=0, listeners=listeners) for _ in range(2)
    )
    flaky = Flaky(clock, failures=4)
    for _ in range(2):
        with pytest.raises((OSError, pybreaker.CircuitBreakerError)):
            breaker.call(flaky)
    assert breaker.current_state == "open"
    other.open()
    clock.advance(10)
    for _ in range(2):  # on trial, and open again
        with pytest.raises((OSError, pybreaker.CircuitBreakerError)):
            breaker.call(flaky)
    assert monitor.told == []
    assert breaker.call(flaky) == "there"
    assert breaker.current_state == "closed"
    assert monitor.told == [("document_processing", True, 13_000.0)]
    clock.advance(1)
    other.close()
    assert monitor.told[1:] == [("document_processing", True, 14_000.0)]
