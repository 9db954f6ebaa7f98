"""A scenario is fitted to what a simulation with known parameters has produced."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from canario.tape.format import TapeError
from canario_sim import load_scenario, run
from canario_sim.distributions import Gamma, Lognormal
from canario_sim.fitting import Observed, calibrate, observe
from canario_sim.fitting.calibration import scenario_text
from canario_sim.fitting.observed import of_recording
from canario_sim.fitting.prometheus_answers import read_prometheus
from canario_sim.fitting.toml_text import toml_text
from canario_sim.streams import Floats
from canario_sim.tapes.recording import Recording
from canario_sim.tapes.save import write_tape
from canario_sim.traffic import Poisson


def made_up(n: int = 6000, seed: int = 5) -> Recording:
    """Two routes, two arms, a skewed crowd; known to the last number."""
    rng = np.random.default_rng(seed)
    at: Floats = np.cumsum(rng.exponential(1 / 5, n)).astype(np.float64)
    route = (rng.random(n) < 0.3).astype(np.int64)
    arm = (rng.random(n) < 0.25).astype(np.int8)
    latency = np.where(
        route == 1, rng.gamma(4, 300 / 4, n), np.exp(rng.normal(np.log(40), 0.5, n))
    ) * np.where(arm == 1, 1.5, 1.0)
    weights = np.arange(1, 301) ** -1.1
    key = rng.choice(300, n, p=weights / weights.sum())
    failed = rng.random(n) < np.where(arm == 1, 0.06, 0.02)
    return Recording(
        at=at,
        ended=at + latency / 1000,
        arm=arm,
        outcome=failed.astype(np.uint8),
        latency_ms=latency,
        bucket=np.full(n, -1),
        key=key,
        route=route,
        routes=("/short", "/long"),
        identities=np.arange(300),
        source="made up",
    )


def test_the_parameters_come_back() -> None:
    made = calibrate(of_recording(made_up()), name="again")
    scenario = made.scenario
    assert isinstance(scenario.traffic, Poisson)
    assert scenario.traffic.rate == pytest.approx(5.0, rel=0.03)
    assert scenario.traffic.keys.skew == pytest.approx(1.1, abs=0.12)
    assert 250 < scenario.traffic.keys.size <= 300
    assert scenario.baseline.error_rate == pytest.approx(2.0, abs=0.7)
    assert scenario.canary is not None
    assert scenario.canary.error_rate == pytest.approx(6.0, abs=1.5)
    short, long = scenario.routes
    assert (short.name, long.name) == ("/short", "/long")
    assert short.weight == pytest.approx(70, abs=2)
    assert isinstance(short.baseline.latency, Lognormal)
    assert short.baseline.latency.p50_ms == pytest.approx(40, rel=0.04)
    assert isinstance(long.baseline.latency, Gamma)
    assert long.baseline.latency.mean_ms == pytest.approx(300, rel=0.05)
    assert long.baseline.latency.shape == pytest.approx(4, rel=0.12)
    assert short.canary is not None
    assert isinstance(short.canary.latency, Lognormal)
    assert short.canary.latency.p50_ms == pytest.approx(60, rel=0.06)
    for arm, known in zip(made.arms, (2.0, 6.0), strict=True):
        assert arm.errors.low < known < arm.errors.high


def test_the_scenario_is_an_ordinary_file(tmp_path: Path) -> None:
    made = calibrate(of_recording(made_up(3000)), name="fitted")
    path = tmp_path / "fitted.toml"
    path.write_text(scenario_text(made), encoding="utf-8")
    loaded = load_scenario(path)
    assert loaded == made.scenario
    assert run(loaded).outcome in ("completed", "rolled_back")
    head = path.read_text().splitlines()[0]
    assert head.startswith("# Fitted to made up: 3,000 requests in")


@pytest.mark.parametrize("kind", ["lognormal", "gamma", "mixture", "empirical"])
@pytest.mark.parametrize("traffic", ["poisson", "diurnal", "markov_modulated", "schedule"])
def test_every_kind_may_be_asked_for(kind: str, traffic: str, tmp_path: Path) -> None:
    observed = of_recording(made_up(2000))
    made = calibrate(observed, latency=kind, traffic=traffic, routes=False)
    assert made.chosen_arrivals == traffic
    assert all(arm.chosen == kind for arm in made.arms)
    path = tmp_path / "fitted.toml"
    path.write_text(scenario_text(made), encoding="utf-8")
    assert load_scenario(path) == made.scenario
    assert not made.scenario.routes


def test_users_who_are_all_alike_are_not_skewed() -> None:
    recording = made_up()
    rng = np.random.default_rng(1)
    from dataclasses import replace

    alike = replace(recording, key=rng.integers(0, 300, len(recording)))
    assert calibrate(of_recording(alike)).skew == 0


def test_a_tape_s_plan_is_the_scenario_s(tmp_path: Path) -> None:
    from dataclasses import replace

    from tests.tapes.live import plan

    write_tape(replace(made_up(1000), plan=plan()), tmp_path / "a.tape")
    observed = observe(tmp_path / "a.tape")
    assert observed.plan == plan()
    made = calibrate(observed, name="x")
    assert made.scenario.plan == plan()
    text = tomllib.loads(scenario_text(made))
    assert text["plan"]["deployment"]["deployment_id"] == "taped"


def test_names_of_files_and_routes_cannot_leave_their_comments_and_strings() -> None:
    from dataclasses import replace

    recording = replace(
        made_up(3000),
        source='a\nname = "b"',
        routes=('/x"\n[plan]\n', "/y\x7f\u2028"),
    )
    made = calibrate(of_recording(recording), name="safe")
    read = tomllib.loads(scenario_text(made))
    assert read["name"] == "safe"
    assert [route["name"] for route in read["routes"]] == ['/x"\n[plan]\n', "/y\x7f\u2028"]


def test_toml_of_all_shapes_is_read_back() -> None:
    document: dict[str, Any] = {
        "text": 'a "b" \\ \n\t\u00e9',
        "none": None,
        "yes": True,
        "number": 1e-07,
        "list": [1.5, 2.0] * 60,
        "short": {"a": 1, "b": "x"},
        "tables": [{"name": "a", "inner": {"p": [1, 2], "q": {"r": 1, "s": 2, "t": 3, "u": 4}}}],
        "odd key": {"k.1": {"a": 1, "b": 2, "c": 3, "d": 4}},
    }
    read = tomllib.loads(toml_text(document, ["a comment"]))
    assert read == {key: value for key, value in document.items() if value is not None}


# -- other sources


EDGES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 1.0)
NAME = "http_server_request_duration_seconds"


def ranged(latencies: Floats, step: float, steps: int, reset: int | None = None) -> dict[str, Any]:
    """What Prometheus answers of a histogram that grows evenly, and starts anew once."""
    result = []
    n = len(latencies)
    for code, share in (("200", 0.96), ("503", 0.04)):
        for edge in (*EDGES, float("inf")):
            below = share * np.array(
                [np.count_nonzero(latencies[: n * k // steps] <= edge) for k in range(steps + 1)]
            )
            if reset is not None:
                below[reset:] -= below[reset]
            label = "+Inf" if edge == float("inf") else f"{edge:g}"
            metric = {
                "__name__": f"{NAME}_bucket",
                "le": label,
                "http_response_status_code": code,
            }
            values = [[1000 + k * step, f"{v:.10g}"] for k, v in enumerate(below.tolist())]
            result.append({"metric": metric, "values": values})
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}


@pytest.mark.parametrize("reset", [None, 30])
def test_a_range_of_prometheus(reset: int | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    latencies = np.exp(rng.normal(np.log(0.04), 0.7, 12_000))
    path = tmp_path / "range.json"
    path.write_text(json.dumps(ranged(latencies, 15.0, 80, reset)))
    observed = observe(path)
    made = calibrate(observed)
    expected = 12_000 / (80 * 15) * (79 / 80 if reset is not None else 1)
    assert made.requests / made.seconds == pytest.approx(expected, rel=0.02)
    assert made.scenario.baseline.error_rate == pytest.approx(4.0, abs=0.2)
    latency = made.scenario.baseline.latency
    assert isinstance(latency, Lognormal)
    assert latency.p50_ms == pytest.approx(40, rel=0.05)
    assert latency.p95_ms == pytest.approx(40 * np.exp(1.645 * 0.7), rel=0.06)


def test_a_text_exposition_of_canario_itself(tmp_path: Path) -> None:
    from prometheus_client import CollectorRegistry, generate_latest
    from tests.tapes.live import plan

    from canario import CanaryDeploymentController, Outcome
    from canario.telemetry.prometheus import CanarioCollector
    from canario.testing import ManualClock

    rng = np.random.default_rng(4)
    controller = CanaryDeploymentController(plan(), clock=ManualClock(0.0))
    controller.start()
    for arm, middle, failing in (("baseline", 40, 0.02), ("canary", 80, 0.0)):
        for latency in np.exp(rng.normal(np.log(middle), 0.5, 3000)).tolist():
            outcome = Outcome.BAD if rng.random() < failing else Outcome.GOOD
            controller.observe(arm, outcome, latency, now=0.5)  # type: ignore[arg-type]
    path = tmp_path / "metrics.txt"
    registry = CollectorRegistry()
    registry.register(CanarioCollector(controller))
    path.write_bytes(generate_latest(registry))
    with pytest.raises(TapeError, match="give --rate"):
        observe(path)
    made = calibrate(observe(path, rate=7.0))
    scenario = made.scenario
    assert made.requests / made.seconds == 7.0
    assert scenario.canary is not None
    for service, middle in ((scenario.baseline, 40), (scenario.canary, 80)):
        assert isinstance(service.latency, Lognormal)
        assert service.latency.p50_ms == pytest.approx(middle, rel=0.06)
    assert scenario.baseline.error_rate == pytest.approx(2.0, abs=0.8)
    assert scenario.canary.error_rate == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# TYPE a counter\na 3\n", "no histogram with buckets; it has none"),
        ('# TYPE a histogram\na_bucket{le="1" 3 x\n', "line 2 is no line of an exposition"),
        ('{"status": "error", "error": "parse error", "data": {"resultType": ""}}', "parse error"),
        ('{"data": {"resultType": "matrix"}}', "is no answer of /api/v1/query_range"),
    ],
)
def test_wrong_exports_name_what_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "export"
    path.write_text(text)
    with pytest.raises(TapeError, match=message):
        observe(path, kind="prometheus")


def test_a_histogram_is_named_where_there_are_several(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    path.write_text(
        "# TYPE small histogram\n"
        'small_seconds_bucket{le="0.1"} 3\nsmall_seconds_bucket{le="+Inf"} 4\n'
        'large_ms_bucket{le="100"} 30\nlarge_ms_bucket{le="+Inf"} 40\n'
    )
    large: Observed = read_prometheus(path, rate=1.0)
    assert large.baseline.requests == 40
    assert "small_seconds (--metric)" in " ".join(large.notes)
    small = read_prometheus(path, rate=1.0, metric="small_seconds")
    assert small.baseline.requests == 4
    with pytest.raises(TapeError, match="no histogram 'other'; it has large_ms_bucket, small_"):
        read_prometheus(path, rate=1.0, metric="other")
