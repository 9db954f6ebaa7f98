"""Goals and durations as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario_sim.tuning import Goals, Grid, duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120s", 120),
        ("120", 120),
        ("5m", 300),
        ("5 min", 300),
        ("1.5h", 5400),
        ("250ms", 0.25),
        (" .5 s ", 0.5),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-5s", "0", "0m", "5 days", "1e3", "inf", "nan", "5m3s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration; write 120s, 5m or 1h"):
        duration(text)


@given(st.floats(0.001, 1e6))
def test_a_number_of_seconds_is_itself(seconds: float) -> None:
    assert duration(f"{seconds:f}s") == pytest.approx(seconds, abs=1e-6)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"false_rollback": -0.1}, "false_rollback is -0.1"),
        ({"detect": 0}, "detect is 0"),
        ({"detect": 1.5}, "detect is 1.5"),
        ({"within_seconds": 0}, "within_seconds is 0"),
        ({"at_most": -1}, "at_most is -1"),
        ({"false_rollback": 0.5, "detect": 0.4}, "more of the bad releases"),
    ],
)
def test_goals_that_cannot_be_meant(values: dict[str, float], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Goals(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"max_error_rate": ()}, "max_error_rate is empty"),
        ({"max_error_rate": (5, 2)}, "rising values, each once"),
        ({"max_error_rate": (5, 5)}, "rising values, each once"),
        ({"max_error_rate": (101,)}, "max_error_rate is 101"),
        ({"max_p95_latency_ms": (0,)}, "max_p95_latency_ms is 0"),
        ({"metric_window_seconds": (-1,)}, "metric_window_seconds is -1"),
        ({"min_samples": (0,)}, "min_samples is 0"),
        ({"alpha": (1,)}, "alpha is 1"),
    ],
)
def test_candidates_that_no_plan_could_have(
    values: dict[str, tuple[float, ...]], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        Grid(**values)  # type: ignore[arg-type]


def test_the_documented_thresholds_are_among_the_candidates() -> None:
    grid = Grid()
    assert 10 in grid.max_error_rate
    assert 500 in grid.max_p95_latency_ms
    assert 60 in grid.metric_window_seconds
    assert 10 in grid.min_samples
    assert len(grid) >= 1000
