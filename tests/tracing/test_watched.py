"""Monitors and contracts of flows hear of every run, and change none."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Iterator
from typing import Any
from unittest import mock

import pytest
from opentelemetry.trace import format_trace_id
from tests.tracing.traces import Spans, traced

from canario.contracts.functions import FlowContract
from canario.control.violation import Violation
from canario.tracing import FlowType, trace_component, trace_flow
from canario.tracing.current import current


class Recorder:
    """A monitor that remembers."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, bool, float | None, bool, str | None]] = []

    def record_request(
        self,
        flow_name: str,
        success: bool,
        latency_ms: float | None,
        contract_valid: bool = True,
        *,
        trace_id: str | None = None,
    ) -> None:
        self.runs.append((flow_name, success, latency_ms, contract_valid, trace_id))

    @property
    def outcomes(self) -> list[tuple[str, bool, bool]]:
        return [(name, success, valid) for name, success, _, valid, _ in self.runs]


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture(params=["on", "off"])
def spans(request: pytest.FixtureRequest) -> Iterator[Spans | None]:
    if request.param == "off":
        yield None
        return
    with traced() as made:
        yield made


def flow(answer: object = None) -> object:
    if isinstance(answer, BaseException):
        raise answer
    return answer


def test_every_run_is_recorded_with_tracing_on_or_off(
    spans: Spans | None, recorder: Recorder
) -> None:
    watched = trace_flow(FlowType.RUBRIC_SCORING, monitor=recorder)(flow)
    watched()
    with pytest.raises(ValueError, match="no"):
        watched(ValueError("no"))
    assert recorder.outcomes == [("rubric_scoring", True, True), ("rubric_scoring", False, True)]
    for _, _, latency, _, trace_id in recorder.runs:
        assert latency is not None
        assert 0 <= latency < 10_000
        assert (trace_id is None) == (spans is None)
    if spans is not None:
        traces = [format_trace_id(span.context.trace_id) for span in spans.ended if span.context]
        assert traces == [run[4] for run in recorder.runs]


def test_a_cancelled_run_is_neutral_and_a_closed_generator_has_succeeded(
    spans: Spans | None, recorder: Recorder
) -> None:
    @trace_flow("waits", monitor=recorder)
    async def waits() -> None:
        await asyncio.sleep(60)

    @trace_flow("counts", monitor=recorder)
    def counts() -> Generator[int, None, None]:
        yield from range(3)

    async def main() -> None:
        task = asyncio.create_task(waits())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(main())
    assert recorder.outcomes == []
    for _ in counts():
        break
    list(counts())
    assert recorder.outcomes == [("counts", True, True)] * 2


def test_a_consumer_s_time_is_not_a_generator_s(recorder: Recorder) -> None:
    now = [0.0]

    @trace_flow("counts", monitor=recorder)
    def counts() -> Generator[None, None, None]:
        now[0] += 1
        yield
        now[0] += 2

    with mock.patch("canario.tracing.run.perf_counter", side_effect=lambda: now[0]):
        for _ in counts():
            now[0] += 100
    assert recorder.runs[0][2] == pytest.approx(3000)


def test_the_monitor_of_all_flows_hears_flows_alone(recorder: Recorder) -> None:
    own = Recorder()
    with mock.patch.object(current, "monitor", recorder):
        trace_flow("flow")(flow)()
        trace_component("component")(flow)()
        trace_flow("flow", monitor=own)(flow)()
    assert recorder.outcomes == own.outcomes == [("flow", True, True)]


@pytest.mark.parametrize("how", ["monitor", "check_input", "check_output", "report"])
def test_what_fails_beside_a_flow_changes_nothing(how: str, spans: Spans | None) -> None:
    class Broken:
        def __getattr__(self, name: str) -> Any:
            if name == how or how == "monitor":
                raise RuntimeError("broken")
            return lambda *args: [Violation(message="no")]

    if how == "monitor":
        watched = trace_flow("flow", monitor=Broken())(flow)
    else:
        watched = trace_flow("flow", contract=Broken())(flow)
    assert watched("answer") == "answer"
    with pytest.raises(ValueError, match="no"):
        watched(ValueError("no"))


def test_a_broken_contract_is_reported_and_changes_nothing(
    spans: Spans | None, recorder: Recorder
) -> None:
    contract = FlowContract(
        input={"type": "object", "properties": {"text": {"minLength": 3}}},
        output={"type": "integer"},
        deterministic=True,
        parameters=["text"],
    )
    answers = iter([1, 1, 2, "three"])

    @trace_flow("scoring", monitor=recorder, contract=contract)
    def score(text: str) -> object:
        return next(answers)

    with mock.patch.object(contract, "report", wraps=contract.report) as report:
        assert [score("abc"), score("abc"), score("abc"), score("a")] == [1, 1, 2, "three"]
    assert recorder.outcomes == [("scoring", True, valid) for valid in (True, True, False, False)]
    told = [violation for call in report.call_args_list for violation in call.args[0]]
    assert [violation.rule for violation in told] == [
        "determinism",
        "input.minLength",
        "output.type",
    ]
    for violation in told:
        assert violation.contract == "scoring"
        assert (violation.trace_id is None) == (spans is None)
    if spans is not None:
        shown = [(span.attributes or {}).get("canario.contract.violations") for span in spans.ended]
        assert [each is not None for each in shown] == [False, False, True, True]


@pytest.mark.parametrize("parameters", [None, ["text"], ["self", "text"]])
def test_a_contract_of_a_method_is_not_shown_the_object(parameters: list[str] | None) -> None:
    """Which has no digest: determinism would not be checked."""
    shape = {"minLength": 3} if parameters is None else {"properties": {"text": {"minLength": 3}}}
    contract = FlowContract(input=shape, deterministic=True, parameters=parameters)
    answers = iter(range(10))

    class Scorer:
        @trace_flow("scoring", contract=contract)
        def score(self, text: str) -> int:
            return next(answers)

        @trace_flow("scoring", contract=contract)
        @classmethod
        def score_all(cls, text: str) -> int:
            return next(answers)

    with mock.patch.object(contract, "report", wraps=contract.report) as report:
        for scores in (Scorer().score, Scorer().score, Scorer.score_all):
            scores("a")
    told = [violation.rule for call in report.call_args_list for violation in call.args[0]]
    assert told == ["input.minLength"] * 2 + ["determinism"] + ["input.minLength", "determinism"]
    assert contract.not_checked == 0


def test_a_contract_sees_the_input_before_the_function_changes_it() -> None:
    seen: list[list[int]] = []

    def check(items: list[int]) -> None:
        seen.append(list(items))

    @trace_flow("sorts", contract=FlowContract(input=check))
    async def sorts(items: list[int]) -> None:
        items.sort()

    asyncio.run(sorts([2, 1]))
    assert seen == [[2, 1]]


def test_a_contract_of_a_failed_run_is_not_asked_about_its_result(recorder: Recorder) -> None:
    asked: list[object] = []
    contract = FlowContract(output=asked.append)
    with pytest.raises(ValueError, match="no"):
        trace_flow("f", monitor=recorder, contract=contract)(flow)(ValueError("no"))
    assert asked == []
    assert recorder.outcomes == [("f", False, True)]
