"""Serves the release under uvicorn: `python -m examples.evaluation_app --version 2`."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from canario import ConfigError
from canario.tracing import initialize_tracing

try:
    import uvicorn

    from .faults import FAULTS
    from .release import PLAN, Release
except ModuleNotFoundError as error:
    sys.exit(f"the example needs {error.name}; install it with: pip install '.[examples]'")


def main() -> int:
    """Serve until Ctrl-C, telling what the rollout does.

    Spans go where OpenTelemetry's own variables say, such as OTEL_EXPORTER_OTLP_ENDPOINT; without
    any of them they go nowhere.
    """
    parser = argparse.ArgumentParser(
        prog="python -m examples.evaluation_app",
        description="Release a new version of the evaluation app to more and more of its users.",
    )
    parser.add_argument("--version", type=int, choices=(2, 3), default=2, help="the new version")
    parser.add_argument(
        "--fault",
        choices=FAULTS,
        help="what is wrong with version 3; by default what EVALUATION_APP_FAULT says",
    )
    parser.add_argument("--plan", type=Path, default=PLAN, help="plan file (default: %(default)s)")
    parser.add_argument("--journal", type=Path, help="keep the rollout's events in this file")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()
    try:
        initialize_tracing(config=options.plan)
        release = Release(
            options.version, options.fault, plan=options.plan, journal=options.journal
        )
    except (ConfigError, ValueError) as error:
        parser.error(str(error))
    # The release tells what happens; the failures of version 3 are meant, and would bury it.
    logging.getLogger("canario").setLevel(logging.ERROR)
    print(f"http://127.0.0.1:{options.port}: send users, or look at it; Ctrl-C ends it", flush=True)
    uvicorn.run(release, host="127.0.0.1", port=options.port, log_level="critical")
    return 0


if __name__ == "__main__":
    sys.exit(main())
