"""What Prometheus exports: what is taken for what is said, and what is not clear is refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from canario.cli.main import cli
from canario.tape.format import TapeError
from canario_sim.fitting import Observed, observe
from canario_sim.fitting.prometheus_answers import read_prometheus

NAME = "http_request_duration_seconds_bucket"
AT = 1_795_000_000

# A bucket's edge, and the share of requests below it.
SHARES = {"0.1": 0.3, "0.5": 0.9, "+Inf": 1.0}

Values = list[float]


def series(labels: Mapping[str, str], values: Values, at: float = AT) -> dict[str, Any]:
    return {
        "metric": dict(labels),
        "values": [[at + 15 * k, f"{value:.10g}"] for k, value in enumerate(values)],
    }


def histogram(totals: Values, name: str = NAME, **labels: str) -> list[dict[str, Any]]:
    """A histogram whose counters come to these totals."""
    return [
        series({"__name__": name, "le": le, **labels}, [int(total * share) for total in totals])
        for le, share in SHARES.items()
    ]


GROWING: Values = [100.0 * k for k in range(61)]
FEW: Values = [10.0 * k for k in range(61)]


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Observed]:
    def read(*parts: list[dict[str, Any]], more: Any = None, **options: Any) -> Observed:
        path = tmp_path / "range.json"
        result = [each for part in parts for each in part]
        answer = {"status": "success", "data": {"resultType": "matrix", "result": result}}
        path.write_text(json.dumps(answer | (more or {})))
        return read_prometheus(path, **options)

    return read


def errors(made: Observed) -> tuple[int, int]:
    return made.baseline.errors, made.baseline.requests


# -- what came of requests


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ({"code": "200"}, {"code": "503"}),
        ({"status": "200"}, {"status": "500"}),
        ({"status_code": "204"}, {"status_code": "502"}),
        ({"http_response_status_code": "200"}, {"http_response_status_code": "500"}),
        ({"status_class": "2xx"}, {"status_class": "5xx"}),
        ({"code": "2XX"}, {"code": "5XX"}),
        ({"code": "200"}, {"code": "0"}),  # no response at all
        ({"code": "200"}, {"code": "000"}),
        ({"response_code": "302"}, {"response_code": "504"}),
        ({"outcome": "success"}, {"outcome": "error"}),
        ({"outcome": "SUCCESS"}, {"outcome": "SERVER_ERROR"}),
        ({"outcome": "good"}, {"outcome": "exception"}),
        ({"outcome": "SUCCESS", "status": "200"}, {"outcome": "SERVER_ERROR", "status": "503"}),
        ({"outcome": "unheard", "status": "200"}, {"outcome": "of", "status": "503"}),
        ({"outcome": "success", "status": "ok"}, {"outcome": "success", "status": "500"}),
        ({"status": "success"}, {"status": "failure"}),
        ({"outcome": "success", "code": ""}, {"outcome": "failed", "code": ""}),
    ],
)
def test_a_status_tells_errors_before_any_word(
    good: dict[str, str], bad: dict[str, str], read: Callable[..., Observed]
) -> None:
    made = read(histogram(GROWING, **good), histogram(FEW, **bad))
    assert errors(made) == (600, 6600)
    assert any("is an error: 600 requests" in note for note in made.notes)
    assert any("is good: 6,000 requests" in note for note in made.notes)


def test_a_word_that_is_not_known_is_neither_good_nor_bad_and_said(
    read: Callable[..., Observed],
) -> None:
    made = read(histogram(GROWING, outcome="success"), histogram(FEW, outcome="weird"))
    assert errors(made) == (0, 6000)
    (said,) = [note for note in made.notes if "weird" in note]
    assert "its 600 requests take part in no error rate" in said
    assert errors(read(histogram(GROWING, code="200"), histogram(FEW, code="404"))) == (0, 6000)
    assert errors(
        read(histogram(GROWING, code="200"), histogram(FEW, code="404"), errors={404})
    ) == (600, 6600)


def test_requests_without_a_label_that_tells_are_said(read: Callable[..., Observed]) -> None:
    made = read(histogram(GROWING, code="200"), histogram(FEW))
    assert errors(made) == (0, 6000)
    assert any("600 requests of the baseline have no label" in note for note in made.notes)
    assert any("taken as 0" in note for note in read(histogram(GROWING)).notes)


def test_errors_of_a_counter_beside_the_histogram_are_named(read: Callable[..., Observed]) -> None:
    def counted(name: str) -> list[dict[str, Any]]:
        return [
            series({"__name__": name, "code": "200"}, GROWING),
            series({"__name__": name, "code": "500"}, FEW),
        ]

    made = read(histogram(GROWING), counted("http_requests_total"))
    assert errors(made) == (600, 6600)
    assert "errors are those of http_requests_total" in made.notes
    made = read(histogram(GROWING), counted("http_requests_total"), counted("db_requests_total"))
    assert errors(made) == (600, 6600)
    made = read(histogram(GROWING), counted("a_requests_total"), counted("b_requests_total"))
    assert errors(made) == (0, 6000)
    assert any("which is not clear" in note for note in made.notes)


# -- counters


def test_all_buckets_of_a_process_begin_anew_with_it(read: Callable[..., Observed]) -> None:
    """The bucket below 0.1 s has more after the restart than before: it did not fall."""
    result = [
        series({"__name__": NAME, "le": "0.1"}, [0, 5, 30, 40]),
        series({"__name__": NAME, "le": "0.5"}, [0, 90, 40, 60]),
        series({"__name__": NAME, "le": "+Inf"}, [0, 100, 50, 70]),
    ]
    made = read(result)
    assert made.baseline.requests == 170
    assert made.baseline.latencies is not None
    assert made.baseline.latencies.counts.tolist() == [45, 105, 20]  # type: ignore[union-attr]
    assert any("one counter fell: taken as a restart" in note for note in made.notes)
    assert made.counts is not None
    assert made.counts.numbers == (100, 50, 20)


@settings(max_examples=60)
@given(
    grown=st.lists(st.integers(0, 1000), min_size=3, max_size=30),
    restarts=st.sets(st.integers(1, 28), max_size=4),
)
def test_restarts_lose_nothing_that_was_counted_after_them(
    grown: list[int], restarts: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a counter grew by, in whatever order its process began anew, is what is found."""
    totals, total = [0.0], 0.0
    for number, each in enumerate(grown, start=1):
        # A restart that the counter has outgrown by the next look cannot be seen by anybody.
        total = each if number in restarts and each < total else total + each
        totals.append(float(total))
    path = tmp_path_factory.mktemp("range") / "range.json"
    result = [series({"__name__": NAME, "le": "+Inf"}, totals)]
    result += [series({"__name__": NAME, "le": "1"}, totals)]
    path.write_text(json.dumps({"data": {"resultType": "matrix", "result": result}}))
    assert read_prometheus(path).baseline.requests == sum(grown)


