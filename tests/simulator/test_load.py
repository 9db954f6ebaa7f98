"""Scenario files: what they say, and how a wrong one is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest

from canario.config import ConfigError
from canario_sim import Scenario, find_scenarios, library_path, load_scenario, scenario_schema
from canario_sim.distributions import Component, Empirical, Gamma, Lognormal, Mixture
from canario_sim.scenario.broken_contracts import ByKey, ByRate, Single
from canario_sim.scenario.clients import Clients
from canario_sim.scenario.expect import Expect
from canario_sim.scenario.faults import Errors, LostCapacity, SlowLeak
from canario_sim.scenario.scenario import Order
from canario_sim.scenario.service import Service, WarmUp
from canario_sim.traffic import Bursts, Poisson, Population

LEAST = """
teaches = "something"
traffic = { kind = "poisson", rate = 20 }
baseline = { latency = { kind = "lognormal", p50_ms = 80, p95_ms = 250 } }
"""

MOST = """
name = "most"
teaches = "every key"
weakness = "none that we know of"
seed = 7
horizon_seconds = 900
orders = [{ at = 10, order = "pause" }, { at = 20, order = "resume" }]

[plan.deployment]
deployment_id = "release-7"
canary_stages = [{ percentage = 10, hold_seconds = 60 }, { percentage = 100, hold_seconds = 60 }]

[traffic]
kind = "bursts"
rate = 5
burst_rate = 50
every_seconds = 60
burst_seconds = 5
keys = { size = 100, skew = 1.1, prefix = "tenant-" }

[baseline]
latency = { kind = "gamma", mean_ms = 100, shape = 2 }
servers = 4

[canary]
error_rate = 0.5
servers = 8
warm_up = { seconds = 30, factor = 3 }
[canary.latency]
kind = "mixture"
components = [
    { weight = 3, latency = { kind = "empirical", file = "measured.csv" } },
    { weight = 1, latency = { kind = "empirical", values_ms = [5, 6.5] } },
]

[[faults]]
kind = "errors"
rate = 20
arm = "both"
at = 5
for = 10
every = 30
ramp = 2
keys = ["tenant-0", "tenant-99"]
[[faults]]
kind = "lost_capacity"
servers = 4
[[faults]]
kind = "slow_leak"
factor_per_minute = 1.5

[[contract_failures]]
kind = "rate"
rate = 1
[[contract_failures]]
kind = "keys"
keys = ["tenant-1"]
detail = "no evidence"
[[contract_failures]]
kind = "single"
at = 100
arm = "baseline"

