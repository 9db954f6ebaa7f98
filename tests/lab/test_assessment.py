"""What the rows amount to: every figure worked out by hand, in JSON, CSV and a terminal."""

from __future__ import annotations

import csv
import io
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console
from tests.lab.worlds import BAD, GOOD, OWN, experiment, here, scenario

from canario_sim import Scenario
from canario_sim.lab import Condition, Policy, Replications, Row, replicate
from canario_sim.lab.assessment import Assessment, assessment, csv_text, json_text
from canario_sim.lab.experiment import rehearse
from canario_sim.lab.intervals import bootstrap_quantile, paired_difference, quantile, wilson
from canario_sim.reports.assessing import told
from canario_sim.reports.terminal import show


def row(policy: int, number: int, **values: Any) -> Row:
    given: dict[str, Any] = {
        "condition": 0,
        "policy": policy,
        "replication": number,
        "outcome": "completed",
        "reason": None,
        "at": 40.0,
        "stage": 1,
        "requests": 100,
        "errors": 2,
        "slow": 0,
        "violations": 0,
        "bad": 2,
        "users": 50,
        "budget_burnt": 0.5,
    }
    return Row(**(given | values))


def back(policy: int, number: int, at: float, **values: Any) -> Row:
    return row(policy, number, outcome="rolled_back", reason="error_rate", at=at, **values)


ROWS = (
    back(0, 0, 5.0, bad=7),
    row(0, 1),
    back(0, 2, 15.0, bad=9),
    row(0, 3, outcome="held", budget_burnt=None),
    row(0, 4, at=44.0),
    back(1, 0, 5.0, bad=7),
    back(1, 1, 25.0, bad=12),
    back(1, 2, 10.0, bad=8),
    row(1, 3),
    row(1, 4, bad=0),
)


def made(rows: tuple[Row, ...] = ROWS, *, complete: bool = True) -> Assessment:
    tried = experiment(conditions=(BAD,))
    return assessment(
        Replications(experiment=tried, rows=rows, planned=5, complete=complete), confidence=0.9
    )


def test_every_figure_is_what_the_rows_say() -> None:
    own, strict = made().characteristics
    assert (own.condition, own.kind, own.policy, own.replications) == (
        "bad",
        "regression",
        "own",
        5,
    )
    for estimate, count in ((own.rolled_back, 2), (own.promoted, 2), (own.undecided, 1)):
        assert (estimate.value, estimate.low, estimate.high) == (count / 5, *wilson(count, 5, 0.9))
    assert own.reasons == {"error_rate": 2}
    for found, values in (
        (own.seconds_to_rollback, [5.0, 15.0]),
        (own.seconds_to_promotion, [40.0, 44.0]),
        (own.bad_requests, [7, 2, 9, 2, 2]),
        (own.users, [50] * 5),
        (own.budget_burnt, [0.5] * 4),
        (strict.seconds_to_rollback, [5.0, 25.0, 10.0]),
    ):
        assert [each.q for each in found] == [0.5, 0.9, 0.99]
        for each in found:
            assert each.value == quantile(values, each.q)
            assert (each.low, each.high) == bootstrap_quantile(values, each.q, 0.9)
    assert own.rolled_back_by == ((5.0, 0.2), (15.0, 0.4))
    assert strict.rolled_back_by == ((5.0, 0.2), (10.0, 0.4), (25.0, 0.6))


def test_what_never_happened_has_no_quantiles() -> None:
    (only,) = made((row(0, 0),)).characteristics
    assert only.seconds_to_rollback == ()
    assert only.rolled_back_by == ()
    assert only.reasons == {}


def test_differences_are_of_pairs() -> None:
    (difference,) = made().differences
    assert (difference.policy, difference.against, difference.replications) == ("strict", "own", 5)
    share = difference.rolled_back
    assert (share.value, share.low, share.high) == paired_difference(1, 0, 5, 0.9)
    assert difference.bad_requests is not None
    assert difference.bad_requests.value == pytest.approx((0 + 10 - 1 + 0 - 2) / 5)


def test_common_requests_make_differences_sharper_than_requests_of_their_own() -> None:
    tried = experiment(conditions=(GOOD,))
    found = assessment(replicate(tried, here(), most=150))
    own, strict = found.characteristics
    difference = found.differences[0].rolled_back
    apart = own.rolled_back.high - own.rolled_back.low + strict.rolled_back.high
    apart -= strict.rolled_back.low
    assert difference.low > 0
    assert difference.high - difference.low < apart / 1.4


