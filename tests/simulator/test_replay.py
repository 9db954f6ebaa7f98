"""Recorded arrivals: replayed as they were, refused where they are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from tests.simulator.oracle import Oracle
from tests.waiting import PATIENCE

from canario.config import ConfigError
from canario.control.rollout import Outcome
from canario.controller import CanaryDeploymentController
from canario.tape import TapeRecorder
from canario_sim import Scenario, load_scenario, run
from canario_sim.chance.draws import Draws
from canario_sim.chance.requests import Ahead, Requests
from canario_sim.distributions import Gamma
from canario_sim.scenario.faults import Outage
from canario_sim.scenario.request_kinds import Payload, Route
from canario_sim.scenario.service import Service
from canario_sim.traffic import Population, Replay, Schedule, Sessions
from canario_sim.traffic.recorded_file import read_recording

WHOLE = """at,who,key,route,payload,session
12.5,x,ana,/upload,large,s1
10.0,x,berta,/evaluate,small,s2
11.0,y,ana,/upload,small,s1

14.0,z,carla,/new,small,s3
"""


def written(folder: Path, text: str, name: str = "arrivals.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def scenario(traffic: Replay, **parts: object) -> Scenario:
    return Scenario(
        name="replayed",
        teaches="that what was may come again",
        traffic=traffic,
        baseline=Service(latency=Gamma(mean_ms=10)),
        **parts,  # type: ignore[arg-type]
    )


def requests(made: Scenario, size: int = 1000) -> Requests:
    ahead = Ahead(Draws(made.settled(1), 1), size)
    ahead.reach(made.horizon)
    return ahead.requests


def test_instants_keys_routes_payloads_and_sessions_come_as_recorded(tmp_path: Path) -> None:
    made = scenario(
        Replay(file=written(tmp_path, WHOLE)),
        routes=(Route(name="/upload"), Route(name="/health"), Route(name="/evaluate")),
        payloads=(Payload(name="small"), Payload(name="large", factor=2)),
    )
    for size in (1, 3, 1000):
        found = requests(made, size)
        assert found.at.tolist() == [0, 1, 2.5, 4]
        assert [made.traffic.names()[key] for key in found.key] == ["berta", "ana", "ana", "carla"]
        assert [made.route_names[route] for route in found.route] == [
            "/evaluate", "/upload", "/upload", "/new",
        ]  # fmt: skip
        assert found.payload.tolist() == [0, 0, 1, 0]
        assert found.session[1] == found.session[2] != found.session[3]
    # A route that is recorded and not listed can be struck like any other.
    struck = replace(made, faults=(Outage(routes=("/new",), keys=("carla",)),))
    assert requests(struck).canary.failed.tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    "text",
    [
        "0.5\n2\n1\n",
        "at\n0.5\n1\n2\n",
        "at,note\n2026-03-01T09:30:00.5Z,a\n2026-03-01T09:30:02+00:00,b\n2026-03-01 09:30:01,c\n",
        "1772357400.5,x\n1772357401,y\n1772357402,z\n",
    ],
)
def test_plain_instants_take_their_keys_from_the_population(text: str, tmp_path: Path) -> None:
    made = scenario(Replay(file=written(tmp_path, text), keys=Population(size=3)))
    found = requests(made)
    assert found.at.tolist() == pytest.approx([0, 0.5, 1.5])
    assert set(found.key.tolist()) <= {0, 1, 2}
    assert (found.session == -1).all()
    assert made.traffic.number("user-2") == 2


def test_it_may_start_later_go_faster_and_begin_again(tmp_path: Path) -> None:
    file = written(tmp_path, "".join(f"{at}\n" for at in (0, 10, 20, 30, 50)))
    assert requests(scenario(Replay(file=file, from_seconds=15))).at.tolist() == [0, 10, 30]
    assert requests(scenario(Replay(file=file, speed=5))).at.tolist() == [0, 2, 4, 6, 10]
    again = scenario(Replay(file=file, repeat=True), horizon_seconds=200)
    # The gap to the repetition is the mean one, 12.5.
    expected = [begin + at for begin in (0, 62.5, 125, 187.5) for at in (0, 10, 20, 30, 50)]
    for size in (2, 1000):
        at = requests(again, size).at
        assert at[at < 200].tolist() == [at for at in expected if at < 200]


@pytest.mark.parametrize("until", [0.5, 10.0, 30.0, 61.0, 500.0])
@pytest.mark.parametrize("repeat", [False, True])
def test_it_is_known_how_many_requests_a_replay_has(
    tmp_path: Path, until: float, repeat: bool
) -> None:
    made = Replay(file=written(tmp_path, "at\n10\n20\n30\n60\n"), repeat=repeat)
    seen = [at for part in made.arrivals(1, 3, until) for at in part.tolist() if at < until]
    assert made.expected(until) == len(seen)


def test_requests_without_a_key_stay_out_where_others_have_one(tmp_path: Path) -> None:
    """They never reach a canary; where nobody has a key the population gives them some."""
    found = requests(
        scenario(Replay(file=written(tmp_path, "at,key,route\n1,a,/x\n2,,/x\n3,b,\n")))
    )
    assert found.at.tolist() == [0, 2]
    recording = read_recording(written(tmp_path, "at,key,route\n1,a,/x\n2,,/x\n3,b,\n"))
    assert recording.routes == ("/x", "other")
    none = requests(scenario(Replay(file=written(tmp_path, "at,key\n1,\n2,\n", "b.csv"))))
    assert len(none) == 2


def test_a_tape_of_real_traffic_is_replayed(tmp_path: Path) -> None:
    """In the order of arrival, though a tape is in that of the ends; users by hashed keys."""
    tape = TapeRecorder(tmp_path / "live.tape", secret=b"s")
    tape.follow(CanaryDeploymentController(deployment_id="live"), (), 0.0)
    for at, ended, key, route in (
        (1003.0, 1003.1, b"berta", "/b"),
        (1001.0, 1004.0, b"ana", "/a"),
        (1004.5, 1004.6, None, "/b"),
        (1005.0, 1005.5, b"ana", None),
    ):
        mark = tape.mark(at, key, route)
        tape.observed(ended, "baseline", Outcome.GOOD, (ended - at) * 1000, mark)
    assert tape.close(PATIENCE)
    made = scenario(Replay(file=tape.path), routes=(Route(name="/b"),))
    found = requests(made)
    assert found.at.tolist() == [0, 2, 4]
    assert found.key[0] == found.key[2] != found.key[1]
    assert len(made.traffic.names()) == len(set(made.traffic.names())) == 2
    assert [made.route_names[route] for route in found.route] == ["/a", "/b", "other"]


def test_a_replay_runs_to_its_end_whatever_the_chunks(tmp_path: Path) -> None:
    rows = "".join(f"{0.05 * n},u{n % 40},/r{n % 3}\n" for n in range(60_000))
    made = scenario(
        Replay(file=written(tmp_path, "at,key,route\n" + rows)),
        faults=(Outage(at=600, lasts=20, routes=("/r1",)),),
    )
    done = run(made)
    assert done.reason == "error_rate"
    assert run(made, chunk=777) == done
    assert Oracle(made, 1).run().events == done.events


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no request"),
        ("at\n", "holds no request"),
        ("when,key\n1,a\n", r"line 1: 'when,key' names no column 'at'; the columns are at, key"),
        ("at,at\n1,2\n", "line 1: names the column 'at' twice"),
        ("at,key\n1,a\nsoon,b\n", "line 3: 'soon' is no instant; it must be a finite number"),
        ("1\nnan\n", "line 2: 'nan' is no instant"),
        ("at,key\n1\n", "line 2: has too few columns: '1'"),
        ("at,key\n1," + "x" * 513 + "\n", "line 2: has a key of over 512 bytes"),
        ("at,payload\n" + "".join(f"{n},p{n}\n" for n in range(257)), "257 payload classes"),
    ],
)
def test_a_wrong_recording_is_refused_by_name_and_line(
    text: str, problem: str, tmp_path: Path
) -> None:
    file = written(tmp_path, text)
    with pytest.raises(ConfigError, match=problem) as refused:
        read_recording(file)
    assert str(refused.value).startswith(file)


def test_a_recording_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv: cannot be read: No such file"):
        Replay(file=str(tmp_path / "gone.csv")).names()
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ConfigError, match="is neither a tape nor a CSV file"):
        read_recording(str(path))


def test_what_a_replay_cannot_be_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, "at,key\n0,a\n10,b\n")
    with pytest.raises(ValueError, match="sessions are drawn"):
        Replay(file=file, sessions=Sessions(requests=2, think=Gamma(mean_ms=10)))
    with pytest.raises(ValueError, match="no request so late"):
        Replay(file=file, from_seconds=11)
    with pytest.raises(ValueError, match="keys has 'c'; the keys are the 2 in the recording"):
        scenario(Replay(file=file), faults=(Outage(keys=("c",)),))
    with pytest.raises(ValueError, match="routes has '/x'; the scenario's routes are none"):
        scenario(Replay(file=file), faults=(Outage(routes=("/x",)),))


SCENARIO = """
teaches = "something"
traffic = { kind = "KIND", file = "arrivals.csv" }
baseline = { latency = { kind = "gamma", mean_ms = 10 } }
"""


def test_a_scenario_file_names_the_recording_beside_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    written(tmp_path / "data", "at,key\n0,a\n10,b\n")
    path = tmp_path / "replayed.toml"
    path.write_text(SCENARIO.replace("KIND", "replay").replace("arr", "data/arr"))
    made = load_scenario(path)
    assert requests(made).at.tolist() == [0, 10]
    written(tmp_path / "data", "at,key\n0,a\noops,b\n")
    with pytest.raises(ConfigError, match=r"data/arrivals\.csv: line 3: 'oops'"):
        load_scenario(path)


def test_a_scenario_file_names_the_rates_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "written.toml"
    path.write_text(SCENARIO.replace("KIND", "schedule"))
    written(tmp_path, "when,rate\n0,5\n60,20.5\n")
    assert load_scenario(path).traffic == Schedule(points=((0, 5), (60, 20.5)))
    for text, problem in (
        ("", "holds no point"),
        ("0,5\nlater,7\n", r"line 2: 'later,7' is no point"),
        ("0,5\n60\n", r"line 2: '60' is no point"),
    ):
        written(tmp_path, text)
        with pytest.raises(ConfigError, match=problem):
            load_scenario(path)
    written(tmp_path, "5,1\n")
    with pytest.raises(ConfigError, match="points begins at 5; the first instant must be 0"):
        load_scenario(path)
    with pytest.raises(ValueError, match="was not read; load_scenario does that"):
        Schedule(file="arrivals.csv").rate_at(np.zeros(1))
