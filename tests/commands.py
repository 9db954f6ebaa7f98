"""`canario` as people and programs call it: what it prints, and the code it ends with."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

from tests.waiting import PATIENCE

from canario.cli.main import run

__all__ = ["call", "process"]


def call(
    *arguments: str | Path, folder: Path | None = None, environ: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run the command in this process.

    One of its own takes half a second until it begins: `process` is for tests that ask something of
    it, such as its imports, its hashes or that it starts at all.
    """
    command = ["canario", *map(str, arguments)]
    written = io.BytesIO(), io.BytesIO()
    out, err = (io.TextIOWrapper(raw, "utf-8", write_through=True) for raw in written)
    with ExitStack() as around:
        around.enter_context(mock.patch.object(sys, "argv", command))
        around.enter_context(mock.patch.dict(os.environ, {"COLUMNS": "80", **environ}))
        around.enter_context(chdir(folder or Path.cwd()))
        around.enter_context(redirect_stdout(out))
        around.enter_context(redirect_stderr(err))
        try:
            run()
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int)
    return subprocess.CompletedProcess(command, code, *(raw.getvalue().decode() for raw in written))


def process(
    *arguments: str | Path, folder: Path | None = None, environ: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "canario", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, **environ},
        timeout=PATIENCE,
        check=False,
    )