def test_a_curve_is_thinned_out_and_ends_with_all_of_them() -> None:
    rows = tuple(back(0, number, 1.0 + number) for number in range(1000))
    (only,) = made(rows).characteristics
    assert len(only.rolled_back_by) == 101
    assert only.rolled_back_by[0] == (1.0, 0.001)
    assert only.rolled_back_by[-1] == (1000.0, 1.0)
    assert list(only.rolled_back_by) == sorted(only.rolled_back_by)


def test_the_budget_is_what_the_objective_lets_fail_in_thirty_days() -> None:
    failing = scenario("all", errors=100)

    def rehearsed(tried: Scenario) -> Row:
        conditions = (Condition(scenario=tried, kind="regression"),)
        return rehearse(experiment(OWN, conditions=conditions), 0, 0, 0)

    found = rehearsed(failing)
    assert found.bad == found.errors == found.requests
    # The objective is 99.5 %; the app serves about 10 requests/s.
    month = 0.005 * 10 * 30 * 86_400
    assert found.budget_burnt == pytest.approx(100 * found.errors / month, rel=0.5)
    objectives = replace(failing.plan.slo, availability_percent=100)
    perfect = replace(failing, plan=replace(failing.plan, slo=objectives))
    assert rehearsed(perfect).budget_burnt is None


def test_json_is_the_whole_value_and_csv_a_line_for_each_cell() -> None:
    found = made()
    assert msgspec.json.decode(json_text(found), type=Assessment) == found
    assert json_text(found) == json_text(made())
    lines = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert [line["policy"] for line in lines] == ["own", "strict"]
    assert float(lines[0]["rolled_back"]) == 0.4
    assert float(lines[0]["rolled_back_low"]) == wilson(2, 5, 0.9)[0]
    assert float(lines[1]["seconds_to_rollback_p90"]) == 25
    assert lines[0]["reasons"] == "error_rate:2"
    assert "rolled_back_by" not in lines[0]
    for head in ("bad_requests_p99_low", "budget_burnt_p50", "seconds_to_promotion_p50_high"):
        assert head in lines[0]


def printed(found: Assessment, **options: Any) -> str:
    out = io.StringIO()
    show(told(found, **options), Console(file=out, width=200, highlight=False))
    return out.getvalue()


def test_the_tables_say_it_in_words() -> None:
    said = printed(made())
    line = next(line for line in said.splitlines() if line.startswith("bad "))
    low, high = (f"{100 * bound:.1f}" for bound in wilson(2, 5, 0.9))
    assert line.split()[:5] == ["bad", "own", "40.0", "%", f"[{low}–{high}]"]
    assert line.endswith("15 s")
    assert "Against own, on the very same requests" in said
    assert "own: A bad release is caught least often in bad" in said
    assert "90 % confidence" in said
    assert "Stopped" not in said
    more = printed(made(), intervals=True)
    assert "[5 s–15 s]" in more
    assert "Stopped after 5 of 5" in printed(made(complete=False))


def test_names_are_shown_and_not_run_as_markup() -> None:
    tried = experiment(Policy(name="[red]x[/red]"), conditions=(BAD,))
    found = assessment(Replications(experiment=tried, rows=(row(0, 0),), planned=1, complete=True))
    assert "[red]x[/red]" in json_text(found).decode()
    both = experiment(Policy(name="[red]x[/red]"), OWN, conditions=(BAD,))
    rows = (row(0, 0), row(1, 0))
    several = assessment(Replications(experiment=both, rows=rows, planned=1, complete=True))
    assert "[red]x[/red]" in printed(several)


def test_all_good_and_all_caught_are_said_with_their_bounds() -> None:
    tried = experiment(OWN, conditions=(GOOD, BAD))
    rows = tuple(row(0, number) for number in range(5)) + tuple(
        replace(back(0, number, 5.0), condition=1) for number in range(5)
    )
    said = printed(assessment(Replications(experiment=tried, rows=rows, planned=10, complete=True)))
    assert "No good release was rolled back: it happens in 43.4 % of the rollouts at most." in said
    assert "Every bad release was rolled back: in 56.6 % of the rollouts at least." in said
