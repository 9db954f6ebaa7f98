"""Prometheus' own tools."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.system_packages import need


def promtool(*arguments: str, stdin: str = "", cwd: Path | None = None) -> str:
    """Run promtool; fails with what it says, whether it is an error or a complaint."""
    ran = subprocess.run(
        [need("promtool"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=cwd,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