def test_a_label_that_appears_later_began_at_zero(read: Callable[..., Observed]) -> None:
    """The first 503 of a process that was there before is an error too."""
    late = [
        series({"__name__": NAME, "le": le, "code": "503"}, [2, 2, 2], at=AT + 15 * 50)
        for le in SHARES
    ]
    assert errors(read(histogram(GROWING, code="200"), late)) == (2, 6002)
    # Another process has counted before anybody looked.
    other = [
        series({"__name__": NAME, "le": le, "instance": "new"}, [500, 510, 520], at=AT + 150)
        for le in SHARES
    ]
    assert read(histogram(GROWING, instance="old"), other).baseline.requests == 6020


def test_what_is_no_number_is_left_out_and_counted(read: Callable[..., Observed]) -> None:
    holed = histogram(GROWING)
    for each in holed:
        each["values"][3][1] = "NaN"
        each["values"][5][1] = "-4"
    made = read(holed)
    assert made.baseline.requests == 6000
    assert [note for note in made.notes if "left out" in note] == [
        f"3 points are left out: no number (NaN, as of a target that is gone) ({NAME})".replace(
            f"({NAME})", f"(such as {NAME})"
        ),
        f"3 points are left out: below 0, as no counter is (such as {NAME})",
    ]


def test_series_with_other_buckets_share_those_that_all_have(read: Callable[..., Observed]) -> None:
    other = [
        series({"__name__": NAME, "le": le, "instance": "b"}, [0.0, n])
        for le, n in (("0.5", 40), ("2", 48), ("+Inf", 50))
    ]
    made = read(histogram([0.0, 100], instance="a"), other)
    assert made.baseline.latencies is not None
    assert made.baseline.latencies.edges.tolist() == [0, 500, float("inf")]  # type: ignore[union-attr]
    assert made.baseline.latencies.counts.tolist() == [130, 20]  # type: ignore[union-attr]
    assert any("different buckets; the 2 that all have" in note for note in made.notes)
    without = [each for each in histogram(GROWING) if each["metric"]["le"] != "+Inf"]
    with pytest.raises(TapeError, match=r'without the bucket le="\+Inf"'):
        read(without)


