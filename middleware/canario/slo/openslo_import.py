"""Objectives from OpenSLO v1 documents; what is wrong with one is named by its path."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from canario.config import ConfigError
from canario.contracts.quoting import brief
from canario.plan import Objectives
from canario.spec import what_and_where
from canario.yaml_text import load_yaml

from .openslo import OBJECTIVE_LABEL, OWN_POLICIES, SERVICE_ANNOTATIONS, UNIT_ANNOTATION
from .openslo_document import OpenSLODocument, numbered
from .openslo_queries import IndicatorText

__all__ = ["Imported", "LatencyUnit", "import_openslo", "parse_openslo"]

LatencyUnit = Literal["seconds", "milliseconds"]

_OBJECTIVES = ("availability", "error-rate", "latency")
_UNITS = ("seconds", "milliseconds")
_30_DAYS = {"30d", "1M", "720h"}

# What is read of an SLO, an objective and a ratio, and what says nothing to be kept.
_SLO_FIELDS = frozenset(
    {
        "description",
        "service",
        "indicator",
        "indicatorRef",
        "timeWindow",
        "budgetingMethod",
        "objectives",
        "alertPolicies",
    }
)
_OBJECTIVE_FIELDS = frozenset({"displayName", "op", "value", "target", "targetPercent"})
_RATIO_FIELDS = frozenset({"counter", "good", "bad", "total", "raw", "rawType"})
_UNUSED_KINDS = ("DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget")


class Imported(Struct, frozen=True, kw_only=True):
    """What OpenSLO documents hold of objectives.

    `flows` are those that canario's own exports name; `taken` says of each SLO what it was taken
    for, `notes` what was left out, and why. Objectives that no document sets have their defaults.
    """

    objectives: Objectives
    service: str | None = None
    flows: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def import_openslo(
    path: str | os.PathLike[str], *, latency_unit: LatencyUnit | None = None
) -> Imported:
    """The objectives in a file of OpenSLO v1 documents, YAML or JSON (by its ending).

    Args:
        path: The file.
        latency_unit: What the values of latency objectives are in, and that a threshold is one of
            latency. Without it both are told by canario's own annotation, or by the SLI's query:
            the unit by a metric that ends in `_seconds`, `_milliseconds` or `_ms`.

    Raises:
        ConfigError: For the first thing that is wrong, with the file, the number of the document
            (from 1), the path in it, the value, and what would be valid.
        ModuleNotFoundError: When the file is YAML and PyYAML is missing.
    """
    source = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(source, "", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(source, "", f"is not UTF-8 text: {error.reason}") from error
    return parse_openslo(text, source=source, latency_unit=latency_unit)


def parse_openslo(
    text: str, *, source: str = "OpenSLO", latency_unit: LatencyUnit | None = None
) -> Imported:
    """`import_openslo` of a text; `source` stands for the file in errors."""
    as_json = source.lower().endswith(".json")
    try:
        loaded = [json.loads(text)] if as_json else load_yaml(text)
    except ValueError as error:
        kind = "JSON" if as_json else "YAML"
        raise ConfigError(source, "", f"is not valid {kind}: {error}") from error
    documents = list(numbered(loaded, source))
    reader = _Reader(documents, latency_unit)
    for document in documents:
        reader.read(document)
    return reader.result(source)


class _Reader:
    """Gathers what the documents say, and where each value came from."""

    def __init__(self, documents: list[OpenSLODocument], latency_unit: LatencyUnit | None) -> None:
        self._indicators: dict[str, OpenSLODocument] = {}
        for document in documents:
            if document.raw["kind"] == "SLI":
                before = self._indicators.setdefault(document.name, document)
                if before is not document:
                    raise document.error(
                        "metadata.name",
                        f"is {document.name!r}, as that of document {before.number} is; an SLO "
                        "could mean either",
                    )
        self._unused = dict(self._indicators)
        self._latency_unit = latency_unit
        self._values: dict[str, tuple[float, OpenSLODocument]] = {}
        self._services: dict[str, None] = {}
        self._flows: dict[str, None] = {}
        self._others: Counter[str] = Counter()
        self._taken: list[str] = []
        self._notes: list[str] = []
        self._slos = 0

    def read(self, document: OpenSLODocument) -> None:
        """Take what one document says."""
        match document.raw["kind"]:
            case "Service":
                self._read_service(document)
            case "SLO":
                self._slos += 1
                self._read_slo(document)
            case kind if kind in _UNUSED_KINDS and document.name not in OWN_POLICIES:
                self._others[kind] += 1

    def result(self, source: str) -> Imported:
        """All of it."""
        if not self._slos:
            raise ConfigError(source, "", "holds no document of the kind SLO")
        values = {key: value for key, (value, _) in self._values.items()}
        return Imported(
            objectives=msgspec.convert(values, Objectives),
            service=next(iter(self._services), None),
            flows=tuple(self._flows),
            taken=tuple(self._taken),
            notes=tuple(dict.fromkeys([*self._notes, *self._unread()])),
        )

    def _unread(self) -> Iterator[str]:
        """What no SLO's objective comes of."""
        for name, document in self._unused.items():
            yield f"document {document.number}: no SLO refers to the SLI {name!r}"
        for kind, n in self._others.items():
            yield f"{n} of the kind {kind} not kept"
        if len(self._services) > 1:
            named = brief(", ".join(self._services))
            yield f"the services {named} share one set of limits"

    def _read_service(self, document: OpenSLODocument) -> None:
        annotations = document.get("metadata.annotations")
        for name, key in SERVICE_ANNOTATIONS.items():
            if isinstance(annotations, Mapping) and name in annotations:
                path = f"metadata.annotations.{name}"
                self._set(document, path, key, _number(document, path, annotations[name]))

    def _read_slo(self, document: OpenSLODocument) -> None:
        self._services.setdefault(document.text("spec.service"))
        indicator = self._indicator(document)
        document.text("spec.budgetingMethod", ("Occurrences",))
        self._note_window(document)
        count = document.get("spec.objectives")
        if not isinstance(count, list) or len(count) != 1:
            raise document.error(
                "spec.objectives",
                f"has {len(count) if isinstance(count, list) else 'no'} objectives; "
                "valid is one, since there is one limit for each kind",
            )
        self._note_fields(document)
        target = self._target(document)
        text = IndicatorText(indicator)
        match self._kind(document, indicator, text):
            case "availability":
                self._set(document, _target_path(document), "availability_percent", float(target))
            case "error-rate":
                rest = float(100 - target)
                self._set(document, _target_path(document), "error_rate_percent", rest)
            case _:
                self._read_latency(document, indicator, text, target)

    def _not_kept(self, document: OpenSLODocument, path: str) -> None:
        self._notes.append(f"document {document.number}: {brief(path, 80)} is not kept")

    def _note_fields(self, document: OpenSLODocument) -> None:
        """Say which fields are not kept; refuse those that would change what the others mean."""
        here = "spec.objectives[0]"
        for field in ("indicator", "indicatorRef", "compositeWeight"):
            if document.get(f"{here}.{field}") is not None:
                raise document.error(
                    f"{here}.{field}", "makes a composite SLO; valid is an indicator of the SLO"
                )
        for path, known in (("spec", _SLO_FIELDS), (here, _OBJECTIVE_FIELDS)):
            holder = document.get(path)
            for field in holder if isinstance(holder, Mapping) else ():
                if field not in known and holder[field] is not None:
                    self._not_kept(document, f"{path}.{field}")
        policies = document.get("spec.alertPolicies")
        if policies and not _are_own(policies):
            self._notes.append(
                f"document {document.number}: spec.alertPolicies is not kept; the alerts are "
                "canario's own"
            )

    def _indicator(self, document: OpenSLODocument) -> Mapping[str, Any]:
        """The spec of the SLI, from wherever it is."""
        inline, name = document.get("spec.indicator"), document.get("spec.indicatorRef")
        if (inline is None) == (name is None):
            raise document.error(
                "spec", "has to have either indicator or indicatorRef, and not both"
            )
        if name is None:
            path, spec = "spec.indicator.spec", document.get("spec.indicator.spec")
        else:
            path, found = (
                "spec.indicatorRef",
                self._indicators.get(document.text("spec.indicatorRef")),
            )
            if found is None:
                known = ", ".join(self._indicators) or "none"
                raise document.error(path, f"is {name!r}; the SLIs of this file are: {known}")
            self._unused.pop(name, None)
            document, path, spec = found, "spec", found.get("spec")
        has = [
            key
            for key in ("thresholdMetric", "ratioMetric")
            if isinstance(spec, Mapping) and spec.get(key) is not None
        ]
        if len(has) != 1:
            raise document.error(
                path, "has to have either ratioMetric or thresholdMetric, and not both"
            )
        self._note_flow(spec)
        made: Mapping[str, Any] = spec
        if has == ["ratioMetric"]:
            self._check_ratio(document, path, made["ratioMetric"])
        return made

    def _check_ratio(self, document: OpenSLODocument, path: str, ratio: Any) -> None:
        path = f"{path}.ratioMetric"
        parts = {key for key in _RATIO_FIELDS if isinstance(ratio, Mapping) and ratio.get(key)}
        counts = "total" in parts and len(parts & {"good", "bad"}) == 1
        if counts == ("raw" in parts):
            raise document.error(path, "has to have total with either good or bad, or raw alone")
        if "raw" in parts and ratio.get("rawType") not in ("success", "failure"):
            raise document.error(
                f"{path}.rawType", f"is {ratio.get('rawType')!r}; valid: success, failure"
            )
        for field in ratio:
            if field not in _RATIO_FIELDS:
                self._not_kept(document, f"{path}.{field}")

    def _note_flow(self, spec: Mapping[str, Any]) -> None:
        total = OpenSLODocument("", 0, spec).get("ratioMetric.total.metricSource.spec.flow")
        if isinstance(total, str):
            self._flows.setdefault(total)

    def _kind(
        self, document: OpenSLODocument, indicator: Mapping[str, Any], text: IndicatorText
    ) -> str:
        """What the objective is of; what its queries leave open is asked for."""
        label = f"metadata.labels.{OBJECTIVE_LABEL}"
        if document.get(label) is not None:
            return document.text(label, _OBJECTIVES)
        edges, unclear = text.edges
        limited = document.get("spec.objectives[0].value") is not None
        if "thresholdMetric" in indicator:
            if not (text.tells_latency or self._tells_unit(document)):
                raise document.error(
                    "spec.objectives[0].value",
                    "is of a threshold whose query does not tell that it is one of latency; say it "
                    "with its unit (--latency-unit), or leave the SLO out",
                )
            return "latency"
        if edges or unclear or limited:
            return "latency"
        if text.tells_latency:
            raise document.error(
                "spec",
                "is of a ratio whose query tells of latency, and no limit (le=); say what it is by "
                f"the label {OBJECTIVE_LABEL}: {', '.join(_OBJECTIVES)}",
            )
        return "availability"

    def _tells_unit(self, document: OpenSLODocument) -> bool:
        annotated = document.get(f"metadata.annotations.{UNIT_ANNOTATION}") is not None
        return annotated or self._latency_unit is not None

    def _target(self, document: OpenSLODocument) -> Decimal:
        """The target in percent, exactly as it is written."""
        here = "spec.objectives[0]"
        if (document.get(f"{here}.target") is None) == (
            document.get(f"{here}.targetPercent") is None
        ):
            raise document.error(
                here, "has to have either target (0 to 1) or targetPercent (0 to 100), and not both"
            )
        path = _target_path(document)
        percent = path.endswith("Percent")
        number = document.number_in(path, 0, 100 if percent else 1)
        return Decimal(str(number)) * (1 if percent else 100)

    def _read_latency(
        self,
        document: OpenSLODocument,
        indicator: Mapping[str, Any],
        text: IndicatorText,
        target: Decimal,
    ) -> None:
        here = "spec.objectives[0]"
        labelled = document.get(f"metadata.labels.{OBJECTIVE_LABEL}") is not None
        limit = None if labelled else self._edge(document, text)
        path = f"{here}.value" if limit is None else _target_path(document)
        if limit is None or document.get(f"{here}.value") is not None:
            operator = document.text(f"{here}.op", ("lte", "lt"))
            value = document.number_in(f"{here}.value", 0, float("inf"), above=True)
            exact = Decimal(str(value))
            if limit is not None and limit != exact:
                raise document.error(
                    f"{here}.value", f'is {value:g}, and its query counts up to le="{limit}"'
                )
            limit = exact
            if operator == "lt":
                self._notes.append(f"document {document.number}: {here}.op: lt is taken as lte")
        if "thresholdMetric" in indicator:
            self._check_percentile(document, text)
        if target != 95:
            raise document.error(
                _target_path(document),
                f"is {target.normalize():f} %; the latency objective is a p95, so 95 % is valid",
            )
        unit = self._unit(document, text)
        milliseconds = limit.scaleb(3 if unit == "seconds" else 0)
        self._set(document, path, "p95_latency_ms", float(milliseconds))

    def _edge(self, document: OpenSLODocument, text: IndicatorText) -> Decimal | None:
        """The limit that a ratio of a histogram's buckets has; None where it counts none."""
        edges, unclear = text.edges
        if unclear or len(edges) > 1:
            named = ", ".join([*sorted(unclear), *(f"{edge}" for edge in sorted(edges))])
            raise document.error(
                "spec",
                f"has queries of the buckets le {brief(named, 80)}; one limit (le=) is valid",
            )
        return next(iter(edges), None)

    def _check_percentile(self, document: OpenSLODocument, text: IndicatorText) -> None:
        """Refuse a threshold on what is no p95."""
        found = text.percentiles
        other = None if found else text.other_statistic
        if other is not None or found - {Decimal(95)}:
            named = other or ", ".join(f"p{each.normalize():f}" for each in sorted(found))
            raise document.error(
                "spec.objectives[0].value",
                f"is of {named}, by its query; the latency objective is a p95, so a p95 or the "
                "latencies themselves are valid",
            )

    def _unit(self, document: OpenSLODocument, text: IndicatorText) -> str:
        path = f"metadata.annotations.{UNIT_ANNOTATION}"
        if document.get(path) is not None:
            return document.text(path, _UNITS)
        if self._latency_unit is not None:
            return self._latency_unit
        found = text.units
        if len(found) != 1:
            raise document.error(
                "spec.objectives[0].value",
                "has no unit that its SLI's query would tell; say which of seconds and "
                "milliseconds it is in (latency_unit, --latency-unit)",
            )
        return found.pop()

    def _note_window(self, document: OpenSLODocument) -> None:
        duration = document.get("spec.timeWindow")
        if isinstance(duration, list) and duration:
            window = document.get("spec.timeWindow[0].duration")
            if window not in _30_DAYS or not document.get("spec.timeWindow[0].isRolling"):
                self._notes.append(
                    f"document {document.number}: spec.timeWindow: {window!r} is not kept; "
                    "error budgets are over 30 rolling days"
                )

    def _set(self, document: OpenSLODocument, path: str, key: str, value: float) -> None:
        before = self._values.get(key)
        if before is not None and before[0] != value:
            raise document.error(
                path,
                f"gives {key} the value {value:g}, and document {before[1].number} gave it "
                f"{before[0]:g}; all flows share one limit",
            )
        try:
            msgspec.convert({key: value}, Objectives)
        except msgspec.ValidationError as error:
            raise document.error(path, f"{what_and_where(error)[0]}; it is {value!r}") from error
        self._values[key] = (value, document)
        if document.raw["kind"] == "SLO":
            self._taken.append(f"document {document.number}, {document.name!r}: {key} = {value!r}")


def _are_own(policies: Any) -> bool:
    """Whether alert policies are none but those that canario writes."""
    named = [
        policy.get("alertPolicyRef") if isinstance(policy, Mapping) else policy
        for policy in (policies if isinstance(policies, list) else [policies])
    ]
    return all(name in OWN_POLICIES for name in named)


def _target_path(document: OpenSLODocument) -> str:
    given = document.get("spec.objectives[0].target") is not None
    return f"spec.objectives[0].{'target' if given else 'targetPercent'}"


def _number(document: OpenSLODocument, path: str, text: Any) -> float:
    """An annotation's number; all annotations are texts."""
    for kind in (int, float):
        with suppress(TypeError, ValueError):
            return kind(text)
    raise document.error(path, f"is {text!r}; it must be a number")
