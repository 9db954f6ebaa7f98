"""Objectives as OpenSLO v1 documents, written for other tools.

The format: https://github.com/OpenSLO/OpenSLO, apiVersion openslo/v1. An objective on requests is
an SLO that budgets by occurrences over a rolling window of 30 days.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from canario.plan import Objectives

from .burn import BURN_WINDOWS
from .promql import duration, quoted

__all__ = ["export_openslo"]

Document = dict[str, Any]

API_VERSION = "openslo/v1"
OBJECTIVE_LABEL = "canario-objective"
UNIT_ANNOTATION = "canario-unit"

# These have an SLO each. What OpenSLO has no kind for stands in annotations of the service.
_ON_REQUESTS = {"availability_percent", "error_rate_percent", "p95_latency_ms"}
SERVICE_ANNOTATIONS = {
    f"canario-{key.replace('_', '-')}": key
    for key in Objectives.__struct_fields__
    if key not in _ON_REQUESTS
}

_TARGET = "canario-on-call"
# What is written of alerts here is what canario has by itself.
OWN_POLICIES = frozenset(
    {_TARGET, *(f"canario-burn-rate-{duration(burn.long_seconds)}" for burn in BURN_WINDOWS)}
)
_NAME_LENGTH = 63  # RFC 1123


def export_openslo(
    objectives: Objectives, *, service: str = "canario", flows: Iterable[str] = ()
) -> list[Document]:
    """The objectives as OpenSLO v1 documents, which reference each other by name.

    Args:
        objectives: What to write.
        service: Names the service that the objectives are of.
        flows: One set of SLOs is written for each; one for all requests together when empty.

    Returns:
        A Service, the alert conditions and policies of the burn rates with the target that they
        notify, and an SLI and an SLO for availability, error rate and latency of each flow. The
        indicators are ratios of the counts that the Prometheus exposition has.

    Raises:
        ValueError: For an objective of 100 %, which OpenSLO has no target for.
    """
    names = _Names()
    written = _Names().of(service)
    documents = [_service(written, service, objectives), *_alerts()]
    each: list[str | None] = [*dict.fromkeys(flows)]
    for flow in each or [None]:
        prefix = names.of(service if flow is None else flow, room=len("-availability"))
        for objective in _objectives(objectives):
            documents += objective.documents(written, prefix, flow)
    return documents


class _Objective:
    """One kind of objective: a share of requests that may be bad."""

    def __init__(self, name: str, key: str, what: str, bad: str, total: str, target: float) -> None:
        if not 0 <= target < 100:
            raise ValueError(
                f"{key} makes a target of {target:g} %; OpenSLO's are at least 0 and below 100"
            )
        self.name = name
        self.what = what
        self.bad = f"canario_slo_{bad}_total"
        self.total = f"canario_slo_{total}_total"
        self.target: Document = {"displayName": what[:_NAME_LENGTH], "targetPercent": target}
        self.annotations: dict[str, str] = {}

    def documents(self, service: str, prefix: str, flow: str | None) -> Iterator[Document]:
        """The indicator, and the objective on it."""
        name = f"{prefix}-{self.name}"
        of = "all requests" if flow is None else flow
        yield _document(
            "SLI",
            name,
            {
                "description": f"{self.what}: {of}"[:1050],
                "ratioMetric": {
                    "counter": True,
                    "bad": _source(self.bad, flow),
                    "total": _source(self.total, flow),
                },
            },
        )
        yield _document(
            "SLO",
            name,
            {
                "description": f"{self.what}: {of}"[:1050],
                "service": service,
                "indicatorRef": name,
                "timeWindow": [{"duration": "30d", "isRolling": True}],
                "budgetingMethod": "Occurrences",
                "objectives": [self.target],
                "alertPolicies": [
                    {"alertPolicyRef": policy} for policy in _policies(self.name == "availability")
                ],
            },
            labels={OBJECTIVE_LABEL: self.name},
            annotations=self.annotations,
        )


def _objectives(objectives: Objectives) -> list[_Objective]:
    availability = _Objective(
        "availability",
        "availability_percent",
        "Requests that succeed and keep their contract",
        "bad_requests",
        "requests",
        objectives.availability_percent,
    )
    error_rate = _Objective(
        "error-rate",
        "error_rate_percent",
        "Requests that do not fail",
        "errors",
        "requests",
        float(100 - Decimal(str(objectives.error_rate_percent))),
    )
    latency = _Objective(
        "latency",
        "p95_latency_ms",
        f"Requests within {objectives.p95_latency_ms:g} ms",
        "slow_requests",
        "timed_requests",
        95.0,
    )
    latency.target |= {
        "op": "lte",
        "value": float(Decimal(str(objectives.p95_latency_ms)).scaleb(-3)),
    }
    latency.annotations[UNIT_ANNOTATION] = "seconds"
    return [availability, error_rate, latency]


def _service(name: str, shown: str, objectives: Objectives) -> Document:
    annotations = {
        annotation: repr(value).replace("e+", "e")
        for annotation, key in SERVICE_ANNOTATIONS.items()
        if (value := getattr(objectives, key)) is not None
    }
    return _document("Service", name, {"description": shown[:1050]}, annotations=annotations)


def _alerts() -> Iterator[Document]:
    yield _document(
        "AlertNotificationTarget",
        _TARGET,
        {"description": "Whoever is on call for the service", "target": "on-call"},
    )
    for burn, name in zip(BURN_WINDOWS, _policies(True), strict=True):
        text = f"The error budget is spent more than {burn.factor:g} times too fast"
        condition = {
            "kind": "burnrate",
            "op": "gt",
            "threshold": burn.factor,
            "lookbackWindow": duration(burn.long_seconds),
            "alertAfter": "5m",
        }
        yield _document(
            "AlertCondition",
            name,
            {"description": text, "severity": str(burn.severity).lower(), "condition": condition},
        )
        yield _document(
            "AlertPolicy",
            name,
            {
                "description": text,
                "alertWhenNoData": False,
                "alertWhenBreaching": True,
                "alertWhenResolved": True,
                "conditions": [{"conditionRef": name}],
                "notificationTargets": [{"targetRef": _TARGET}],
            },
        )


def _policies(burns: bool) -> list[str]:
    """The budget that is watched is the availability's, as the monitor's is."""
    names = [f"canario-burn-rate-{duration(burn.long_seconds)}" for burn in BURN_WINDOWS]
    return names if burns else []


def _source(metric: str, flow: str | None) -> Document:
    spec = {"query": f"sum({metric})"}
    if flow is not None:
        spec = {"query": f"sum({metric}{{flow={quoted(flow)}}})", "flow": flow}
    return {"metricSource": {"type": "Prometheus", "spec": spec}}


def _document(
    kind: str,
    name: str,
    spec: Document,
    *,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
) -> Document:
    metadata: Document = {"name": name}
    if labels:
        metadata["labels"] = labels
    if annotations:
        metadata["annotations"] = annotations
    # An empty list of policies says nothing, and not every reader takes one.
    kept = {key: value for key, value in spec.items() if value != []}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": kept}


class _Names:
    """Names that OpenSLO takes (RFC 1123 labels), no two alike."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, text: str, room: int = 0) -> str:
        """A name that is like `text`, with room for something after it."""
        longest = _NAME_LENGTH - room
        name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
        if not name or len(name) > longest or name in self._taken:
            mark = hashlib.sha256(text.encode()).hexdigest()[:8]
            name = f"{name[: longest - 9].strip('-')}-{mark}".lstrip("-")
        self._taken.add(name)
        return name
