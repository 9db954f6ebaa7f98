"""The picture of a rollout shows what happened, all of it, and nothing else."""

from __future__ import annotations

from itertools import pairwise

import altair as alt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.report.samples import alarms, odds, rehearsal, tape, tuning

from canario.control.events import StageEntered, Unwatched
from canario_sim.reports.assessing import assessing
from canario_sim.reports.backtested import backtested
from canario_sim.reports.charts import CONFIG, Clock, fixed, responsive, top
from canario_sim.reports.report import Report
from canario_sim.reports.rollout_picture import rollout
from canario_sim.reports.simulation import simulation
from canario_sim.reports.tuned import tuned

NAMES = (
    "canary_hangs",
    "error_spike",
    "healthy",
    "flapping",
    "low_traffic_with_deadline",
    "cold_start",
)


@pytest.mark.parametrize("name", NAMES)
def test_the_spans_of_the_share_cover_the_rollout(name: str) -> None:
    _, made = rehearsal(name)
    rows = rollout(made).tables[0].rows
    assert rows[0][0] == 0
    assert rows[-1][1] == made.ended_at
    for (_, end, *before), (start, _, *after) in pairwise(rows):
        assert end == start
        assert before != after
    shares = {
        event.at: event.percentage for event in made.events if isinstance(event, StageEntered)
    }
    assert {row[3] for row in rows} == set(shares.values())
    for start, _, _, share, _ in rows:
        assert share == next(s for at, s in reversed(shares.items()) if at <= float(str(start)))


@pytest.mark.parametrize("name", NAMES)
def test_the_checks_are_those_of_the_history(name: str) -> None:
    _, made = rehearsal(name)
    table = rollout(made, most=100).tables[1]
    names = [column.name for column in table.columns]
    assert len(table.rows) == len(made.history)
    for row, snapshot in zip(table.rows, made.history, strict=True):
        cells = dict(zip(names, row, strict=True))
        assert cells["at"] == snapshot.at
        counts = snapshot.canary.counts
        assert cells["canary_requests"] == counts.requests
        came = counts.requests + snapshot.canary.in_flight
        expected = 100 * counts.errors / came if counts.requests else None
        assert cells["canary_error_rate"] == expected
        assert cells["canary_in_flight"] == snapshot.canary.in_flight
        assert cells["baseline_overdue"] == snapshot.baseline.overdue
        assert cells["canary_abandoned"] == counts.abandoned


@pytest.mark.parametrize("name", ["flapping", "healthy", "low_traffic_with_deadline"])
@given(most=st.integers(3, 300))
@settings(max_examples=10)
def test_leaving_checks_out_keeps_peaks_and_changes(name: str, most: int) -> None:
    _, made = rehearsal(name)
    table = rollout(made, most=most).tables[1]
    assert table.shown is not None
    drawn = table.drawn
    for place in (5, 6):
        peaks = [
            max((float(row[place] or 0) for row in rows), default=0) for rows in (table.rows, drawn)
        ]
        assert peaks[0] == peaks[1]
    changes = sum(before[1:4] != after[1:4] for before, after in pairwise(table.rows))
    assert sum(before[1:4] != after[1:4] for before, after in pairwise(drawn)) == changes
    assert drawn[0] == table.rows[0]
    assert drawn[-1] == table.rows[-1]
    assert len(drawn) <= 3 * most + 2 * changes + 2


def test_faults_are_shaded_from_their_start_to_their_end() -> None:
    scenario, made = rehearsal("flapping")
    report = simulation([(scenario, made)])
    (faults,) = [table for table in report.all_tables if table.name == "faults"]
    (fault,) = scenario.faults
    occurrences = scenario.settled(1).occurrences(fault)
    until = [each for each in occurrences if each[0] < made.ended_at]
    assert [row[:2] for row in faults.rows] == until


def charts_of(report: Report) -> list[dict[str, object]]:
    return [panel.spec for picture in report.pictures for panel in picture.draw()]


@pytest.mark.parametrize(
    "kind", ["one", "several", "assess", "assess one", "tune", "backtest", "alarms"]
)
def test_every_chart_is_valid_vega_lite_for_any_width(kind: str) -> None:
    """Against Vega-Lite's own JSON Schema, as Altair brings it."""
    made = {
        "one": lambda: simulation([rehearsal("error_spike")]),
        "several": lambda: simulation([rehearsal(name) for name in ("healthy", "cold_start")]),
        "assess": lambda: assessing(odds()),
        "assess one": lambda: assessing(odds(("alone",))),
        "tune": lambda: tuned(tuning()),
        "backtest": lambda: backtested(tape()),
        "alarms": lambda: backtested(alarms()),
    }[kind]()
    charts = charts_of(made)
    assert charts
    for spec in charts:
        alt.Chart.from_dict({**spec, "config": CONFIG})
        assert "expr" not in str(fixed(spec, 640)).replace("condition", "")


def test_every_chart_says_what_it_shows_and_has_its_rows() -> None:
    reports = [
        simulation([rehearsal("error_spike")]),
        assessing(odds()),
        tuned(tuning()),
        backtested(tape()),
        backtested(alarms()),
    ]
    for picture in (picture for report in reports for picture in report.pictures):
        names = {table.name for table in picture.tables}
        assert all(table.rows for table in picture.tables)
        for panel in picture.draw():
            assert len(panel.says) > 40
            used = set(_names_in(panel.spec)) - set(panel.spec.get("datasets", {}))
            assert used
            assert used <= names


