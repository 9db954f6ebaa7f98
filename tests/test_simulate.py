"""`canario simulate`: the library of scenarios, what is printed, what is written."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import junitparser
import pytest
from tests.commands import call, process

from canario_sim import library_path, load_scenario, run, scenario_schema

SCENARIOS = sorted(library_path().glob("*.toml"))

# What a team may meet, each in a scenario of its own.
WANTED = {
    "healthy",
    "contract_violation_first_minute",
    "error_spike",
    "slow_rise_of_errors",
    "latency_regression",
    "slow_leak",
    "cold_start",
    "low_traffic",
    "no_traffic",
    "incident_on_both_arms",
    "flapping",
    "diurnal_peak",
    "saturated_canary_pool",
    "large_tenant_at_25_percent",
    "baseline_worse_than_canary",
    "contract_failure_on_rare_keys",
    "imperfect_validator",
    "retry_storm",
    "retry_budget",
    "autoscaler_too_slow",
    "garbage_pauses",
    "shared_database_outage",
    "breaker_recovers_late",
    "noisy_service_sequential",
    "failures_cluster_by_session",
    "twentyfold_errors_seen",
    "promotion_on_proof",
    "crowds_by_chance",
    "failures_cluster_by_user",
    "fault_by_chance",
    "large_payload_breaks_contract",
    "one_route_breaks",
    "preflights_without_a_key",
    "self_exciting_burst",
    "weekly_release",
}

SMALL = """
teaches = "a [bold]small[/bold] one"
plan = { deployment = { canary_stages = [{ percentage = 50, hold_seconds = 20 }] } }
traffic = { kind = "poisson", rate = 20 }
baseline = { latency = { kind = "lognormal", p50_ms = 20, p95_ms = 40 } }
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(SMALL + '[expect]\noutcome = "completed"\n')
    return path


