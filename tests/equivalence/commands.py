"""Commands as a user gives them, and what of their output is the same in every run."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

__all__ = ["ROOT", "Shell", "contents"]

ROOT = Path(__file__).parents[2]

# What would change a plan, a report's look or where spans go.
_OURS = ("CANARIO", "CANARY", "SLO_", "OTEL_", "FORCE_COLOR", "CLICOLOR", "COLORTERM")

# A command that hangs is a difference, not a reason to wait for ever.
_LONGEST_SECONDS = 1800

_BINARY = frozenset({".png", ".parquet", ".sqlite", ".tape"})


class Shell:
    """A folder in which commands are run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ = {
            name: value for name, value in os.environ.items() if not name.startswith(_OURS)
        } | {
            "COLUMNS": "100",
            "LC_ALL": "C.UTF-8",
            "NO_COLOR": "1",
            "TERM": "dumb",
            "TZ": "UTC",
            "PYTHONPATH": os.pathsep.join([p for p in sys.path if p and Path(p).is_absolute()]),
        }
        self._version = self._ask_version()

    def scenarios(self) -> None:
        """Have the library's scenarios in the folder."""
        shutil.copytree(ROOT / "scenarios", self.folder / "scenarios")

    def write(self, name: str, text: str | bytes) -> str:
        """A file in the folder; gives its name."""
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(text if isinstance(text, bytes) else text.encode())
        return name

    def run(self, *arguments: str, also: Callable[[str], str] = str) -> str:
        """What a command printed on both streams, and its exit code; `also` makes it the same in
        every run where more than a path, a version or a time of day differs."""
        done = self._run(*arguments)
        out, err = (
            also(self.same(stream.decode("utf-8", "surrogateescape")))
            for stream in (done.stdout, done.stderr)
        )
        return (
            f"$ canario {' '.join(arguments)}\n{out}\nstderr:\n{err}\nexit code {done.returncode}\n"
        )

    def printed(self, *arguments: str) -> tuple[bytes, str]:
        """What a command printed on stdout, as it is; then stderr and exit code as text."""
        done = self._run(*arguments)
        err = self.same(done.stderr.decode("utf-8", "surrogateescape"))
        return done.stdout, f"stderr:\n{err}\nexit code {done.returncode}\n"

    def same(self, text: str) -> str:
        """The text without where this tree and folder lie, and without the version."""
        text = text.replace(str(self.folder), "FOLDER").replace(str(ROOT), "ROOT")
        return self._version.sub("VERSION", text)

    def files(self, folder: str, also: Callable[[str], str] = str) -> Iterator[tuple[str, str]]:
        """The files below a folder by their names, and their contents."""
        root = self.folder / folder
        for path in sorted(root.rglob("*")):
            if path.is_file():
                yield path.relative_to(root).as_posix(), also(self.same(contents(path)))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "canario", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )

    def _ask_version(self) -> re.Pattern[str]:
        words = self._run("--version").stdout.decode().split()
        version = words[-1] if words else "there is none"
        return re.compile(rf"(?<![\w.]){re.escape(version)}(?![\w.])")


def contents(path: Path) -> str:
    """A file's text; of what is none, its digest."""
    data = path.read_bytes()
    if path.suffix in _BINARY:
        return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}\n"
    return data.decode("utf-8", "surrogateescape")
