"""The ring against all the totals that it was ever given."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario.metrics.ring import Ring

WIDTHS = st.sampled_from([1.0, 0.1, 5.0, 1 / 3, 60.0])


@given(WIDTHS, st.integers(0, 10**10), st.sampled_from([-1, 0, 1]))
def test_the_products_of_the_grid_decide_in_which_slice_an_instant_lies(
    width: float, k: int, nudge: int
) -> None:
    edge = k * width
    instant = math.nextafter(edge, nudge * math.inf) if nudge else edge
    number = Ring(width, 3, 1).number(instant)
    assert number * width <= instant < (number + 1) * width


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=12))
def test_it_gives_back_the_totals_of_each_slice_that_is_kept(came: list[tuple[int, int]]) -> None:
    """Steps of up to twice what is kept, and two columns that grow apart."""
    ring = Ring(2.0, 4, 2)
    total, began = [0, 0], {}
    at = first = 50
    ring.advance(101.0, total)
    for step, more in came:
        total[0] += more
        total[1] += 3 * more
        for number in range(at + 1, at + step + 1):
            began[number] = list(total)
        at += step
        if 2.0 * at >= ring.ends:
            ring.advance(2.0 * at, total)
        assert (ring.at, ring.starts, ring.ends) == (at, 2.0 * at, 2.0 * at + 2)
        for number in range(max(at - 4, first), at + 1):
            assert list(ring.at_start(number)) == began.get(number, [0, 0])
            assert ring.back(at - number) == ring.at_start(number)


def test_what_is_kept_reaches_from_the_oldest_slice_to_the_present_one() -> None:
    ring = Ring(2.0, 4, 1)
    assert (ring.width, ring.slots, ring.reach) == (2.0, 4, 8.0)
    assert (ring.at, ring.starts, ring.ends) == (None, -math.inf, -math.inf)
    ring.advance(21.0, [0])
    assert [ring.kept(instant) for instant in (0.0, 12.0, 14.5, 19.9, 21.0, 30.0)] == [
        *(6, 6, 7, 9, 10, 10)
    ]


def test_before_the_first_slice_nothing_was_counted() -> None:
    ring = Ring(1.0, 3, 2)
    assert list(ring.back(0)) == list(ring.back(3)) == [0, 0]
    assert ring.kept(-5.0) == -3
    assert ring.kept(5.0) == 0
    ring.advance(7.5, [4, 5])
    # What is counted is counted after the first slice has begun.
    assert [list(ring.back(slices)) for slices in range(4)] == [[0, 0]] * 4


def test_its_memory_is_what_it_keeps() -> None:
    ring = Ring(1.0, 3, 2)
    assert len(ring._starts) == 2 * (3 + 1)
    for number in range(20):
        ring.advance(float(number), [number, number])
    assert len(ring._starts) == 8


@pytest.mark.parametrize("jump", [5.0, 1e6])
def test_a_jump_over_all_that_is_kept_leaves_the_totals_of_before_it(jump: float) -> None:
    ring = Ring(1.0, 3, 1)
    ring.advance(0.0, [0])
    ring.advance(jump, [7])
    assert [list(ring.back(slices)) for slices in range(4)] == [[7]] * 4
