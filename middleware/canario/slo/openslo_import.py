"""Objectives from OpenSLO v1 documents; what is wrong with one is named by its path."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from canario.config import ConfigError
from canario.plan import Objectives

from .openslo import OBJECTIVE_LABEL, SERVICE_ANNOTATIONS, UNIT_ANNOTATION
from .openslo_document import OpenSLODocument, numbered
from .yaml_text import load_yaml

__all__ = ["Imported", "LatencyUnit", "import_openslo", "parse_openslo"]

LatencyUnit = Literal["seconds", "milliseconds"]

_OBJECTIVES = ("availability", "error-rate", "latency")
_UNITS = ("seconds", "milliseconds")
_UNIT_IN_QUERY = re.compile(
    r"_(?:(?P<seconds>seconds)|(?P<milliseconds>milliseconds|ms))(?![a-z0-9])"
)
_30_DAYS = {"30d", "1M", "720h"}


class Imported(Struct, frozen=True, kw_only=True):
    """What OpenSLO documents hold of objectives.

    `flows` are those that canario's own exports name; `notes` say what was left out, and why.
    Objectives that no document sets have their defaults.
    """

    objectives: Objectives
    service: str | None = None
    flows: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def import_openslo(
    path: str | os.PathLike[str], *, latency_unit: LatencyUnit | None = None
) -> Imported:
    """The objectives in a file of OpenSLO v1 documents, YAML or JSON (by its ending).

    Args:
        path: The file.
        latency_unit: What the values of latency objectives are in. Without it the unit is told
            by canario's own annotation, or by a metric in the SLI's query that ends in
            `_seconds`, `_milliseconds` or `_ms`.

    Raises:
        ConfigError: For the first thing that is wrong, with the file, the number of the document
            (from 1), the path in it, the value, and what would be valid.
        ModuleNotFoundError: When the file is YAML and PyYAML is missing.
    """
    source = os.fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
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
        self._indicators = {
            document.name: document for document in documents if document.raw["kind"] == "SLI"
        }
        self._latency_unit = latency_unit
        self._values: dict[str, tuple[float, OpenSLODocument]] = {}
        self._services: dict[str, None] = {}
        self._flows: dict[str, None] = {}
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

    def result(self, source: str) -> Imported:
        """All of it."""
        if not self._slos:
            raise ConfigError(source, "", "holds no document of the kind SLO")
        values = {key: value for key, (value, _) in self._values.items()}
        return Imported(
            objectives=msgspec.convert(values, Objectives),
            service=next(iter(self._services), None),
            flows=tuple(self._flows),
            notes=tuple(dict.fromkeys(self._notes)),
        )

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
        target = self._target(document)
        match self._kind(document, indicator):
            case "availability":
                self._set(document, _target_path(document), "availability_percent", float(target))
            case "error-rate":
                rest = float(100 - target)
                self._set(document, _target_path(document), "error_rate_percent", rest)
            case _:
                self._read_latency(document, indicator, target)

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
        return made

    def _note_flow(self, spec: Mapping[str, Any]) -> None:
        total = OpenSLODocument("", 0, spec).get("ratioMetric.total.metricSource.spec.flow")
        if isinstance(total, str):
            self._flows.setdefault(total)

    def _kind(self, document: OpenSLODocument, indicator: Mapping[str, Any]) -> str:
        if document.get(f"metadata.labels.{OBJECTIVE_LABEL}") is not None:
            return document.text(f"metadata.labels.{OBJECTIVE_LABEL}", _OBJECTIVES)
        limited = document.get("spec.objectives[0].value") is not None
        return "latency" if limited or "thresholdMetric" in indicator else "availability"

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
        self, document: OpenSLODocument, indicator: Mapping[str, Any], target: Decimal
    ) -> None:
        here = "spec.objectives[0]"
        document.text(f"{here}.op", ("lte", "lt"))
        value = document.number_in(f"{here}.value", 0, float("inf"), above=True)
        if target != 95:
            raise document.error(
                _target_path(document),
                f"is {target.normalize():f} %; the latency objective is a p95, so 95 % is valid",
            )
        unit = self._unit(document, indicator)
        exact = Decimal(str(value)).scaleb(3 if unit == "seconds" else 0)
        self._set(document, f"{here}.value", "p95_latency_ms", float(exact))

    def _unit(self, document: OpenSLODocument, indicator: Mapping[str, Any]) -> str:
        path = f"metadata.annotations.{UNIT_ANNOTATION}"
        if document.get(path) is not None:
            return document.text(path, _UNITS)
        if self._latency_unit is not None:
            return self._latency_unit
        # Whatever the data source is, its query is text somewhere below the indicator.
        found = {
            match.lastgroup or ""
            for match in _UNIT_IN_QUERY.finditer(json.dumps(indicator, default=str))
        }
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
            what = str(error).partition(" - at ")[0]
            raise document.error(path, f"{what}; it is {value!r}") from error
        self._values[key] = (value, document)


def _target_path(document: OpenSLODocument) -> str:
    given = document.get("spec.objectives[0].target") is not None
    return f"spec.objectives[0].{'target' if given else 'targetPercent'}"


def _number(document: OpenSLODocument, path: str, text: Any) -> float:
    """An annotation's number; all annotations are texts."""
    for kind in (int, float):
        with suppress(TypeError, ValueError):
            return kind(text)
    raise document.error(path, f"is {text!r}; it must be a number")
