"""Contracts of functions: inputs, outputs, and the same output for the same input."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
import pathlib
import subprocess
import sys
import threading
from typing import Annotated, Any

import msgspec
import numpy as np
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.middleware.asgi_tools import Controller
from tests.waiting import PATIENCE

from canario import Phase
from canario.contracts import FlowContract
from canario.contracts.digest import UndigestibleError, digest
from canario.control.violation import Violation
from canario.exchange import Exchange, present
from canario.gate.gate import Gate

FLOW = "decalogo_evaluation"


class Scores(pydantic.BaseModel):
    total: int


class Part(msgspec.Struct):
    total: int


class Scored(msgspec.Struct):
    by_right: dict[int, Any]


class Rights(pydantic.BaseModel):
    by_right: dict[int, int]


@pytest.mark.parametrize(
    ("output", "result", "rule", "path"),
    [
        ({"required": ["total"]}, {}, "output.required", ""),
        ({"properties": {"total": {"maximum": 3}}}, Part(4), "output.maximum", "/total"),
        (Scores, {"total": "many"}, "output.int_parsing", "/total"),
        (Part, {"total": "many"}, "output.type", "/total"),
        (list[Part], [Part(1), 3], "output.type", "/1"),
        (lambda result: result["total"] <= 3, {"total": 4}, "output", None),
        (lambda result: result["none"], {}, "output", None),
        (lambda result: "too many", {}, "output", None),
    ],
)
def test_an_output_that_is_not_valid_is_named(
    output: Any, result: Any, rule: str, path: str | None
) -> None:
    (violation,) = FlowContract(output=output).check_output(FLOW, (), {}, result)
    assert (violation.contract, violation.rule, violation.path) == (FLOW, rule, path)
    assert violation.message.startswith("output: ")


@pytest.mark.parametrize("output", [{"required": ["total"]}, Scores, Part, lambda result: None])
def test_a_valid_output_is_none(output: Any) -> None:
    assert FlowContract(output=output).check_output(FLOW, (), {}, {"total": 3}) == []
    valid = Scores(total=3) if output is Scores else Part(3)
    if isinstance(output, type):
        assert FlowContract(output=output).check_output(FLOW, (), {}, valid) == []


def test_a_shape_is_shown_the_argument_or_all_of_them() -> None:
    def shown(*args: Any, parameters: Any = None, **kwargs: Any) -> Any:
        adapter = pydantic.TypeAdapter(Annotated[Any, pydantic.AfterValidator(seen.append)])
        contract = FlowContract(input=adapter, parameters=parameters)
        assert contract.check_input(FLOW, args, kwargs) == []
        return seen.pop()

    seen: list[Any] = []

    assert shown("text") == "text"
    assert shown(text="text") == "text"
    assert shown("text", 3) == ["text", 3]
    assert shown(text="text", depth=3) == {"text": "text", "depth": 3}
    assert shown("text", depth=3) == {"args": ["text"], "depth": 3}
    assert shown("text", parameters=("text", "depth")) == {"text": "text"}
    assert shown("text", depth=3, parameters=("text",)) == {"text": "text", "depth": 3}


def test_a_callable_gets_the_arguments_themselves() -> None:
    def check(text: str, *, depth: int = 0) -> str | None:
        return None if depth < 3 else f"{text} is too deep"

    contract = FlowContract(input=check, name="depth")
    assert contract.check_input(FLOW, ("plan",), {"depth": 2}) == []
    assert contract.check_input(FLOW, ("plan",), {"depth": 3}) == [
        Violation(message="input: plan is too deep", contract="depth", rule="input")
    ]
    (violation,) = contract.check_input(FLOW, (), {})
    assert "TypeError" in violation.message


def test_what_is_no_contract_is_refused() -> None:
    with pytest.raises(TypeError, match="output is 3"):
        FlowContract(output=3)
    with pytest.raises(ValueError, match="input: not a valid JSON Schema"):
        FlowContract(input={"type": "nothing"})
    with pytest.raises(ValueError, match="remembered"):
        FlowContract(remembered=0)


# -- determinism


def test_the_same_input_must_give_the_same_output() -> None:
    contract = FlowContract(deterministic=True)
    assert contract.check_output(FLOW, ("a",), {"depth": 1}, {"x": 1, "y": 2}) == []
    assert contract.check_output(FLOW, ["a"], {"depth": 1}, {"y": 2, "x": 1}) == []
    assert contract.check_output(FLOW, ("b",), {"depth": 1}, {"x": 3}) == []
    assert contract.check_output("another", ("a",), {"depth": 1}, {"x": 3}) == []
    (violation,) = contract.check_output(FLOW, ("a",), {"depth": 1}, {"x": 3})
    assert violation.rule == "determinism"
    assert contract.not_checked == 0


def test_versions_are_not_compared_with_each_other() -> None:
    contract = FlowContract(deterministic=True)
    assert contract.check_output(FLOW, ("a",), {}, 1) == []
    exchange = Exchange()
    exchange.arm = "canary"
    token = present.set(exchange)
    try:
        assert contract.check_output(FLOW, ("a",), {}, 2) == []
        assert len(contract.check_output(FLOW, ("a",), {}, 1)) == 1
    finally:
        present.reset(token)


def test_what_has_no_digest_is_counted_and_never_valid(caplog: pytest.LogCaptureFixture) -> None:
    contract = FlowContract(deterministic=True)
    assert contract.check_output(FLOW, (object(),), {}, 1) == []
    assert contract.check_output(FLOW, ("a",), {}, iter(())) == []
    assert contract.not_checked == 2
    assert caplog.messages == [
        f"a run of {FLOW} is not checked for determinism: object is not data"
    ]


def test_no_more_inputs_than_that_are_remembered() -> None:
    contract = FlowContract(deterministic=True, remembered=10)
    for number in range(100):
        contract.check_output(FLOW, (number,), {}, 1)
    assert len(contract._seen) == 10
    assert contract.check_output(FLOW, (0,), {}, 2) == []  # forgotten
    assert len(contract.check_output(FLOW, (99,), {}, 2)) == 1


def test_many_threads_may_ask_at_once() -> None:
    contract = FlowContract(deterministic=True, remembered=50)
    found: list[Violation] = []

    def ask(result: int) -> None:
        for number in range(500):
            found.extend(contract.check_output(FLOW, (number % 40,), {}, result))

    threads = [threading.Thread(target=ask, args=(1,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert found == []


data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text() | st.integers(), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(data)
def test_a_digest_does_not_depend_on_the_order_of_keys(value: Any) -> None:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return [turned(item) for item in value] if isinstance(value, list) else value

    assert digest(value) == digest(turned(value))


@given(data, data)
def test_different_values_have_different_digests(one: Any, two: Any) -> None:
    assert (digest(one) == digest(two)) == (repr(_sorted(one)) == repr(_sorted(two)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=repr)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


@given(st.sets(st.text() | st.integers() | st.binary(), min_size=1, max_size=5), st.randoms())
def test_nor_does_it_on_that_of_items(items: set[Any], random: Any) -> None:
    turned = list(items)
    random.shuffle(turned)
    assert digest({1: items}) == digest({1: set(turned)})
    assert digest(frozenset(items)) == digest(set(turned))
    assert digest(items) != digest(items - {turned[0]})


@dataclasses.dataclass
class Finding:
    text: str
    at: datetime.datetime


def test_digests_of_what_apps_pass_around() -> None:
    at = datetime.datetime(2026, 11, 24, tzinfo=datetime.UTC)
    for made in (
        lambda: Finding("a", at),
        lambda: Scores(total=1),
        lambda: Part(1),
        lambda: {"a", "b", "c"},
        lambda: decimal.Decimal("1.10"),
        lambda: np.arange(6.0).reshape(2, 3),
        lambda: (1, [2, {"x": math.nan}]),
        lambda: {right: Part(right) for right in range(1, 11)},
        lambda: Scored(by_right={1: 0.5, 2: {("D1", 1), "whole"}}),
        lambda: Rights(by_right={1: 2**80}),
        lambda: pathlib.PurePosixPath("/plans/17"),
    ):
        assert digest(made()) == digest(made())
    assert digest(np.zeros(6)) != digest(np.zeros((2, 3)))
    assert digest(math.nan) != digest(None)
    assert digest(Scores(total=1)) != digest(Scores(total=2))
    assert digest(Scored(by_right={1: 2})) != digest(Scored(by_right={1: 3}))
    assert digest(Rights(by_right={1: 2})) != digest(Rights(by_right={2: 2}))
    assert digest({1: "a"}) != digest({"1": "a"})


def test_a_digest_is_the_same_in_every_process() -> None:
    code = (
        "from canario.contracts.digest import digest; "
        "print(digest({'b': {'x', 'y'}, 'a': 1}).hex())"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert said == {digest({"a": 1, "b": {"x", "y"}}).hex()}


@pytest.mark.parametrize("value", [object(), open, threading.Lock(), np.array([object()])])
def test_what_is_no_data_has_no_digest(value: object) -> None:
    with pytest.raises(UndigestibleError):
        digest(value)


def test_what_holds_itself_has_no_digest() -> None:
    value: list[Any] = []
    value.append(value)
    numbered: dict[int, Any] = {}
    numbered[1] = numbered
    for each in (value, numbered):
        with pytest.raises(UndigestibleError):
            digest(each)


# -- reporting


def test_a_report_on_the_canary_rolls_back() -> None:
    controller = Controller(100)
    exchange = Exchange()
    exchange.gate = Gate(controller)
    exchange.arm = "canary"
    controller.start()
    contract = FlowContract(output={"required": ["total"]})
    token = present.set(exchange)
    try:
        assert not contract.report(contract.check_output(FLOW, (), {}, {"total": 1}))
        assert not controller.state.phase.terminal
        assert contract.report(contract.check_output(FLOW, (), {}, {}))
    finally:
        present.reset(token)
    assert controller.state.phase is Phase.ROLLED_BACK
