"""Scenario files about traffic, routes, clusters and chance: what they say, and wrong ones."""

from __future__ import annotations

import json
import pickle
import tomllib
from pathlib import Path

import jsonschema
import pytest

from canario.config import ConfigError
from canario_sim import Scenario, load_scenario, scenario_schema
from canario_sim.distributions import Empirical, Gamma, Lognormal
from canario_sim.scenario.broken_contracts import ByPayload, ByRate, ByRoute
from canario_sim.scenario.clustering import Clustering
from canario_sim.scenario.faults import Errors, Outage
from canario_sim.scenario.onset import AfterWaiting, InAStage, WithChance
from canario_sim.scenario.request_kinds import Answer, Payload, Route
from canario_sim.scenario.service import Service
from canario_sim.traffic import (
    LognormalActivity,
    MarkovModulated,
    ParetoActivity,
    Poisson,
    Population,
    Schedule,
    SelfExciting,
    Sessions,
    State,
    Traffic,
    Weekly,
)

REST = """
teaches = "something"
baseline = { latency = { kind = "gamma", mean_ms = 80 } }
"""
LEAST = 'traffic = { kind = "poisson", rate = 20 }' + REST


def write(folder: Path, text: str) -> Path:
    path = folder / "made.toml"
    path.write_text(text, encoding="utf-8")
    return path


DEEP = """
teaches = "every key"

[traffic]
kind = "poisson"
rate = 20
keys = { size = 100, activity = { kind = "pareto", shape = 1.2 } }
sessions = { requests = 5, length = "fixed", think = { kind = "gamma", mean_ms = 4000 } }

[baseline]
latency = { kind = "gamma", mean_ms = 80 }
error_rate = 2
clustering = { by = "session", correlation = 0.3 }

[[routes]]
name = "/evaluate"
weight = 3
baseline = { latency = { kind = "empirical", file = "measured.csv" } }
canary = { error_rate = 1 }
[[routes]]
name = "/upload"

[[payloads]]
name = "small"
weight = 9
[[payloads]]
name = "large"
factor = 4

[[faults]]
kind = "errors"
rate = 4
at = 10
routes = ["/upload"]
payloads = ["large"]
keys = ["user-1"]
clustering = { prone = 5 }
onset = { kind = "exponential", mean_seconds = 100 }
[[faults]]
kind = "outage"
for = 2
onset = { kind = "per_stage", probability = 10 }
[[faults]]
kind = "outage"
for = 2
onset = { kind = "once", probability = 10 }

[[contract_failures]]
kind = "routes"
routes = ["/upload"]
[[contract_failures]]
kind = "payloads"
payloads = ["large"]
routes = ["/evaluate"]
[[contract_failures]]
kind = "rate"
rate = 1
clustering = { by = "user", prone = 10 }
"""


def test_every_key_arrives(tmp_path: Path) -> None:
    (tmp_path / "measured.csv").write_text("ms\n12\n14.5\n")
    made = load_scenario(write(tmp_path, DEEP))
    assert made.traffic == Poisson(
        rate=20,
        keys=Population(size=100, activity=ParetoActivity(shape=1.2)),
        sessions=Sessions(requests=5, length="fixed", think=Gamma(mean_ms=4000)),
    )
    assert made.baseline == Service(
        latency=Gamma(mean_ms=80),
        error_rate=2,
        clustering=Clustering(by="session", correlation=0.3),
    )
    assert made.routes == (
        Route(
            name="/evaluate",
            weight=3,
            baseline=Answer(latency=Empirical(values_ms=(12, 14.5))),
            canary=Answer(error_rate=1),
        ),
        Route(name="/upload"),
    )
    assert made.payloads == (Payload(name="small", weight=9), Payload(name="large", factor=4))
    assert made.faults == (
        Errors(
            rate=4,
            at=10,
            routes=("/upload",),
            payloads=("large",),
            keys=("user-1",),
            clustering=Clustering(prone=5),
            onset=AfterWaiting(mean_seconds=100),
        ),
        Outage(lasts=2, onset=InAStage(probability=10)),
        Outage(lasts=2, onset=WithChance(probability=10)),
    )
    assert made.contract_failures == (
        ByRoute(routes=("/upload",)),
        ByPayload(payloads=("large",), routes=("/evaluate",)),
        ByRate(rate=1, clustering=Clustering(prone=10)),
    )