def test_the_library_has_what_a_team_may_meet() -> None:
    assert {path.stem for path in SCENARIOS} >= WANTED


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_a_scenario_of_the_library(path: Path) -> None:
    """Its first line says what it teaches, its file fits the schema, and it ends as it says."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith('teaches = "')
    jsonschema.Draft202012Validator(scenario_schema()).validate(tomllib.loads(text))
    scenario = load_scenario(path)
    assert scenario.expect is not None
    done = run(scenario)
    assert done.as_expected, [e for e in done.expectations if not e.ok]


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_the_outcomes_of_the_library_are_no_luck(seed: int) -> None:
    """Where the judge does not do badly, other traffic ends the same way."""
    for path in SCENARIOS:
        scenario = load_scenario(path)
        if scenario.weakness is None:
            assert run(scenario, seed).ok, path.stem


def test_a_weakness_is_said_where_the_outcome_is_not_the_right_one() -> None:
    """Good releases that are rolled back, and bad ones that are promoted."""
    weak = {path.stem for path in SCENARIOS if load_scenario(path).weakness}
    assert weak == {
        "cold_start",
        "failures_cluster_by_user",
        "flapping",
        "garbage_pauses",
        "heavy_tail_at_low_share",
        "incident_on_both_arms",
        "noisy_service",
        "one_route_breaks",
        "preflights_without_a_key",
        "shared_database_outage",
        "twentyfold_errors_unseen",
    }


def test_the_whole_library_in_one_command(tmp_path: Path) -> None:
    said = call("simulate", library_path(), "--out", tmp_path / "out")
    assert said.returncode == 0, said.stderr
    assert said.stderr == ""
    assert f"{len(SCENARIOS)} rehearsed, {len(SCENARIOS)} as expected, 0 not" in said.stdout
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {p.stem for p in SCENARIOS}


def test_a_timeline_tells_stages_verdicts_and_the_decision() -> None:
    said = call("simulate", library_path() / "error_spike.toml").stdout
    for words in (
        "up to some 82,200 requests in 1 h 8 min 30 s\n\n",
        "stage canary_5 entered: 5 % of the keys",
        "healthy: ",
        "stage canary_25 entered",
        "10 min  fault on the canary starts: 50 % of the requests fail",
        "rolled back, error_rate: ",
        "at most 10 % may",
        "the canary served",
        "share over time",
    ):
        assert words in said, words


def test_verbose_shows_every_change_of_verdict(tmp_path: Path) -> None:
    """About ten requests fall in a window that needs ten: the verdict comes and goes."""
    path = tmp_path / "wavering.toml"
    path.write_text(
        'teaches = "it wavers"\n'
        'traffic = { kind = "poisson", rate = 3.4 }\n'
        'baseline = { latency = { kind = "lognormal", p50_ms = 20, p95_ms = 40 } }\n'
    )
    brief, whole = call("simulate", path).stdout, call("simulate", path, "-v").stdout
    assert "more changes of verdict (-v)" in brief
    assert "more changes" not in whole
    assert whole.count("insufficient: ") > brief.count("insufficient: ")


def test_the_same_seed_gives_the_same_bytes(small: Path, tmp_path: Path) -> None:
    for out, seed in (("a", "1"), ("b", "2")):
        said = process("simulate", small, "--out", tmp_path / out, environ={"PYTHONHASHSEED": seed})
        assert said.returncode == 0
    first, second = ((tmp_path / out / "small.json").read_bytes() for out in "ab")
    assert first == second
    call("simulate", small, "--seed", "9", "--out", tmp_path / "c")
    assert (tmp_path / "c" / "small.json").read_bytes() != first


def test_json_is_for_programs(small: Path) -> None:
    said = call("simulate", small, "--json")
    made = json.loads(said.stdout)
    assert made["ok"] is True
    assert made["reports"][0]["run"]["outcome"] == "completed"
    assert made["reports"][0]["run"]["events"][0]["event"] == "started"


def test_an_expectation_that_fails_is_code_1(tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(SMALL + '[expect]\noutcome = "rolled_back"\nreason = "error_rate"\n')
    said = call("simulate", path)
    assert said.returncode == 1
    assert "not as expected: outcome is completed, expected rolled_back" in said.stdout
    assert "1 rehearsed, 0 as expected, 1 not" in said.stdout
    assert call("simulate", path, "--json").returncode == 1


def test_markup_in_a_scenario_is_shown_and_not_obeyed(small: Path) -> None:
    assert "a [bold]small[/bold] one" in call("simulate", small).stdout


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (SMALL.replace("rate = 20", "rte = 20"), "traffic.rte: unknown key; did you mean rate?"),
        (SMALL.replace('"poisson"', '"poison"'), "'poison'"),
        (SMALL.replace("p95_ms = 40", "p95_ms = 4"), "p95_ms is 4"),
        (SMALL.replace("= 20 }", "= nan }"), "nan"),
        ("teaches = 5", "teaches"),
        ("", "teaches"),
    ],
)
def test_a_bad_scenario_is_one_line_and_code_2(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    said = call("simulate", path)
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(f"canario: {path}: ")
    assert says in said.stderr
    assert said.stderr.count("\n") == 1


def test_nothing_runs_unless_every_scenario_is_valid(small: Path, tmp_path: Path) -> None:
    (tmp_path / "worse.toml").write_text("nonsense")
    said = call("simulate", tmp_path, "--out", tmp_path / "out")
    assert (said.returncode, said.stdout) == (2, "")
    assert not (tmp_path / "out").exists()


def test_a_path_that_is_none_and_names_that_collide(small: Path, tmp_path: Path) -> None:
    assert "does not exist" in call("simulate", tmp_path / "none").stderr
    (tmp_path / "empty").mkdir()
    assert "holds no scenario" in call("simulate", tmp_path / "empty").stderr
    other = tmp_path / "other"
    other.mkdir()
    (other / "small.toml").write_text(SMALL)
    assert "'small' is the name of" in call("simulate", small, other).stderr
    assert "Missing argument" in call("simulate").stderr


def test_without_a_checkout_scenarios_means_the_library(tmp_path: Path) -> None:
    said = call("simulate", "scenarios/healthy.toml", folder=tmp_path)
    assert said.returncode == 0, said.stderr


def test_scenario_check_and_schema(small: Path) -> None:
    assert call("scenario", "check", small).stdout == "small: a [bold]small[/bold] one\n"
    schema = json.loads(call("scenario", "schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)


# -- by chance

LUCKY = """
teaches = "The first hundred tenants: who is among them decides."
plan = { deployment = { canary_stages = [{ percentage = 50, hold_seconds = 20 }] } }
traffic = { kind = "poisson", rate = 20 }
baseline = { latency = { kind = "lognormal", p50_ms = 20, p95_ms = 40 } }
faults = [{ kind = "outage", onset = { kind = "once", probability = 50 } }]
"""


@pytest.fixture
def lucky(tmp_path: Path) -> Path:
    """Scenarios that are rolled back under every other seed, and say so or do not."""
    folder = tmp_path / "lucky"
    folder.mkdir()
    (folder / "lucky.toml").write_text(
        LUCKY + '[expect]\noutcome = "rolled_back"\nreason = "error_rate"\nchance = 0.5\n'
    )
    (folder / "never.toml").write_text(LUCKY + '[expect]\noutcome = "held"\nchance = 0.5\n')
    (folder / "sure.toml").write_text(LUCKY + '[expect]\noutcome = "rolled_back"\n')
    return folder


def lucky_seeds(lucky: Path) -> tuple[int, int]:
    """The first seed under which it is as expected, and the first under which it is not."""
    scenario = load_scenario(lucky / "lucky.toml")
    kept = [run(scenario, seed).as_expected for seed in range(20)]
    return kept.index(True), kept.index(False)


def test_a_seed_that_is_not_as_expected_by_chance_fails_nothing_and_is_marked(lucky: Path) -> None:
    kept, missed = lucky_seeds(lucky)
    path = lucky / "lucky.toml"
    reports = [lucky / f"out.{suffix}" for suffix in ("html", "md", "xml", "json")]
    reports.append(lucky / "tables.csv")
    options = [option for report in reports for option in ("--report", str(report))]
    said = call("simulate", path, "--seed", str(missed), *options)
    assert said.returncode == 0, said.stderr
    assert "by chance not as expected: outcome is completed, expected rolled_back" in said.stdout
    assert "under 50 % of the seeds" in said.stdout
    assert "1 rehearsed, 0 as expected, 1 by chance not, 0 not" in said.stdout
    html, markdown, junit, document = (made.read_text(encoding="utf-8") for made in reports[:4])
    assert "by chance not" in html
    assert "🎲" in markdown
    assert "❌" not in markdown
    suites = junitparser.JUnitXml.fromstring(junit)
    assert (suites.failures, suites.errors, suites.skipped) == (0, 0, 2)
    assert "by chance: expected rolled_back, actual completed" in junit
    (report,) = json.loads(document)["reports"]
    assert (report["ok"], report["by_chance"], report["run"]["chance"]) == (True, True, 0.5)
    assert (lucky / "tables-expected.csv").read_text().count("by chance not") == 2
    said = call("simulate", path, "--seed", str(kept), "--json")
    assert said.returncode == 0
    (report,) = json.loads(said.stdout)["reports"]
    assert (report["ok"], report["by_chance"]) == (True, False)


def test_without_a_chance_every_seed_counts(lucky: Path) -> None:
    _, missed = lucky_seeds(lucky)
    said = call("simulate", lucky / "sure.toml", "--seed", str(missed))
    assert said.returncode == 1
    assert "by chance" not in said.stdout


def test_seeds_test_whether_files_tell_the_truth(lucky: Path) -> None:
    report = lucky / "out.xml"
    said = call("simulate", lucky, "--seeds", "30", "--seed", "1", "--report", report)
    assert said.returncode == 1, said.stderr
    lines = said.stdout.splitlines()
    (good,) = (line for line in lines if line.startswith("lucky: "))
    assert "99 % interval" in good
    assert good.endswith("as it says: under 50 % of the seeds")
    (never,) = (line for line in lines if line.startswith("never: "))
    assert "under 0 of 30 seeds (0 %, 99 % interval 0 to 18.1 %)" in never
    assert "it says under 50 % of the seeds: that lies outside" in never
    (sure,) = (line for line in lines if line.startswith("sure: "))
    assert "it says under any seed: make its world robust, or state the share" in sure
    assert "    seed " in said.stdout
    assert lines[-1] == "3 rehearsed under 30 seeds each, 1 as they say, 2 not"
    suites = junitparser.JUnitXml.fromfile(str(report))
    assert (suites.tests, suites.failures) == (3, 2)


def test_shares_are_documents_too_and_go_on_from_the_seed(lucky: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = lucky / "lucky.toml"
    said = call("simulate", path, "--seeds", "12", "--seed", "5", "--json", "--out", out)
    assert said.returncode == 0, said.stderr
    (share,) = json.loads(said.stdout)["shares"]
    assert json.loads((out / "lucky.json").read_text()) == share
    scenario = load_scenario(path)
    missed = [seed for seed in range(5, 17) if not run(scenario, seed).as_expected]
    assert [miss["seed"] for miss in share["share"]["missed"]] == missed
    assert share["share"]["as_expected"] == 12 - len(missed)


@pytest.mark.parametrize("suffix", ["html", "md", "json", "csv"])
def test_shares_in_every_format(lucky: Path, suffix: str) -> None:
    report = lucky / f"out.{suffix}"
    call("simulate", lucky, "--seeds", "4", "--report", report)
    (made,) = [*lucky.glob(f"out.{suffix}"), *lucky.glob("out-shares.csv")]
    content = made.read_text(encoding="utf-8")
    assert all(name in content for name in ("lucky", "never", "sure"))


@pytest.mark.parametrize("chance", ["90", "0", '"often"'])
def test_a_chance_is_a_share(lucky: Path, chance: str) -> None:
    path = lucky / "lucky.toml"
    path.write_text(path.read_text().replace("chance = 0.5", f"chance = {chance}"))
    said = call("scenario", "check", path)
    assert said.returncode == 2
    assert "expect.chance" in said.stderr
    assert said.stderr.count("\n") == 1


def test_many_seeds_are_not_watched(small: Path) -> None:
    said = call("simulate", small, "--seeds", "2", "--watch")
    assert said.returncode == 2
    assert "--seeds and --watch exclude each other" in said.stderr
    assert call("simulate", small, "--seeds", "0").returncode == 2


# -- users are counted when they are sent, requests when they are done


def test_what_was_in_flight_is_said_beside_the_users_that_were_reached(tmp_path: Path) -> None:
    """Fourteen users sent a request each; twelve had been answered at the rollback."""
    path = library_path() / "cold_start.toml"
    made = run(load_scenario(path))
    reached = made.exposure
    assert reached.in_flight == made.canary.in_flight > 0
    assert reached.canary_requests < reached.users
    assert reached.users <= reached.canary_requests + reached.in_flight
    words = (
        f"the canary served {reached.canary_requests} requests, {reached.bad_requests} of them "
        f"bad, with {reached.in_flight} more in flight at the end ({made.canary.overdue} of them "
        f"overdue); it reached {reached.users} of"
    )
    markdown = tmp_path / "out.md"
    said = call("simulate", path, "--report", markdown)
    assert words in said.stdout
    assert "in flight  users reached" in said.stdout
    assert words.removeprefix("the canary ") in markdown.read_text(encoding="utf-8")
    (report,) = json.loads(call("simulate", path, "--json").stdout)["reports"]
    assert report["run"]["exposure"]["in_flight"] == reached.in_flight
