"""Runs the page's blocks as they stand, with nothing but their import lines changed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.requirements.page import BLOCKS, MODULES
from tests.waiting import PATIENCE

__all__ = ["clean_environment", "execute", "python_block", "run_bash", "run_python"]

_IMPORT = re.compile(rf"^(from|import) ({'|'.join(MODULES)})\b", re.MULTILINE)

# What the page's variables and OpenTelemetry's own begin with.
_PREFIXES = ("CANARY_", "SLO_", "OTEL_")


def python_block(name: str) -> str:
    """The code of a block; the modules that it imports from are canario's."""
    return _IMPORT.sub(lambda found: f"{found[1]} {MODULES[found[2]]}", BLOCKS[name].text)


def execute(code: str, **names: Any) -> dict[str, Any]:
    """Run code that finds `names` already there. Returns all the names there are after it."""
    there = {"__name__": "page", **names}
    exec(compile(code, "page", "exec"), there)
    return there


def clean_environment(**variables: str) -> dict[str, str]:
    """This process's environment without any variable that the page knows, and with these."""
    own = {key: value for key, value in os.environ.items() if not key.startswith(_PREFIXES)}
    # A shell's `python` is this one, whether or not its environment is activated.
    path = os.pathsep.join((str(Path(sys.executable).parent), own.get("PATH", os.defpath)))
    return {**own, "PATH": path, **variables}


def run_python(code: str, cwd: Path, **variables: str) -> str:
    """What a process of its own prints."""
    return _run([sys.executable, "-W", "error", "-c", code], cwd, variables)


def run_bash(script: str, cwd: Path, **variables: str) -> str:
    """What a shell prints."""
    return _run(["bash", "-eu", "-c", script], cwd, variables)


def _run(command: list[str], cwd: Path, variables: dict[str, str]) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