TRAFFICS: dict[str, Traffic] = {
    'kind = "schedule", points = [[0, 5], [60, 20]], linear = true, repeat_seconds = 90': Schedule(
        points=((0, 5), (60, 20)), linear=True, repeat_seconds=90
    ),
    'kind = "weekly", rate = 3, days = [1, 1, 1, 1, 1, 0.3, 0.2], start = "fri 16:30"': Weekly(
        rate=3, days=(1, 1, 1, 1, 1, 0.3, 0.2), start="fri 16:30"
    ),
    'kind = "markov_modulated", states = [{ rate = 5, mean_seconds = 60, then = [0, 1] }, '
    "{ rate = 50, mean_seconds = 5 }]": MarkovModulated(
        states=(State(rate=5, mean_seconds=60, then=(0, 1)), State(rate=50, mean_seconds=5))
    ),
    'kind = "self_exciting", rate = 20, branching = 0.5, decay_seconds = 4': SelfExciting(
        rate=20, branching=0.5, decay_seconds=4
    ),
    'kind = "poisson", rate = 2, keys = { activity = { kind = "lognormal", sigma = 1.5 } }, '
    'sessions = { requests = 3, think = { kind = "lognormal", p50_ms = 9, p95_ms = 99 } }': Poisson(
        rate=2,
        keys=Population(activity=LognormalActivity(sigma=1.5)),
        sessions=Sessions(requests=3, think=Lognormal(p50_ms=9, p95_ms=99)),
    ),
}


def test_a_dependency_s_latencies_may_be_measured_ones(tmp_path: Path) -> None:
    (tmp_path / "measured.csv").write_text("ms\n12\n14.5\n")
    store = "[[dependencies]]\nname = 'store'\nlatency = { kind = 'empirical', FILE }\n"
    store = store.replace("FILE", "file = 'measured.csv'")
    (made,) = load_scenario(write(tmp_path, LEAST + store)).dependencies
    assert made.latency == Empirical(values_ms=(12, 14.5))


@pytest.mark.parametrize("text", TRAFFICS)
def test_every_kind_of_traffic_arrives(text: str, tmp_path: Path) -> None:
    whole = f"traffic = {{ {text} }}" + REST
    assert load_scenario(write(tmp_path, whole)).traffic == TRAFFICS[text]
    _schema().validate(tomllib.loads(whole))


def traffic(text: str) -> str:
    return f"traffic = {{ {text} }}" + REST


def fault(text: str) -> str:
    return LEAST + "[[faults]]\nkind = 'errors'\nrate = 20\n" + text


def clustered(text: str) -> str:
    return LEAST.replace("80 } }", f"80 }}, error_rate = 3, clustering = {{ {text} }} }}")


SCHEDULE = 'kind = "schedule", '
WEEKLY = 'kind = "weekly", rate = 3, '
MOODS = 'kind = "markov_modulated", states = '
MOOD = "{ rate = 5, mean_seconds = 6 }"
EXCITED = 'kind = "self_exciting", rate = 3, decay_seconds = 4, branching = '
VISITS = 'kind = "poisson", rate = 3, sessions = { think = { kind = "gamma", mean_ms = 9 }, '
ROUTES = LEAST + "[[routes]]\nname = '/a'\n[[routes]]\nname = '/b'\n"

