"""Log records that OpenTelemetry's own SDK has exported, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor


class Records:
    """What a provider has exported."""

    def __init__(self) -> None:
        self._exporter = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.provider = LoggerProvider(shutdown_on_exit=False)
        self.provider.add_log_record_processor(SimpleLogRecordProcessor(self._exporter))

    @property
    def all(self) -> list[Any]:
        return [each.log_record for each in self._exporter.get_finished_logs()]

    @property
    def names(self) -> list[str]:
        return [record.event_name for record in self.all]

    def named(self, name: str) -> list[Any]:
        return [record for record in self.all if record.event_name == f"canario.{name}"]

    def one(self, name: str) -> Any:
        (record,) = self.named(name)
        return record

    def text(self) -> str:
        """Everything there is to read in them."""
        return "\n".join(f"{r.body} {dict(r.attributes or {})}" for r in self.all)


@contextmanager
def globally_recorded() -> Iterator[Records]:
    """The host has set a logger provider, for a while."""
    records = Records()
    with mock.patch("opentelemetry._logs._internal._LOGGER_PROVIDER", records.provider):
        yield records