[expect]
outcome = "rolled_back"
reason = "error_rate"
stage = "canary_10"
no_later_than = 60
at_most_bad_requests = 12
"""


def write(folder: Path, text: str, name: str = "made.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_least_scenario_has_the_documented_defaults(tmp_path: Path) -> None:
    made = load_scenario(write(tmp_path, LEAST))
    assert made == Scenario(
        name="made",
        teaches="something",
        traffic=Poisson(rate=20),
        baseline=Service(latency=Lognormal(p50_ms=80, p95_ms=250)),
    )
    assert made.seed == 1
    assert made.deployment.deployment_id == "made"
    assert made.horizon == 1.5 * 2700 + 60
    assert made.service("canary") == made.service("baseline")


def test_every_key_arrives(tmp_path: Path) -> None:
    write(tmp_path, "when,ms\nmonday,12\ntuesday,14.5\n\n", "measured.csv")
    made = load_scenario(write(tmp_path, MOST))
    assert made.name == "most"
    assert made.horizon == 900
    assert made.deployment.deployment_id == "release-7"
    assert made.orders == (Order(at=10, order="pause"), Order(at=20, order="resume"))
    assert made.traffic == Bursts(
        rate=5,
        burst_rate=50,
        every_seconds=60,
        burst_seconds=5,
        keys=Population(size=100, skew=1.1, prefix="tenant-"),
    )
    assert made.baseline == Service(latency=Gamma(mean_ms=100, shape=2), servers=4)
    assert made.canary == Service(
        latency=Mixture(
            components=(
                Component(weight=3, latency=Empirical(values_ms=(12, 14.5))),
                Component(weight=1, latency=Empirical(values_ms=(5, 6.5))),
            )
        ),
        error_rate=0.5,
        servers=8,
        warm_up=WarmUp(seconds=30, factor=3),
    )
    assert made.faults == (
        Errors(
            rate=20, arm="both", at=5, lasts=10, every=30, ramp=2, keys=("tenant-0", "tenant-99")
        ),
        LostCapacity(servers=4),
        SlowLeak(factor_per_minute=1.5),
    )
    assert made.contract_failures == (
        ByRate(rate=1),
        ByKey(keys=("tenant-1",), detail="no evidence"),
        Single(at=100, arm="baseline"),
    )
    assert made.expect == Expect(
        outcome="rolled_back",
        reason="error_rate",
        stage="canary_10",
        no_later_than=60,
        at_most_bad_requests=12,
    )


def test_a_plan_may_be_a_file_beside_the_scenario(tmp_path: Path) -> None:
    (tmp_path / "plans").mkdir()
    write(tmp_path / "plans", '[deployment]\ndeployment_id = "elsewhere"\n', "plan.toml")
    made = load_scenario(write(tmp_path, 'plan = "plans/plan.toml"\n' + LEAST))
    assert made.deployment.deployment_id == "elsewhere"
    write(tmp_path / "plans", "[deployment]\ndeploymentid = 1\n", "plan.toml")
    with pytest.raises(ConfigError, match=r"plans/plan\.toml: deployment\.deploymentid: unknown"):
        load_scenario(tmp_path / "made.toml")


FAULT = LEAST + "[[faults]]\n"
FAILURE = LEAST + "[[contract_failures]]\n"
EXPECT = LEAST + "[expect]\n"
POISSON = 'kind = "poisson", rate = 20'
LOGNORMAL = 'kind = "lognormal", p50_ms = 80, p95_ms = 250'

# What is written -> the key and the parts of the message that make it useful.
WRONG: dict[str, tuple[str, ...]] = {
    LEAST + "[[fault]]\n": ("fault: unknown key", "did you mean faults?"),
    LEAST.replace("rate", "rat"): ("traffic.rat: unknown key", "did you mean rate?"),
    LEAST.replace("teaches", "# teaches"): ("missing required field `teaches`",),
    'name = "a/b"\n' + LEAST: ("name: ", "'a/b'"),
    "seed = -1\n" + LEAST: ("seed: ", ">= 0", "-1"),
    "seed = 1.5\n" + LEAST: ("seed: ", "int", "1.5"),
    "horizon_seconds = nan\n" + LEAST: ("horizon_seconds", "nan"),
    "horizon_seconds = inf\n" + LEAST: ("horizon_seconds is inf", "finite"),
    LEAST.replace("poisson", "poison"): (
        "traffic.kind: ",
        "'poison'",
        "valid are constant, poisson, diurnal, ramp, bursts",
    ),
    LEAST.replace('kind = "poisson", ', ""): ("traffic: ", "kind is missing", "bursts"),
    LEAST.replace("rate = 20", "rate = 0"): ("traffic.rate: ", "> 0", "it is 0"),
    LEAST.replace("rate = 20", "rate = inf"): ("traffic: rate is inf", "finite number, more than"),
    LEAST.replace("rate = 20", "rate = nan"): ("traffic.rate: ", "nan"),
    LEAST.replace("rate = 20", "rate = true"): ("traffic.rate: ", "bool"),
    LEAST.replace(POISSON, 'kind = "ramp", from_rate = 0, to_rate = 0, over_seconds = 1'): (
        "traffic: from_rate and to_rate are 0",
    ),
    LEAST.replace(POISSON, 'kind = "diurnal", rate = 1, peak_to_mean = 2.5'): (
        "traffic.peak_to_mean: ",
        "2.5",
    ),
    LEAST.replace(
        POISSON, 'kind="bursts", rate=1, burst_rate=9, every_seconds=5, burst_seconds=5'
    ): ("traffic: burst_seconds is 5.0", "less than every_seconds, which is 5.0"),
    LEAST.replace(POISSON, POISSON + ", keys = { size = 0 }"): ("traffic.keys.size: ", ">= 1"),
    LEAST.replace(POISSON, POISSON + ", keys = { skew = -1 }"): ("traffic.keys.skew: ", ">= 0"),
    LEAST.replace("p95_ms = 250", "p95_ms = 79"): (
        "baseline.latency: p95_ms is 79.0",
        "at least p50_ms, which is 80.0",
    ),
    LEAST.replace("p50_ms = 80", "p50_ms = -1"): ("baseline.latency.p50_ms: ", "> 0", "-1"),
    LEAST.replace("lognormal", "normal"): (
        "latency.kind: ",
        "lognormal, gamma, mixture, empirical",
    ),
    LEAST.replace(LOGNORMAL, 'kind = "empirical"'): ("latency: give either values_ms", "or file"),
    LEAST.replace(LOGNORMAL, 'kind = "empirical", values_ms = [1, nan]'): ("values_ms has nan",),
    LEAST.replace(LOGNORMAL, 'kind = "empirical", file = "none.csv"'): (
        "none.csv: cannot be read",
    ),
    LEAST.replace(LOGNORMAL, 'kind = "mixture", components = []'): ("components: ", ">= 1"),
    LEAST.replace(" } }", " }, error_rate = 101 }"): ("baseline.error_rate: ", "<= 100", "101"),
    LEAST.replace(" } }", " }, servers = 0 }"): ("baseline.servers: ", ">= 1", "0"),
    LEAST.replace(" } }", " }, warm_up = { seconds = 5, factor = 0.5 } }"): (
        "baseline.warm_up.factor: ",
        ">= 1",
    ),
    FAULT + 'kind = "error"\nrate = 5\n': (
        "faults[0].kind: ",
        "errors, added_latency, multiplied_latency, outage, lost_capacity, slow_leak",
    ),
    FAULT + 'kind = "errors"\nrate = 5\narm = "canari"\n': (
        "faults[0].arm: ",
        "'canari'; valid are baseline, both, canary",
    ),
    FAULT + 'kind = "errors"\nrate = 5\nfr = 3\n': ("faults[0].fr: unknown key", "mean for?"),
    FAULT + 'kind = "errors"\nrate = 5\nlasts = 3\n': ("faults[0].lasts: unknown key",),
    FAULT + 'kind = "outage"\nfor = 0\n': ("faults[0].for: ", "> 0"),
    FAULT + 'kind = "outage"\nfor = inf\n': ("faults[0]: for is inf", "finite"),
    FAULT + 'kind = "outage"\nat = -1\n': ("faults[0].at: ", ">= 0"),
    FAULT + 'kind = "outage"\nevery = 5\n': ("faults[0]: every is 5.0 and for is None",),
    FAULT + 'kind = "outage"\nevery = 5\nfor = 6\n': ("every is 5.0 and for is 6.0", "at most"),
    FAULT + 'kind = "outage"\nkeys = []\n': ("faults[0]: keys is empty",),
    FAULT + 'kind = "outage"\nkeys = ["user-10000"]\n': (
        "keys has 'user-10000'",
        "user-0 to user-9999",
    ),
    FAULT + 'kind = "outage"\nat = 5000\n': ("faults has at = 5000", "ends at 4110"),
    FAULT + 'kind = "slow_leak"\n': ("faults[0]: give either ms_per_second or factor_per_minute",),
    FAULT + 'kind = "slow_leak"\nms_per_second = 1\nramp = 5\n': ("faults[0]: ramp is 5.0",),
    FAULT + 'kind = "lost_capacity"\nservers = 2\n': ("lost_capacity on the canary", "no servers"),
    FAULT.replace(" } }", " }, servers = 3 }")
    + 'kind = "lost_capacity"\nservers = 4\narm = "both"\n': ("4 servers on the baseline", "has 3"),
    FAULT.replace(" } }", " }, servers = 3 }")
    + 'kind = "lost_capacity"\nservers = 1\nramp = 4\n': ("takes neither ramp nor keys",),
    FAILURE + 'kind = "sometimes"\n': ("contract_failures[0].kind: ", "rate, keys, single"),
    FAILURE + 'kind = "keys"\nkeys = ["nobody"]\n': ("keys has 'nobody'",),
    FAILURE + 'kind = "single"\nat = 5\nfor = 5\n': ("contract_failures[0]: for is 5.0", "once"),
    FAILURE + 'kind = "rate"\nrate = 101\n': ("contract_failures[0].rate: ", "<= 100"),
    'orders = [{ at = 1, order = "stop" }]\n' + LEAST: (
        "orders[0].order: ",
        "'stop'; valid are abort, pause, promote, restart, resume, skip",
    ),
    'orders = [{ at = 9999, order = "abort" }]\n' + LEAST: ("orders has at = 9999",),
    EXPECT + 'outcome = "rolledback"\n': (
        "expect.outcome: ",
        "'rolledback'; valid are aborted, completed, held, paused, rolled_back",
    ),
    EXPECT + 'outcome = "completed"\nreason = "error_rate"\n': (
        "expect: reason is 'error_rate' and outcome is 'completed'",
    ),
    EXPECT + 'outcome = "rolled_back"\nreason = "bad_luck"\n': (
        "expect.reason: ",
        "contract_violation, error_rate, missing_evidence, p95_latency",
    ),
    EXPECT + 'outcome = "completed"\nstage = "canary_50"\n': (
        "expect.stage is 'canary_50'",
        "canary_5, canary_25, full_rollout",
    ),
    EXPECT + 'outcome = "completed"\nat_most_bad_requests = -1\n': (
        "expect.at_most_bad_requests: ",
        ">= 0",
    ),
    "[plan.deployment]\nmin_samples = 3\n" + LEAST.replace("\nteaches", "\n[x]\nteaches"): (
        "plan.deployment.min_samples: unknown key",
    ),
    'plan = "nowhere.toml"\n' + LEAST: ("nowhere.toml: cannot be read",),
    LEAST + "teaches = 'twice'\n": ("is not valid TOML",),
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_file_is_refused_with_its_name_the_key_and_what_is_valid(
    text: str, tmp_path: Path
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as refused:
        load_scenario(path)
    message = str(refused.value)
    assert message.startswith(str(tmp_path))
    for part in WRONG[text]:
        assert part in message


def test_values_check_themselves_outside_files_too() -> None:
    for wrong in (float("nan"), float("inf"), 0.0, -1.0):
        with pytest.raises(ValueError, match="rate is"):
            Poisson(rate=wrong)
    with pytest.raises(TypeError, match="rate is '5'"):
        Poisson(rate="5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"for is 0; .* more than 0"):
        Errors(rate=5, lasts=0)
    with pytest.raises(ValueError, match="servers is 0"):
        Service(latency=Gamma(mean_ms=5), servers=0)
    with pytest.raises(ValueError, match="error_rate is 101"):
        Service(latency=Gamma(mean_ms=5), error_rate=101)


@pytest.mark.parametrize(
    ("text", "problem"),
    [("", "holds no latency"), ("12\nfast\n", "line 2: 'fast' is no latency"), ("12\n-1", "'-1'")],
)
def test_a_file_of_latencies_is_checked(text: str, problem: str, tmp_path: Path) -> None:
    write(tmp_path, text, "measured.csv")
    path = write(tmp_path, LEAST.replace(LOGNORMAL, 'kind = "empirical", file = "measured.csv"'))
    with pytest.raises(ConfigError, match=problem):
        load_scenario(path)


def test_a_byte_order_mark_takes_no_latency_away(tmp_path: Path) -> None:
    write(tmp_path, "\ufeff12\n13", "measured.csv")
    path = write(tmp_path, LEAST.replace(LOGNORMAL, 'kind = "empirical", file = "measured.csv"'))
    latency = load_scenario(path).baseline.latency
    assert isinstance(latency, Empirical)
    assert latency.values_ms == (12.0, 13.0)


def test_waits_that_pass_every_number_end_at_their_limit() -> None:
    clients = Clients(attempts=50, backoff_ms=1, backoff_factor=1e9, backoff_limit_ms=500)
    assert clients.waits() == [0.001] + [0.5] * 48
    assert Clients(attempts=50, backoff_ms=0, backoff_factor=1e9).waits() == [0.0] * 49


def test_folders_give_their_scenarios_in_order_of_name(tmp_path: Path) -> None:
    for name in ("b.toml", "a.json", "c.toml", "notes.md"):
        write(tmp_path, "", name)
    names = [path.name for path in find_scenarios([tmp_path, tmp_path / "c.toml"])]
    assert names == ["a.json", "b.toml", "c.toml", "c.toml"]


def test_a_folder_without_scenarios_and_a_missing_path_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no scenario"):
        find_scenarios([tmp_path])
    with pytest.raises(ConfigError, match=r"gone\.toml: does not exist"):
        find_scenarios([tmp_path / "gone.toml"])


def test_the_library_stands_in_for_a_missing_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_scenarios(["scenarios"]) == find_scenarios([library_path()])
    assert find_scenarios(["scenarios/healthy.toml"]) == [library_path() / "healthy.toml"]
    with pytest.raises(ConfigError, match="does not exist"):
        find_scenarios(["scenarios/unheard_of.toml"])


def test_the_schema_takes_what_the_loader_takes() -> None:
    validator = _schema()
    for text in (LEAST, MOST, 'plan = "a.toml"\n' + LEAST):
        validator.validate(tomllib.loads(text))


def test_the_schema_refuses_unknown_keys_and_kinds() -> None:
    validator = _schema()
    wrong = [
        text
        for text, parts in WRONG.items()
        if any("unknown key" in part or "kind: " in part for part in parts)
    ]
    assert len(wrong) >= 8
    for text in wrong:
        assert not validator.is_valid(tomllib.loads(text)), text


def _schema() -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(scenario_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)