# What is written -> the parts of the message that make it useful.
WRONG: dict[str, tuple[str, ...]] = {
    traffic('kind = "hawkes", rate = 3'): (
        "traffic.kind: ",
        "'hawkes'; valid are constant, poisson, diurnal, ramp, bursts, schedule, weekly, "
        "markov_modulated, self_exciting, replay",
    ),
    traffic('kind = "schedule"'): ("traffic: give either points, with at least one pair, or file",),
    traffic(SCHEDULE + "points = [[5, 1]]"): ("points begins at 5; the first instant must be 0",),
    traffic(SCHEDULE + "points = [[0, 1], [0, 2]]"): ("points has 0 after 0", "must rise"),
    traffic(SCHEDULE + "points = [[0, -1]]"): ("points has [0, -1]", "the rate at least 0"),
    traffic(SCHEDULE + "points = [[0, 0]]"): ("points has no rate above 0",),
    traffic(SCHEDULE + "points = [[0]]"): ("traffic.points[0]: ", "length 2"),
    traffic(SCHEDULE + "points = [[0, 1], [9, 2]], repeat_seconds = 9"): (
        "repeat_seconds is 9; it must be more than the last instant, which is 9",
    ),
    traffic(SCHEDULE + 'file = "gone.csv"'): ("gone.csv: cannot be read",),
    traffic('kind = "replay", file = "gone.csv"'): ("gone.csv: cannot be read",),
    traffic('kind = "replay"'): ("missing required field `file`",),
    traffic(WEEKLY + "days = [1, 2]"): ("traffic.days: ", "length >= 7"),
    traffic(WEEKLY + "days = [0, 0, 0, 0, 0, 0, 0]"): ("days has no factor above 0",),
    traffic(WEEKLY + "days = [0, 0, 0, -1, 0, 0, 0]"): ("days has -1.0; it must be a finite",),
    traffic(WEEKLY + 'start = "friday 16:30"'): ("traffic.start: ", "'friday 16:30'"),
    traffic(MOODS + f"[{MOOD}]"): ("traffic.states: ", "length >= 2"),
    traffic(MOODS + f"[{MOOD}, {{ rate = 5, mean_seconds = 0 }}]"): (
        "traffic.states[1].mean_seconds: ",
        "> 0",
    ),
    traffic(MOODS + f"[{MOOD}, {{ rate = 5, mean_seconds = 6, then = [1, 1] }}]"): (
        "states[1].then has 1 for the state itself; it must be 0",
    ),
    traffic(MOODS + f"[{MOOD}, {{ rate = 5, mean_seconds = 6, then = [1] }}]"): (
        "states[1].then has 1 weights; give one for each state",
    ),
    traffic(
        MOODS + f"[{MOOD}, {MOOD.replace('}', ', then = [0, 0, 1] }')}, "
        f"{MOOD.replace('}', ', then = [0, 1, 0] }')}]"
    ): ("states[0] is never reached from states[1]",),
    traffic(MOODS + "[{ rate = 0, mean_seconds = 6 }, { rate = 0, mean_seconds = 6 }]"): (
        "states has no rate above 0",
    ),
    traffic(EXCITED + "1"): ("traffic.branching: ", "< 1"),
    traffic(EXCITED + "-0.1"): ("traffic.branching: ", ">= 0"),
    traffic(VISITS + "requests = 0.5 }"): ("traffic.sessions.requests: ", ">= 1"),
    traffic(VISITS + 'requests = 2.5, length = "fixed" }'): (
        "requests is 2.5; sessions of a fixed length need a whole number",
    ),
    traffic(VISITS + 'requests = 2, length = "zipf" }'): (
        "traffic.sessions.length: ",
        "'zipf'; valid are fixed, geometric",
    ),
    traffic('kind = "poisson", rate = 3, keys = { activity = { kind = "pareto", shape = 1 } }'): (
        "traffic.keys.activity.shape: ",
        "> 1",
    ),
    traffic('kind = "poisson", rate = 3, keys = { activity = { kind = "zipf" } }'): (
        "traffic.keys.activity.kind: ",
        "valid are pareto, lognormal",
    ),
    traffic(
        'kind = "poisson", rate = 3, '
        'keys = { skew = 1, activity = { kind = "lognormal", sigma = 1 } }'
    ): ("skew is 1.0 beside an activity; give one of them",),
    clustered("by = 'user'"): (
        "baseline.clustering: ",
        "correlation is None and prone is None; give one of them",
    ),
    clustered("prone = 5, correlation = 0.5"): ("give one of them",),
    clustered("correlation = 1"): ("baseline.clustering.correlation: ", "< 1"),
    clustered("prone = 0"): ("baseline.clustering.prone: ", "> 0"),
    clustered("prone = 2"): ("error_rate is 3 and clustering.prone is 2", "at most prone"),
    clustered("by = 'session', prone = 5"): (
        "baseline.clustering is by session, but the traffic has no sessions",
    ),
    clustered("by = 'tenant', prone = 5"): ("'tenant'; valid are session, user",),
    clustered("prone = 5") + "[[routes]]\nname = '/a'\nbaseline = { error_rate = 6 }\n": (
        "error_rate of the route /a (baseline) is 6 and clustering.prone is 5",
    ),
    fault("clustering = { prone = 10 }"): ("rate is 20", "clustering.prone is 10"),
    fault("clustering = { by = 'session', prone = 30 }"): ("faults.clustering is by session",),
    fault("onset = { kind = 'sometimes' }"): (
        "faults[0].onset.kind: ",
        "'sometimes'; valid are exponential, per_stage, once",
    ),
    fault("onset = { kind = 'once', probability = 0 }"): ("onset.probability: ", "> 0"),
    fault("onset = { kind = 'per_stage', chance = 5 }"): ("onset.chance: unknown key",),
    fault("routes = ['/a']"): (
        "routes has '/a'; the scenario's routes are none; list them as [[routes]]",
    ),
    fault("payloads = []"): ("faults[0]: payloads is empty",),
    ROUTES + "[[faults]]\nkind = 'outage'\nroutes = ['/c']\n": (
        "routes has '/c'; the scenario's routes are /a, /b",
    ),
    ROUTES + "[[routes]]\nname = '/a'\n": ("routes has '/a' 2 times; give each once",),
    ROUTES.replace("'/a'", "''"): ("routes[0].name: ", "length >= 1"),
    ROUTES + "weight = 0\n": ("routes[1].weight: ", "> 0"),
    ROUTES + "latency = 5\n": ("routes[1].latency: unknown key",),
    LEAST + "[[payloads]]\nname = 'a'\nfactor = 0\n": ("payloads[0].factor: ", "> 0"),
    LEAST + "[[contract_failures]]\nkind = 'routes'\n": ("missing required field `routes`",),
    ROUTES + "[[contract_failures]]\nkind = 'single'\nroutes = ['/a']\n": (
        "a single failure takes no keys, routes and payloads",
    ),
    LEAST + "[[contract_failures]]\nkind = 'payloads'\npayloads = ['x']\n": (
        "payloads has 'x'; the scenario's payloads are none; list them as [[payloads]]",
    ),
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
    assert "\n" not in message
    for part in WRONG[text]:
        assert part in message


def test_the_schema_takes_what_the_loader_takes() -> None:
    validator = _schema()
    for text in (DEEP, ROUTES):
        validator.validate(tomllib.loads(text))
    wrong = [text for text, parts in WRONG.items() if any("unknown key" in part for part in parts)]
    assert len(wrong) >= 2
    for text in wrong:
        assert not validator.is_valid(tomllib.loads(text)), text


def test_every_new_table_is_described_for_editors() -> None:
    kinds = scenario_schema()["$defs"]
    for kind in (Schedule, Weekly, MarkovModulated, State, SelfExciting, Sessions, Route, Payload):
        for name, field in kinds[kind.__name__]["properties"].items():
            described = "description" in field or name in ("kind", "latency")
            assert described, (kind.__name__, name)


def _schema() -> jsonschema.Draft202012Validator:
    schema = json.loads(json.dumps(scenario_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_a_deep_scenario_survives_its_own_encoding(tmp_path: Path) -> None:
    """As it goes to other processes."""
    (tmp_path / "measured.csv").write_text("ms\n12\n14.5\n")
    made = load_scenario(write(tmp_path, DEEP))
    again = pickle.loads(pickle.dumps(made))
    assert isinstance(again, Scenario)
    assert again == made