# -- what is not clear


@pytest.mark.parametrize("label", ["job", "service", "namespace", "env", "deployment_id"])
def test_several_services_are_asked_about(label: str, read: Callable[..., Observed]) -> None:
    both = histogram(GROWING, **{label: "shop"}), histogram(FEW, **{label: "pay"})
    with pytest.raises(
        TapeError, match=rf"2 values of {label}: .*; take one with --where {label}="
    ):
        read(*both)
    made = read(*both, where={label: "pay"})
    assert made.baseline.requests == 600
    assert f"3 series are left out: without {label}=pay" in made.notes
    # Replicas and handlers are one service, and said.
    summed = read(histogram(GROWING, instance="a"), histogram(FEW, instance="b", handler="/x"))
    assert summed.baseline.requests == 6600
    assert any("summed over the values of instance (2)" in note for note in summed.notes)


def test_arms_that_are_none_are_asked_about(read: Callable[..., Observed]) -> None:
    blue, green = histogram(GROWING, arm="blue"), histogram(FEW, arm="green")
    with pytest.raises(TapeError, match="arms blue, green; valid are baseline and canary"):
        read(blue, green)
    made = read(blue, green, where={"arm": "green"})
    assert made.baseline.requests == 600
    assert "the arm 'green' is taken as the baseline" in made.notes
    both = read(histogram(GROWING, arm="baseline"), histogram(FEW, arm="canary"))
    assert both.canary is not None
    assert (both.baseline.requests, both.canary.requests) == (6000, 600)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("a_seconds", "s"), ("a_ms", "ms"), ("a_milliseconds", "ms"), ("a_duration_us", "us"),
     ("request_latencies_microseconds", "us"), ("a_nanoseconds", "ns")],
)  # fmt: skip
def test_a_unit_is_told_by_the_name(name: str, shown: str, read: Callable[..., Observed]) -> None:
    assert (
        f"latencies are of {name}, in {shown}" in read(histogram(GROWING, f"{name}_bucket")).notes
    )


def test_a_name_that_tells_no_unit_is_asked_about(read: Callable[..., Observed]) -> None:
    duration = histogram(GROWING, "request_duration_bucket")
    with pytest.raises(TapeError, match=r"request_duration_bucket, .* no unit of time; .* --unit"):
        read(duration)
    with pytest.raises(TapeError, match=r"request_duration tells no unit of time; .* --unit"):
        read(duration, metric="request_duration")
    assert "latencies are of request_duration, in ms" in read(duration, unit="ms").notes
    # What is largest is no latency.
    made = read(histogram(GROWING, "response_size_bytes_bucket"), histogram(FEW))
    assert made.baseline.requests == 600


def test_answers_to_expressions_are_refused(read: Callable[..., Observed]) -> None:
    rates = histogram(GROWING)
    for each in rates:
        del each["metric"]["__name__"]
    with pytest.raises(TapeError, match="without a name, so the answer to an expression"):
        read(rates)


def test_native_histograms_are_a_clear_no(read: Callable[..., Observed], tmp_path: Path) -> None:
    native = {
        "metric": {"__name__": "http_request_duration_seconds"},
        "histograms": [[AT, {"count": "5", "sum": "1", "buckets": [[0, "0.1", "0.2", "5"]]}]],
    }
    with pytest.raises(
        TapeError, match=r"holds 1 native histograms, which are not read: .*_bucket"
    ):
        read([native])
    made = read(histogram(GROWING), [native])
    assert "1 point is left out: native histograms" in made.notes
    path = tmp_path / "metrics"
    path.write_text("# TYPE a histogram\na {count:3,sum:1.5} 7\n")
    with pytest.raises(TapeError, match="line 2 holds native histograms"):
        read_prometheus(path)


