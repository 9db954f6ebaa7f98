"""OpenSLO v1: what is written is valid, what is read is what was meant, mistakes are named."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from canario import ConfigError
from canario.plan import Objectives
from canario.slo.openslo import export_openslo
from canario.slo.openslo_import import Imported, import_openslo, parse_openslo
from canario.yaml_text import dump_yaml

# The rules of OpenSLO v1 (its specification, its JSON schemas, and the checks of its Go SDK),
# restated: names are RFC 1123 labels, texts have at most 1,050 characters, and so on.
NAME = {"type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"}
TEXT = {"type": "string", "maxLength": 1050}
DURATION = {"type": "string", "pattern": "^[1-9][0-9]*[mhdwMQY]$"}
OPERATOR = {"enum": ["lte", "gte", "lt", "gt"]}
METADATA = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {
        "name": NAME,
        "displayName": {"type": "string", "minLength": 1, "maxLength": 63},
        "labels": {
            "type": "object",
            "propertyNames": {"pattern": "^[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$"},
            "additionalProperties": {
                "type": "string",
                "pattern": "^[a-z0-9A-Z][a-z0-9A-Z._-]*[a-z0-9A-Z]*$",
                "maxLength": 63,
            },
        },
        "annotations": {
            "type": "object",
            "propertyNames": {
                "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
                r"[a-zA-Z0-9]([-._a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$"
            },
            "additionalProperties": {
                "type": "string",
                "minLength": 1,
                "maxLength": 63,
                "pattern": "^[a-z0-9A-Z][a-z0-9A-Z._-]*[a-z0-9A-Z]*$",
            },
        },
    },
}
METRIC = {
    "type": "object",
    "required": ["metricSource"],
    "additionalProperties": False,
    "properties": {
        "metricSource": {
            "type": "object",
            "required": ["spec"],
            "additionalProperties": False,
            "properties": {
                "metricSourceRef": NAME,
                "type": {"type": "string"},
                "spec": {"type": "object", "minProperties": 1},
            },
            "anyOf": [{"required": ["type"]}, {"required": ["metricSourceRef"]}],
        }
    },
}
SPECS: dict[str, Any] = {
    "Service": {"properties": {"description": TEXT}, "additionalProperties": False},
    "SLI": {
        "properties": {
            "description": TEXT,
            "thresholdMetric": METRIC,
            "ratioMetric": {
                "type": "object",
                "required": ["counter", "total"],
                "properties": {
                    "counter": {"type": "boolean"},
                    "good": METRIC,
                    "bad": METRIC,
                    "total": METRIC,
                },
                "additionalProperties": False,
                "oneOf": [{"required": ["good"]}, {"required": ["bad"]}],
            },
        },
        "additionalProperties": False,
        "oneOf": [{"required": ["thresholdMetric"]}, {"required": ["ratioMetric"]}],
    },
    "SLO": {
        "required": ["service", "budgetingMethod", "objectives"],
        "properties": {
            "description": TEXT,
            "service": NAME,
            "indicatorRef": NAME,
            "indicator": {"type": "object"},
            "budgetingMethod": {"enum": ["Occurrences", "Timeslices", "RatioTimeslices"]},
            "timeWindow": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {
                    "required": ["duration", "isRolling"],
                    "properties": {"duration": DURATION, "isRolling": {"const": True}},
                    "additionalProperties": False,
                },
            },
            "objectives": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "additionalProperties": False,
                    "properties": {
                        "displayName": {"type": "string"},
                        "op": OPERATOR,
                        "value": {"type": "number"},
                        "target": {"type": "number", "minimum": 0, "exclusiveMaximum": 1},
                        "targetPercent": {"type": "number", "minimum": 0, "exclusiveMaximum": 100},
                    },
                    "oneOf": [{"required": ["target"]}, {"required": ["targetPercent"]}],
                },
            },
            "alertPolicies": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "required": ["alertPolicyRef"],
                    "properties": {"alertPolicyRef": NAME},
                    "additionalProperties": False,
                },
            },
        },
        "additionalProperties": False,
        "oneOf": [{"required": ["indicator"]}, {"required": ["indicatorRef"]}],
    },
    "AlertPolicy": {
        "required": [
            "alertWhenNoData",
            "alertWhenResolved",
            "alertWhenBreaching",
            "conditions",
            "notificationTargets",
        ],
        "properties": {
            "description": TEXT,
            "alertWhenNoData": {"type": "boolean"},
            "alertWhenResolved": {"type": "boolean"},
            "alertWhenBreaching": {"type": "boolean"},
            "conditions": {
                "type": "array",
                "minItems": 1,
                "maxItems": 1,
                "items": {"required": ["conditionRef"], "properties": {"conditionRef": NAME}},
            },
            "notificationTargets": {
                "type": "array",
                "minItems": 1,
                "items": {"required": ["targetRef"], "properties": {"targetRef": NAME}},
            },
        },
        "additionalProperties": False,
    },
    "AlertCondition": {
        "required": ["severity", "condition"],
        "properties": {
            "description": TEXT,
            "severity": {"type": "string", "minLength": 1},
            "condition": {
                "type": "object",
                "required": ["kind", "op", "threshold", "lookbackWindow", "alertAfter"],
                "properties": {
                    "kind": {"const": "burnrate"},
                    "op": OPERATOR,
                    "threshold": {"type": "number"},
                    "lookbackWindow": DURATION,
                    "alertAfter": DURATION,
                },
                "additionalProperties": False,
            },
        },
        "additionalProperties": False,
    },
    "AlertNotificationTarget": {
        "required": ["target"],
        "properties": {"description": TEXT, "target": {"type": "string", "minLength": 1}},
        "additionalProperties": False,
    },
}
REFERENCES = {
    "indicatorRef": "SLI",
    "service": "Service",
    "alertPolicyRef": "AlertPolicy",
    "conditionRef": "AlertCondition",
    "targetRef": "AlertNotificationTarget",
}


def check(documents: list[dict[str, Any]]) -> None:
    """Fail unless all are valid, no two are alike, and every reference leads somewhere."""
    for document in documents:
        schema = {
            "type": "object",
            "required": ["apiVersion", "kind", "metadata", "spec"],
            "additionalProperties": False,
            "properties": {
                "apiVersion": {"const": "openslo/v1"},
                "kind": {"enum": [*SPECS, "DataSource"]},
                "metadata": METADATA,
                "spec": {"type": "object", **SPECS[document["kind"]]},
            },
        }
        Draft202012Validator(schema).validate(document)
    named = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(named)) == len(named)
    for key, name in references(documents):
        assert (REFERENCES[key], name) in named


def references(value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if key in REFERENCES:
                yield key, inner
            else:
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def decimals(low: int, high: int, places: int) -> st.SearchStrategy[float]:
    """Numbers as people write them, with at most so many decimals."""
    return st.integers(low * 10**places, high * 10**places).map(lambda n: n / 10**places)


OBJECTIVES = st.builds(
    Objectives,
    availability_percent=decimals(0, 99, 6),
    p95_latency_ms=decimals(1, 100_000, 4),
    error_rate_percent=decimals(1, 100, 6),
    performance_regression_percent=st.floats(0, 1e300),
    p99_recovery_time_ms=st.floats(1e-300, 1e300),
    aggregation_window_seconds=st.floats(1e-3, 1e9),
    min_samples=st.integers(1, 10**6),
    baseline_min_samples=st.integers(1, 10**6),
)
FLOWS = st.lists(st.text(max_size=300), max_size=4, unique=True)


@given(OBJECTIVES, FLOWS, st.text(min_size=1, max_size=80))
def test_what_is_written_is_valid_and_reads_back_the_same(
    objectives: Objectives, flows: list[str], service: str
) -> None:
    """Whatever flows and services are called."""
    documents = export_openslo(objectives, service=service, flows=flows)
    check(documents)
    read = parse_openslo(json.dumps(documents), source="x.json")
    assert read.objectives == objectives
    assert read.flows == tuple(flows)
    assert read.notes == ()
    slo = next(document for document in documents if document["kind"] == "SLO")
    assert read.service == slo["spec"]["service"]


def test_yaml_says_the_same_as_json(tmp_path: Path) -> None:
    objectives = Objectives(availability_percent=99.95, p95_latency_ms=350.0)
    flows = ["decalogo_evaluation", "/items/{id}", "evaluación: «a»"]
    documents = export_openslo(objectives, flows=flows)
    text = dump_yaml(documents)
    assert list(yaml.safe_load_all(text)) == documents
    path = tmp_path / "slo.yaml"
    path.write_text(text, encoding="utf-8")
    read = import_openslo(path)
    assert read == Imported(
        objectives=objectives, service="canario", flows=tuple(flows), taken=read.taken
    )


def test_the_documented_objectives_make_these_slos() -> None:
    documents = export_openslo(Objectives(), flows=["decalogo_evaluation"])
    slos = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "SLO"}
    assert {name: spec["objectives"][0]["targetPercent"] for name, spec in slos.items()} == {
        "decalogo-evaluation-availability": 99.5,
        "decalogo-evaluation-error-rate": 99.9,
        "decalogo-evaluation-latency": 95.0,
    }
    latency = slos["decalogo-evaluation-latency"]["objectives"][0]
    assert (latency["op"], latency["value"]) == ("lte", 0.2)
    slis = {
        d["metadata"]["name"]: d["spec"]["ratioMetric"] for d in documents if d["kind"] == "SLI"
    }
    queries = {
        name: [metric[part]["metricSource"]["spec"]["query"] for part in ("bad", "total")]
        for name, metric in slis.items()
    }
    assert queries["decalogo-evaluation-availability"] == [
        'sum(canario_slo_bad_requests_total{flow="decalogo_evaluation"})',
        'sum(canario_slo_requests_total{flow="decalogo_evaluation"})',
    ]
    conditions = [d["spec"]["condition"] for d in documents if d["kind"] == "AlertCondition"]
    assert [(c["threshold"], c["lookbackWindow"]) for c in conditions] == [
        (14.4, "1h"),
        (6, "6h"),
        (3, "1d"),
        (1, "3d"),
    ]


@pytest.mark.parametrize(
    "objectives", [Objectives(availability_percent=100), Objectives(error_rate_percent=0)]
)
def test_an_objective_without_any_budget_has_no_openslo_target(objectives: Objectives) -> None:
    with pytest.raises(ValueError, match=r"makes a target of 100 %; OpenSLO's are .* below 100"):
        export_openslo(objectives)


# An SLO as the specification shows it, of another tool.
FOREIGN = """
apiVersion: openslo/v1
kind: SLO
metadata:
  name: foo-slo
  displayName: Foo SLO
