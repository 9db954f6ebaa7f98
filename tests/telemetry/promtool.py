"""Prometheus' own tools. A test that needs them fails where they are missing; it does not skip."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def prometheus_tool(name: str) -> str:
    """The path of `promtool` or `prometheus`."""
    path = shutil.which(name)
    assert path, f"{name} is missing; it comes with Debian's package prometheus"
    return path


def promtool(*arguments: str, stdin: str = "", cwd: Path | None = None) -> str:
    """Run promtool; fails with what it says, whether it is an error or a complaint."""
    ran = subprocess.run(
        [prometheus_tool("promtool"), *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=cwd,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr
