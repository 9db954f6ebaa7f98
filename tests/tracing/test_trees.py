"""Context is per task and per thread: spans make exactly the tree of the calls."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from threading import Barrier

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.tracing.traces import Tree, traced
from tests.waiting import PATIENCE

from canario.exchange import Exchange, current_arm, present
from canario.tracing import ContextThreadPoolExecutor, carry_context, trace_component, trace_flow

KINDS = ("plain", "coroutine", "generator", "async generator")


def trees(names: st.SearchStrategy[str], leaves: int) -> st.SearchStrategy[Tree]:
    return st.recursive(
        names.map(Tree),
        lambda below: st.builds(Tree, names, st.lists(below, max_size=3).map(tuple)),
        max_leaves=leaves,
    )


# A name tells what kind of function runs: a number, then the kind.
NAMES = st.tuples(st.integers(0, 9), st.sampled_from(KINDS)).map(
    lambda pair: f"{pair[0]} {pair[1]}"
)


async def run(tree: Tree) -> None:
    """Call traced functions in the shape of the tree."""
    match tree.name.split(" ", 1)[1]:
        case "plain":
            # A plain function cannot await: what is below it is plain, too.
            run_plain(tree)
        case "coroutine":

            @trace_flow(tree.name)
            async def coroutine() -> None:
                for each in tree.below:
                    await asyncio.sleep(0)
                    await run(each)

            await coroutine()
        case "generator":

            @trace_component(tree.name)
            def generator() -> Generator[None, None, None]:
                for each in tree.below:
                    run_plain(each)
                    yield

            for _ in generator():
                await asyncio.sleep(0)
        case _:

            @trace_flow(tree.name)
            async def async_generator() -> AsyncGenerator[None, None]:
                for each in tree.below:
                    await run(each)
                    yield

            async for _ in async_generator():
                await asyncio.sleep(0)


def run_plain(tree: Tree) -> None:
    @trace_flow(tree.name)
    def plain() -> None:
        for each in tree.below:
            run_plain(each)

    plain()


@given(st.lists(trees(NAMES, 12), max_size=4))
def test_nested_flows_of_any_kind_make_exactly_their_trees(forest: list[Tree]) -> None:
    with traced() as spans:

        async def main() -> None:
            await asyncio.gather(*map(run, forest))

        asyncio.run(main())
    assert sorted(spans.trees()) == sorted(forest)


def task_tree(number: int) -> Tree:
    draw = random.Random(number)
    inner = tuple(
        Tree(f"{number} {draw.choice(KINDS)}", (Tree(f"{number} plain"),)) for _ in range(3)
    )
    return Tree(f"{number} coroutine", inner)


def test_a_thousand_concurrent_tasks_make_a_thousand_trees() -> None:
    wanted = [task_tree(number) for number in range(1000)]
    with traced() as spans:

        async def main() -> None:
            await asyncio.gather(*map(run, wanted))

        asyncio.run(main())
    assert sorted(spans.trees()) == sorted(wanted)
    assert len({span.context.trace_id for span in spans.ended if span.context}) == 1000


def test_a_thousand_runs_in_threads_make_a_thousand_trees() -> None:
    wanted = [Tree(f"{number} plain", (Tree("x"), Tree("y"))) for number in range(1000)]
    together = Barrier(8)

    def one(tree: Tree) -> None:
        @trace_flow(tree.name)
        def outer() -> None:
            run_plain(Tree("x"))
            if int(tree.name.split()[0]) < 8:
                together.wait(PATIENCE)
            run_plain(Tree("y"))

        outer()

    with traced() as spans, ThreadPoolExecutor(8) as pool:
        list(pool.map(one, wanted))
    assert sorted(spans.trees()) == sorted(wanted)


@pytest.fixture
def canary_request() -> Generator[None, None, None]:
    exchange = Exchange()
    exchange.arm = "canary"
    token = present.set(exchange)
    yield
    present.reset(token)


def submit_to_context_pool(function: Callable[[], str]) -> list[Future[str]]:
    with ContextThreadPoolExecutor(4) as pool:
        return [pool.submit(function) for _ in range(20)]


def submit_carried(function: Callable[[], str]) -> list[Future[str]]:
    carried = carry_context(function)
    with ThreadPoolExecutor(4) as pool:
        return [pool.submit(carried) for _ in range(20)]


@pytest.mark.parametrize("submit", [submit_to_context_pool, submit_carried])
@pytest.mark.usefixtures("canary_request")
def test_span_and_arm_are_carried_into_threads(
    submit: Callable[[Callable[[], str]], list[Future[str]]],
) -> None:
    mine: ContextVar[int] = ContextVar("mine", default=0)

    @trace_flow("inner")
    def inner() -> str:
        assert mine.get() == 1
        mine.set(2)
        return current_arm()

    @trace_flow("outer")
    def outer() -> list[Future[str]]:
        mine.set(1)
        return submit(inner)

    with traced() as spans:
        results = outer()
    assert {each.result() for each in results} == {"canary"}
    assert spans.trees() == [Tree("outer", (Tree("inner"),) * 20)]
    assert mine.get() == 1


@pytest.mark.usefixtures("canary_request")
def test_a_loop_s_executor_and_a_pool_s_map_carry_context_too() -> None:
    async def main() -> str:
        with ContextThreadPoolExecutor(1) as pool:
            assert list(pool.map(lambda _: current_arm(), range(3))) == ["canary"] * 3
            return await asyncio.get_running_loop().run_in_executor(pool, current_arm)

    assert asyncio.run(main()) == "canary"


def test_a_plain_pool_carries_nothing() -> None:
    with traced() as spans:

        @trace_flow("outer")
        def outer() -> None:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(trace_flow("inner")(lambda: None)).result()

        outer()
    assert sorted(spans.trees()) == [Tree("inner"), Tree("outer")]


def test_carried_functions_keep_name_arguments_and_exceptions() -> None:
    def divide(a: int, b: int = 1) -> float:
        """Divides."""
        return a / b

    carried = carry_context(divide)
    assert carried.__name__ == "divide"
    assert carried(4, b=2) == 2
    with pytest.raises(ZeroDivisionError):
        carried(1, 0)