def test_what_prometheus_says_itself_is_passed_on(read: Callable[..., Observed]) -> None:
    made = read(histogram(GROWING), more={"warnings": ["partial response"]})
    assert "Prometheus says: partial response" in made.notes


def test_what_is_hardly_so_is_said(read: Callable[..., Observed]) -> None:
    quick = [
        series({"__name__": NAME, "le": le, "code": "500"}, GROWING) for le in ("0.001", "+Inf")
    ]
    said = " ".join(read(quick).notes)
    assert "less than 0.5 ms" in said
    assert "6,000 requests failed" in said
    gauge = [series({"__name__": NAME, "le": "+Inf"}, [5.0, 3, 6, 2, 7, 1, 8, 2, 9, 3])]
    assert any("may be none" in note for note in read(gauge, rate=None).notes)


# -- text expositions


def test_openmetrics_with_instants_in_seconds_is_a_range(tmp_path: Path) -> None:
    path = tmp_path / "dump.om"
    lines = [
        f'{NAME}{{le="{le}",code="200"}} {int(share * 100 * k)} {AT + 15 * k}.5'
        for le, share in SHARES.items()
        for k in range(5)
    ]
    path.write_text("\n".join(["# TYPE x histogram", *lines, "# EOF", ""]))
    made = observe(path)
    assert made.baseline.requests == 400
    assert made.counts is not None
    assert (made.counts.numbers, made.counts.width) == ((100, 100, 100, 100), 15.0)
    # The older format has milliseconds.
    text = path.read_text().replace(".5\n", "500\n").replace("# EOF\n", "")
    path.write_text(text)
    assert observe(path).counts == made.counts
    path.write_bytes(gzip.compress(text.encode()))
    assert observe(path).counts == made.counts


def test_an_exemplar_is_no_part_of_a_value(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    exemplar = '# {trace_id="KOO5S4vxi0o"} 0.67 1520879607.789'
    path.write_text(
        "# TYPE http_request_duration_seconds histogram\n"
        f'{NAME}{{le="0.1",route="/a}}"}} 30 {exemplar}\n'
        f'{{"{NAME}",le="0.5",route="/a}}"}} 90 {exemplar}\n'
        f'{NAME}{{route="/a}}",le="+Inf",}} 100\n# EOF\n'
    )
    made = observe(path, rate=2.0)
    assert made.baseline.latencies is not None
    assert made.baseline.latencies.counts.tolist() == [30, 60, 10]  # type: ignore[union-attr]


def test_a_series_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    path.write_text(f'{NAME}{{le="+Inf"}} 3\n{NAME}{{le="+Inf"}} 4\n')
    with pytest.raises(TapeError, match=r"line 2 has .* a second time with the same labels"):
        observe(path, rate=1.0)


# -- the command


def test_the_command_says_what_it_took_for_what(tmp_path: Path) -> None:
    path = tmp_path / "range.json"
    result = histogram(GROWING, job="shop", code="200") + histogram(FEW, job="shop", code="500")
    result += histogram(FEW, job="pay", code="500")
    path.write_text(json.dumps({"data": {"resultType": "matrix", "result": result}}))
    out = str(tmp_path / "out.toml")

    def ran(*more: str) -> Any:
        return CliRunner().invoke(cli, ["calibrate", str(path), "--out", out, *more])

    refused = ran()
    assert refused.exit_code == 2
    assert refused.stderr.count("\n") == 1
    assert "--where job=shop" in refused.stderr
    done = ran("--where", "job=shop")
    assert done.exit_code == 0
    assert 'code="500" is an error: 600 requests' in done.stdout
    assert "3 series are left out: without job=shop" in done.stdout
    assert "errors: 600 of 6,600" in done.stdout
    assert ran("--stamp", "end").exit_code == 2
