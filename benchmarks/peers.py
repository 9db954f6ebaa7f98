"""Peers that patch the whole process, so that each is measured in a server of its own alone.

They are no requirement of the benchmarks: `pip install sentry-sdk elastic-apm starlette-exporter`
has them measured, and the table says which are missing.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from starlette.applications import Starlette

__all__ = ["PEERS", "missing_peers"]


def _sentry(app: Starlette, share: float) -> Any:
    sdk, transport = import_module("sentry_sdk"), import_module("sentry_sdk.transport")

    class Drops(transport.Transport):  # type: ignore[misc, name-defined]
        """What a network would cost is not the instrumentation's."""

        def capture_envelope(self, envelope: object) -> None:
            """Forget it."""

    sdk.init(dsn="https://key@127.0.0.1/1", transport=Drops, traces_sample_rate=share)
    return app  # its integration has patched Starlette


def _elastic(app: Starlette) -> Any:
    made = import_module("elasticapm.contrib.starlette")
    client = made.make_apm_client(
        {
            "SERVICE_NAME": "benchmark",
            "DISABLE_SEND": True,
            "CENTRAL_CONFIG": False,
            "CLOUD_PROVIDER": "none",
            "METRICS_INTERVAL": "0ms",
        }
    )
    app.add_middleware(made.ElasticAPM, client=client)
    return app


def _exporter(app: Starlette) -> Any:
    app.add_middleware(import_module("starlette_exporter").PrometheusMiddleware)
    return app


# Name, what it is, its module, and what puts it around an app.
PEERS: dict[str, tuple[str, str, Callable[[Starlette], Any]]] = {
    "sentry": ("Sentry, errors only", "sentry_sdk", lambda app: _sentry(app, 0.0)),
    "sentry, traces": ("Sentry, 10 % of the traces", "sentry_sdk", lambda app: _sentry(app, 0.1)),
    "elastic": ("elastic-apm, sending nothing", "elasticapm", _elastic),
    "exporter": ("starlette_exporter", "starlette_exporter", _exporter),
}


def missing_peers() -> list[str]:
    """The peers that cannot be measured here."""
    return [name for name, (_, module, _) in PEERS.items() if find_spec(module) is None]