def _names_in(spec: object) -> list[str]:
    if isinstance(spec, dict):
        own = [spec["data"]["name"]] if isinstance(spec.get("data"), dict) else []
        return own + [name for value in spec.values() for name in _names_in(value)]
    if isinstance(spec, list):
        return [name for value in spec for name in _names_in(value)]
    return []


def test_where_there_are_too_many_rehearsals_those_that_failed_are_told() -> None:
    scenario, made = rehearsal("healthy")
    wrong = tuple(replace(each, ok=False) for each in made.expectations)
    runs = [
        (
            scenario,
            replace(
                made, scenario=f"run-{n}", expectations=wrong if n == 37 else made.expectations
            ),
        )
        for n in range(40)
    ]
    report = simulation(runs)
    names = [section.name for section in report.sections]
    assert "run-37" in names
    assert len(names) == 21
    assert "The table has all of them" in " ".join(report.summary)
    assert len(report.tables[0].rows) == 40


@given(values=st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5))
def test_an_axis_holds_all_values_and_not_much_more(values: list[float]) -> None:
    assert max(values) <= top(*values) <= 1.68 * max(values)


def test_time_is_told_in_the_unit_that_fits() -> None:
    assert [Clock(seconds).unit for seconds in (30, 600, 30_000)] == ["seconds", "minutes", "hours"]
    assert Clock(600).at(90) == 1.5


def test_what_is_responsive_is_fixed_for_a_width() -> None:
    assert fixed({"a": [responsive(2, 9)]}, 300) == {"a": [2]}
    assert fixed({"a": [responsive(2, 9)]}, 800) == {"a": [9]}


def test_a_tape_s_rollout_is_drawn_from_its_beginning_on() -> None:
    """The clock of a tape counts from 1970; a picture of it from 0."""
    report = backtested(tape())
    _, made = rehearsal("error_spike")
    checks = next(table for table in report.all_tables if table.name == "own-plan-checks")
    assert [row[0] for row in checks.rows] == [snapshot.at for snapshot in made.history]
    shares = next(table for table in report.all_tables if table.name == "shares")
    assert {row[0] for row in shares.rows} == {"what happened", "own plan", "strict"}
    assert [row[1:] for row in shares.rows if row[0] == "strict"] == [
        (0.0, 300.0, 5),
        (300.0, 615.0, 25),
    ]


def test_a_gap_on_a_tape_is_as_long_on_the_page_as_it_was() -> None:
    """A page counts from the start of the tape; how long nobody watched is no instant of it."""
    made = tape(("own plan",))
    (judged,) = made.policies
    at = made.tape.began + 300
    gap = Unwatched(at=at, since=at - 120, stage=0)
    events = tuple(sorted((*judged.run.events, gap), key=lambda event: event.at))
    report = backtested(
        replace(made, policies=(replace(judged, run=replace(judged.run, events=events)),))
    )
    told = {moment.text: moment.at for moment in report.sections[1].timeline}
    assert told["nobody watched for 2 min: the hold goes on where it stood"] == 300


def test_a_heat_map_has_a_cell_for_each_pair_and_marks_both_plans() -> None:
    made = tuning()
    table = next(table for table in tuned(made).all_tables if table.name == "heat")
    assert len(table.rows) == 12
    marks = {row[4]: row[:2] for row in table.rows if row[4]}
    assert marks == {"recommended": (5.0, 500.0), "present": (10.0, 500.0)}
    cells = {row[:2]: row[2:4] for row in table.rows}
    assert list(cells[3.0, 1000.0]) == [pytest.approx(60), pytest.approx(100 * (1 - 2 / 6))]


def test_what_was_asked_for_and_missed_fails() -> None:
    for report, failed in (
        (tuned(tuning()), 2),
        (backtested(tape()), 0),
        (backtested(alarms(), at_most=25), 0),
        (backtested(alarms(), at_most=24.9), 2),
    ):
        cases = [case for suite in report.suites for case in suite.cases]
        assert cases
        assert sum(not case.ok for case in cases) == failed
        assert report.ok is (failed == 0)
    assert backtested(alarms()).ok is None


def test_odds_are_those_of_the_assessment() -> None:
    assessed = odds()
    tables = {table.name: table for table in assessing(assessed).all_tables}
    rows = [*tables["false-rollback"].rows, *tables["detection"].rows]
    found = {(row[0], row[1]): row[3:] for row in rows}
    assert len(found) == len(assessed.characteristics)
    for each in assessed.characteristics:
        share = each.rolled_back
        wanted = (100 * share.value, 100 * share.low, 100 * share.high)
        assert found[each.condition, each.policy] == wanted
    ends = {row[:2]: row[3] for row in tables["rolled-back-by"].rows}
    for (condition, policy), percent in ends.items():
        assert percent == pytest.approx(found[condition, policy][0])


def test_a_canary_that_hangs_is_drawn_by_what_it_does_not_answer() -> None:
    """What has not ended is above the limit in the chart, and said where it ends."""
    scenario, made = rehearsal("canary_hangs")
    picture = rollout(made)
    titles = [panel.title for panel in picture.draw()]
    assert len(titles) == 4
    assert "those overdue among them" in titles[2]
    assert "overdue at the check" in titles[3]
    rates = [snapshot.canary.slow_rate or 0.0 for snapshot in made.history[-2:]]
    assert rates[0] < 1 < 5 < rates[1]
    assert made.canary.overdue == made.exposure.overdue > 10
    assert f"({made.exposure.overdue} of them overdue)" in made.exposure.words
    (section,) = simulation([(scenario, made)]).sections
    assert ("of them overdue", str(made.exposure.overdue)) in [
        (fact.label, fact.value) for fact in section.facts
    ]
    assert len(rollout(rehearsal("error_spike")[1]).draw()) == 3
