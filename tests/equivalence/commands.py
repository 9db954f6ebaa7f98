"""Commands as a user gives them, and what of their output is the same in every run."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

__all__ = ["ROOT", "Shell", "contents"]

ROOT = Path(__file__).parents[2]

# What would change a plan, a report's look or where spans go.
_OURS = ("CANARIO", "CANARY", "SLO_", "OTEL_", "FORCE_COLOR", "CLICOLOR", "COLORTERM")

# A command that hangs is a difference, not a reason to wait for ever.
_LONGEST_SECONDS = 1800

_BINARY = frozenset({".png", ".parquet", ".sqlite", ".tape"})


class _Done(NamedTuple):
    """A command that has ended."""

    args: tuple[str, ...]
    returncode: int
    stdout: bytes
    stderr: bytes


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
        self._warm = False

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
        return self._told(self._run(*arguments), also)

    def ask(self, *arguments: str, also: Callable[[str], str] = str) -> str:
        """`run` for commands that do little, in a fraction of the time: in a fork of this process,
        which has imported already what every command imports."""
        return self._told(self._fork(*arguments), also)

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

    def _told(self, done: _Done, also: Callable[[str], str]) -> str:
        out, err = (
            also(self.same(stream.decode("utf-8", "surrogateescape")))
            for stream in (done.stdout, done.stderr)
        )
        said = f"{out}\nstderr:\n{err}\nexit code {done.returncode}\n"
        return f"$ canario {' '.join(done.args)}\n{said}"

    def _fork(self, *arguments: str) -> _Done:
        if not self._warm:
            with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
                _main("--help")
            self._warm = True
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            child = os.fork()
            if child == 0:
                self._be_a_command(out.fileno(), err.fileno(), arguments)
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            for stream in (out, err):
                stream.seek(0)
            return _Done(arguments, code, out.read(), err.read())

    def _be_a_command(self, out: int, err: int, arguments: tuple[str, ...]) -> NoReturn:
        code: object = 0
        try:
            os.chdir(self.folder)
            os.environ.clear()
            os.environ.update(self.environ)
            time.tzset()
            for number, own in ((os.open(os.devnull, os.O_RDONLY), 0), (out, 1), (err, 2)):
                os.dup2(number, own)
            _main(*arguments)
        except SystemExit as ended:
            code = ended.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code if isinstance(code, int) else 1)

    def _run(self, *arguments: str) -> _Done:
        done = subprocess.run(
            [sys.executable, "-m", "canario", *arguments],
            cwd=self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_LONGEST_SECONDS,
            check=False,
        )
        return _Done(arguments, done.returncode, done.stdout, done.stderr)

    def _ask_version(self) -> re.Pattern[str]:
        words = self._run("--version").stdout.decode().split()
        version = words[-1] if words else "there is none"
        return re.compile(rf"(?<![\w.]){re.escape(version)}(?![\w.])")


def _main(*arguments: str) -> None:
    from canario.__main__ import main

    sys.argv = ["canario", *arguments]
    main()


def contents(path: Path) -> str:
    """A file's text; of what is none, its digest."""
    data = path.read_bytes()
    if path.suffix in _BINARY:
        return f"{len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}\n"
    return data.decode("utf-8", "surrogateescape")
