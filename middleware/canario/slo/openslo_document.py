"""One OpenSLO document as it was read: values by their paths, errors that name them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from canario.config import ConfigError

from .openslo import API_VERSION

__all__ = ["OpenSLODocument", "numbered"]

_KINDS = (
    "DataSource",
    "SLO",
    "SLI",
    "AlertPolicy",
    "AlertCondition",
    "AlertNotificationTarget",
    "Service",
)


class OpenSLODocument:
    """One document, and where it stands: every value is asked for by its path."""

    def __init__(self, source: str, number: int, raw: Mapping[str, Any]) -> None:
        self.source = source
        self.number = number
        self.raw = raw

    @property
    def name(self) -> str:
        return str(self.get("metadata.name"))

    def get(self, path: str) -> Any:
        """The value at a path such as `spec.objectives[0].target`; None where there is none."""
        value: Any = self.raw
        for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path):
            if key:
                value = value.get(key) if isinstance(value, Mapping) else None
            else:
                value = value[int(index)]
        return value

    def error(self, path: str, problem: str) -> ConfigError:
        where = f"document {self.number}"
        return ConfigError(self.source, f"{where}: {path}" if path else where, problem)

    def text(self, path: str, valid: tuple[str, ...] | None = None) -> str:
        value = self.get(path)
        if valid is not None and value not in valid:
            what = "is missing" if value is None else f"is {value!r}"
            raise self.error(path, f"{what}; valid: {', '.join(valid)}")
        if not isinstance(value, str) or not value:
            what = "is missing" if value is None else f"is {value!r}"
            raise self.error(path, f"{what}; it must be text")
        return value

    def number_in(self, path: str, low: float, high: float, *, above: bool = False) -> float:
        value = self.get(path)
        fits = isinstance(value, int | float) and not isinstance(value, bool)
        if not (fits and (low < value if above else low <= value) and value < high):
            least = f"above {low:g}" if above else f"at least {low:g}"
            most = "" if high == float("inf") else f" and below {high:g}"
            what = "is missing" if value is None else f"is {value!r}"
            raise self.error(path, f"{what}; it must be a number {least}{most}")
        return float(value)


def numbered(loaded: list[Any], source: str) -> Iterator[OpenSLODocument]:
    flat = [one for part in loaded for one in (part if isinstance(part, list) else [part])]
    for number, raw in enumerate(flat, start=1):
        if raw is None:
            continue  # nothing between two separators
        document = OpenSLODocument(source, number, raw if isinstance(raw, Mapping) else {})
        if not isinstance(raw, Mapping):
            raise document.error("", f"is a {type(raw).__name__}; it must be an object")
        version = document.get("apiVersion")
        if isinstance(version, str) and "openslo" in version.lower() and version != API_VERSION:
            # v1alpha has indicators, targets and alerts at other places and by other names.
            raise document.error(
                "apiVersion",
                f"is {version!r}; valid: {API_VERSION}, which others are written as first",
            )
        document.text("apiVersion", (API_VERSION,))
        document.text("kind", _KINDS)
        document.text("metadata.name")
        yield document