spec:
  service: foo
  indicator:
    metadata:
      name: foo-error
    spec:
      ratioMetric:
        counter: true
        good:
          metricSource:
            type: Datadog
            spec:
              query: sum:trace.http.request.hits.by_http_status{http.status_code:200}.as_count()
        total:
          metricSource:
            type: Datadog
            spec:
              query: sum:trace.http.request.hits.by_http_status{*}.as_count()
  timeWindow:
    - duration: 30d
      isRolling: true
  budgetingMethod: Occurrences
  objectives:
    - displayName: Foo Total Errors
      target: 0.98
---
apiVersion: openslo/v1
kind: SLI
metadata:
  name: foo-latency
spec:
  thresholdMetric:
    metricSource:
      type: Prometheus
      spec:
        query: http_request_duration_seconds{job="foo"}
---
apiVersion: openslo/v1
kind: SLO
metadata:
  name: foo-latency
spec:
  service: foo
  indicatorRef: foo-latency
  budgetingMethod: Occurrences
  objectives:
    - op: lte
      value: 0.35
      target: 0.95
"""


def test_documents_of_others_are_read() -> None:
    """A ratio is the availability; a threshold is the latency, whose unit its query tells."""
    read = parse_openslo(FOREIGN)
    assert read == Imported(
        objectives=Objectives(availability_percent=98.0, p95_latency_ms=350.0),
        service="foo",
        taken=(
            "document 1, 'foo-slo': availability_percent = 98.0",
            "document 3, 'foo-latency': p95_latency_ms = 350.0",
        ),
    )


def test_the_unit_of_a_latency_is_asked_for_where_nothing_tells_it() -> None:
    text = FOREIGN.replace("duration_seconds", "duration")
    with pytest.raises(ConfigError, match=r"document 3: spec.objectives\[0\].value: has no unit"):
        parse_openslo(text)
    read = parse_openslo(text.replace("0.35", "350"), latency_unit="milliseconds")
    assert read.objectives.p95_latency_ms == 350.0
    read = parse_openslo(text.replace("duration{", "duration_ms{").replace("0.35", "350"))
    assert read.objectives.p95_latency_ms == 350.0


def test_a_window_that_is_not_kept_is_said() -> None:
    (note,) = parse_openslo(FOREIGN.replace("30d", "28d")).notes
    assert note.startswith("document 1: spec.timeWindow: '28d' is not kept")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("openslo/v1", "openslo/v1alpha", "document 1: apiVersion: is 'openslo/v1alpha'; valid: o"),
        ("kind: SLO", "kind: Slo", "document 1: kind: is 'Slo'; valid: DataSource, SLO, SLI"),
        ("  name: foo-slo", "  nam: foo-slo", "document 1: metadata.name: is missing; it must be"),
        ("  service: foo\n", "", "document 1: spec.service: is missing; it must be text"),
        ("target: 0.98", "target: 98", "spec.objectives[0].target: is 98; it must be a number at"),
        ("target: 0.98", "target: yes", "spec.objectives[0].target: is True; it must be a number"),
        ("target: 0.98", "op: lte", "spec.objectives[0]: has to have either target (0 to 1) or"),
        ("target: 0.98", "targetPercent: 100", "targetPercent: is 100; it must be a number at lea"),
        ("target: 0.95", "target: 0.99", "is 99 %; the latency objective is a p95, so 95 % is val"),
        ("op: lte", "op: gt", "document 3: spec.objectives[0].op: is 'gt'; valid: lte, lt"),
        ("value: 0.35", "value: -1", "spec.objectives[0].value: is -1; it must be a number above"),
        ("ces\n  obj", "x\n  obj", "document 1: spec.budgetingMethod: is 'Occurrenx'; valid: Occ"),
        ("Ref: foo-latency", "Ref: other", "spec.indicatorRef: is 'other'; the SLIs of this file"),
        ("  indicatorRef: foo-latency\n", "", "document 3: spec: has to have either indicator or"),
        ("thresholdMetric", "metric", "document 2: spec: has to have either ratioMetric or thres"),
        ("apiVersion: openslo/v1\nkind: SLI", "- 1\n---\na: 1", "document 2: is a int; it must be"),
    ],
)
def test_a_mistake_is_named_with_its_document_path_and_value(old: str, new: str, says: str) -> None:
    assert FOREIGN.count(old) >= 1
    with pytest.raises(ConfigError, match=re.escape(says)) as caught:
        parse_openslo(FOREIGN.replace(old, new, 1), source="foo.yaml")
    assert str(caught.value).startswith("foo.yaml: ")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("canario-min-samples", "many", "is 'many'; it must be a number"),
        ("canario-min-samples", "0", "Expected `int` >= 1"),
        ("canario-min-samples", "1.5", "Expected `int`, got `float`"),
        ("canario-p99-recovery-time-ms", "-1", "Expected `float` > 0.0"),
        ("canario-p99-recovery-time-ms", "inf", "must be a finite number"),
    ],
)
def test_an_annotation_of_the_service_that_is_wrong_is_named(
    key: str, value: str, says: str
) -> None:
    documents = export_openslo(Objectives())
    documents[0]["metadata"]["annotations"][key] = value
    with pytest.raises(ConfigError) as caught:
        parse_openslo(json.dumps(documents), source="x.json")
    assert f"document 1: metadata.annotations.{key}: " in str(caught.value)
    assert says in str(caught.value)


def test_two_limits_for_one_objective_are_refused() -> None:
    one = export_openslo(Objectives(), service="a")
    two = export_openslo(Objectives(availability_percent=99.9), service="b")
    with pytest.raises(ConfigError, match=r"gives availability_percent the value 99\.9, and doc"):
        parse_openslo(json.dumps([*one, *two]), source="both.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no document of the kind SLO"),
        ("a: [", "is not valid YAML: while parsing"),
        ("!!python/object/apply:os.system [ls]", "is not valid YAML: could not determine"),
    ],
)
def test_what_is_no_openslo_is_refused(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        parse_openslo(text)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file"):
        import_openslo(tmp_path / "none.yaml")
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        import_openslo(path)


# -- what queries are about: what is not clear is asked for


def slo(indicator: dict[str, Any], objective: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": "checkout"},
        "spec": {
            "service": "checkout",
            "budgetingMethod": "Occurrences",
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "indicator": {"metadata": {"name": "i"}, "spec": indicator},
            "objectives": [objective],
            **spec,
        },
    }


def asks(query: str | dict[str, str]) -> dict[str, Any]:
    spec = query if isinstance(query, dict) else {"query": query}
    return {"metricSource": {"type": "any", "spec": spec}}


def ratio(good: str, total: str, part: str = "good") -> dict[str, Any]:
    return {"ratioMetric": {"counter": True, part: asks(good), "total": asks(total)}}


def threshold(query: str | dict[str, str]) -> dict[str, Any]:
    return {"thresholdMetric": asks(query)}


def reads(document: dict[str, Any], **options: Any) -> Imported:
    return parse_openslo(json.dumps(document), source="x.json", **options)


BUCKET = 'http_server_request_duration_seconds_bucket{le="0.3"}'
COUNT = "http_server_request_duration_seconds_count"


@pytest.mark.parametrize(
    ("indicator", "limit"),
    [
        (ratio(BUCKET, COUNT), 300.0),
        (ratio(f"{COUNT} - {BUCKET}", COUNT, "bad"), 300.0),
        (ratio(BUCKET, BUCKET.replace("0.3", "+Inf")), 300.0),
        (ratio("sum(rate(a_ms_bucket{job='x', le = '250'}[5m]))", "a_ms_count"), 250.0),
    ],
)
def test_a_ratio_of_a_histogram_s_buckets_is_a_latency(
    indicator: dict[str, Any], limit: float
) -> None:
    read = reads(slo(indicator, {"target": 0.95}))
    assert read.objectives == Objectives(p95_latency_ms=limit)
    assert read.taken == (f"document 1, 'checkout': p95_latency_ms = {limit}",)
    with pytest.raises(ConfigError, match=r"is 99 %; the latency objective is a p95"):
        reads(slo(indicator, {"target": 0.99}))


@pytest.mark.parametrize(
    ("indicator", "objective", "says"),
    [
        (ratio(BUCKET.replace("le=", "le=~"), COUNT), {}, "buckets le 0.3; one limit"),
        (ratio(BUCKET.replace("0.3", "fast"), COUNT), {}, "buckets le fast; one limit"),
        (ratio(BUCKET, BUCKET.replace("0.3", "0.5")), {}, "buckets le 0.3, 0.5; one limit"),
        (ratio(BUCKET, COUNT), {"op": "lte", "value": 0.5}, "is 0.5, and its query counts up to"),
        (ratio("fast_requests_total", "requests_total"), {}, "tells of latency, and no limit"),
        (ratio("hits{latency<300}", "hits"), {}, "by the label canario-objective: availability,"),
        (ratio("a_bucket{le='3'}", "a_count"), {}, "has no unit"),
    ],
)
def test_a_ratio_that_may_be_a_latency_is_no_availability(
    indicator: dict[str, Any], objective: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        reads(slo(indicator, {"target": 0.95, **objective}))


def test_a_label_decides_what_a_query_leaves_open() -> None:
    document = slo(ratio("fast_requests_total", "requests_total"), {"target": 0.95})
    document["metadata"]["labels"] = {"canario-objective": "availability"}
    assert reads(document).objectives.availability_percent == 95.0


@pytest.mark.parametrize(
    "query",
    [
        f'{COUNT}{{code!~"5.."}}',
        "sum(rate(http_requests_total{code=~'2..'}[5m]))",
        "sum:trace.http.request.hits{http.status_code:200}",
    ],
)
def test_a_ratio_of_requests_is_the_availability(query: str) -> None:
    read = reads(slo(ratio(query, "sum(all)"), {"target": 0.999}))
    assert read.objectives == Objectives(availability_percent=99.9)


QUANTILE = "histogram_quantile({}, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"


@pytest.mark.parametrize(
    ("query", "named"),
    [
        (QUANTILE.format("0.99"), "p99"),
        (QUANTILE.format(".9"), "p90"),
        (QUANTILE.format("0.999"), "p99.9"),
        (QUANTILE.format("$q"), "quantile"),
        ('http_request_duration_seconds{quantile="0.5"}', "p50"),
        ("quantile_over_time(0.99, request_time_seconds[5m])", "p99"),
        ("p99:trace.http.request.duration_seconds{*}", "p99"),
        ("latency_seconds.p999", "p99.9"),
        ("SELECT percentile(duration_ms, 99) FROM Transaction", "p99"),
        ("aligner: ALIGN_PERCENTILE_99 request_duration_ms", "p99"),
        ("avg(request_duration_seconds)", "avg"),
        ("a_duration_seconds_sum / a_duration_seconds_count", "sum"),
        ("max(latency_ms)", "max"),
        ("SELECT median(duration_ms)", "median"),
        ({"MetricName": "TargetResponseTime_seconds", "Statistic": "p90"}, "p90"),
        ({"MetricName": "TargetResponseTime_seconds", "Statistic": "Average"}, "Average"),
    ],
)
def test_a_threshold_on_what_is_no_p95_is_refused_by_its_name(
    query: str | dict[str, str], named: str
) -> None:
    document = slo(threshold(query), {"op": "lte", "value": 0.5, "target": 0.95})
    with pytest.raises(ConfigError, match=f"is of {re.escape(named)}, by its query; .* is a p95"):
        reads(document)


@pytest.mark.parametrize(
    "query",
    [
        QUANTILE.format("0.95"),
        "p95:trace.http.request.duration_seconds{*}",
        "max by (job) (" + QUANTILE.format("0.95") + ")",
        {"MetricName": "TargetResponseTime_seconds", "Statistic": "p95"},
        "http_request_duration_seconds",
    ],
)
def test_a_threshold_on_a_p95_or_on_latencies_is_a_latency(query: str | dict[str, str]) -> None:
    read = reads(slo(threshold(query), {"op": "lt", "value": 0.5, "target": 0.95}))
    assert read.objectives == Objectives(p95_latency_ms=500.0)
    assert read.notes == ("document 1: spec.objectives[0].op: lt is taken as lte",)


def test_a_threshold_that_may_be_of_anything_is_asked_about() -> None:
    document = slo(threshold("node_load1"), {"op": "lte", "value": 0.5, "target": 0.95})
    with pytest.raises(
        ConfigError, match=r"does not tell that it is one of latency; .*--latency-u"
    ):
        reads(document)
    assert reads(document, latency_unit="seconds").objectives.p95_latency_ms == 500.0


@pytest.mark.parametrize(
    ("indicator", "says"),
    [
        ({"ratioMetric": {}}, "has to have either ratioMetric"),
        ({"ratioMetric": {"total": asks("a")}}, "has to have total with either good or bad"),
        (
            {"ratioMetric": {"good": asks("a"), "bad": asks("b"), "total": asks("c")}},
            "or raw alone",
        ),
        ({"ratioMetric": {"raw": asks("a")}}, "rawType: is None; valid: success, failure"),
    ],
)
def test_a_ratio_has_its_parts(indicator: dict[str, Any], says: str) -> None:
    if not indicator["ratioMetric"]:
        indicator["ratioMetric"] = {"counter": True}
        says = "has to have total"
    with pytest.raises(ConfigError, match=says):
        reads(slo(indicator, {"target": 0.95}))
    raw = {"ratioMetric": {"raw": asks("up"), "rawType": "success"}}
    assert reads(slo(raw, {"target": 0.95})).objectives.availability_percent == 95.0


def test_several_objectives_slices_and_other_versions_are_a_clear_no() -> None:
    good = ratio("good_total", "all_total")
    two = slo(good, {}, objectives=[{"target": 0.9}, {"target": 0.99}])
    with pytest.raises(ConfigError, match=r"has 2 objectives; valid is one"):
        reads(two)
    for method in ("Timeslices", "RatioTimeslices"):
        slices = slo(good, {"target": 0.9, "timeSliceTarget": 0.9}, budgetingMethod=method)
        with pytest.raises(ConfigError, match=f"budgetingMethod: is '{method}'; valid: Occurr"):
            reads(slices)
    for version in ("openslo/v1alpha", "openslo.com/v2alpha", "openslo/v1beta1"):
        with pytest.raises(ConfigError, match=f"is {version!r}; valid: openslo/v1"):
            reads({**slo(good, {"target": 0.9}), "apiVersion": version})
    for field in ("indicator", "indicatorRef", "compositeWeight"):
        with pytest.raises(ConfigError, match="makes a composite SLO"):
            reads(slo(good, {"target": 0.9, field: {"a": 1}}))


def test_every_field_that_is_not_kept_is_said() -> None:
    document = slo(
        ratio("good_total", "all_total"),
        {"target": 0.9, "timeSliceWindow": "1m", "displayName": "shown"},
        alertPolicies=["page"],
        budgetingMethd="Occurrences",
        description="what it is",
    )
    document["spec"]["indicator"]["spec"]["ratioMetric"]["more"] = 1
    others = [
        {"apiVersion": "openslo/v1", "kind": kind, "metadata": {"name": "x"}, "spec": {}}
        for kind in ("AlertPolicy", "DataSource")
    ]
    unused = {**others[0], "kind": "SLI", "metadata": {"name": "unused"}}
    read = parse_openslo(json.dumps([document, *others, unused]), source="x.json")
    assert sorted(read.notes) == [
        "1 of the kind AlertPolicy not kept",
        "1 of the kind DataSource not kept",
        "document 1: spec.alertPolicies is not kept; the alerts are canario's own",
        "document 1: spec.budgetingMethd is not kept",
        "document 1: spec.indicator.spec.ratioMetric.more is not kept",
        "document 1: spec.objectives[0].timeSliceWindow is not kept",
        "document 4: no SLO refers to the SLI 'unused'",
    ]


def test_two_indicators_of_one_name_are_refused() -> None:
    twice = FOREIGN + FOREIGN[FOREIGN.index("---\n") :]
    with pytest.raises(
        ConfigError, match=r"document 4: metadata\.name: is 'foo-latency', as that of"
    ):
        parse_openslo(twice)
