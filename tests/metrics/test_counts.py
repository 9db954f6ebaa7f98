"""Counts field by field, and what has not ended beside them."""

from __future__ import annotations

import pytest
from msgspec.structs import astuple

from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import NONE_IN_FLIGHT, InFlight, abandoned

FIELDS = Counts.__struct_fields__


def test_sums_and_differences_are_those_of_each_field() -> None:
    a, b = [3**n for n in range(len(FIELDS))], [5**n for n in range(len(FIELDS))]
    one, other = (Counts(**dict(zip(FIELDS, each, strict=True))) for each in (a, b))
    assert astuple(one + other) == tuple(x + y for x, y in zip(a, b, strict=True))
    assert astuple(one - other) == tuple(x - y for x, y in zip(a, b, strict=True))


def test_rates_are_in_percent_of_what_they_are_of() -> None:
    counts = Counts(requests=8, errors=2, timed=5, slow=2)
    assert (counts.error_rate, counts.slow_rate) == (25, 40)
    assert NOTHING.error_rate is NOTHING.slow_rate is None


def test_what_is_in_flight_is_all_timed_and_slow_as_far_as_it_is_known() -> None:
    flying = InFlight(requests=50, overdue=7, standing=20, standing_slow=3)
    assert (flying.all, flying.timed, flying.slow) == (70, 27, 10)
    assert (NONE_IN_FLIGHT.all, NONE_IN_FLIGHT.timed, NONE_IN_FLIGHT.slow) == (0, 0, 0)


@pytest.mark.parametrize("timed", [True, False])
def test_who_is_given_up_has_failed_and_is_slow_where_it_is_timed(timed: bool) -> None:
    slow = 3 if timed else 0
    assert abandoned(3, timed=timed) == Counts(
        requests=3, errors=3, timed=slow, slow=slow, abandoned=3
    )
    assert abandoned(0, timed=timed) is NOTHING
