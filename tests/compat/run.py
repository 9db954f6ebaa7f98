# ruff: noqa: T201 - a script: its output is what it is for.
"""Proves that the middleware changes nothing: other projects' test suites pass the same behind it.

Fetches the source distributions of Starlette, Falcon, Flask, Bottle and Django, runs their test
suites (of Django's the `asgi` tests) as they are ("bare"), then with every app wrapped in
`CanaryMiddleware`, ASGI's or WSGI's, and compares test by test. The wrapped runs are "one-app" (one
app serves both arms) and "two-arms" (half of the apps' requests go to a canary, which is the same
app again). Two suites run side by side.

Exit status: 0 when every test comes out the same, 1 when one does not or when requests went past
the middleware or were not delivered exactly once, 2 when a suite could not be run to its end or
does not pass bare what it is known to pass.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent

# What the files beside this one are importable as in a run.
PLUGINS = "canario_compat"

VARIANTS = ("one-app", "two-arms")

# Far above what a run takes on a busy machine: only a suite that hangs gets there.
TIMEOUT_SECONDS = 1200

SIDE_BY_SIDE = 2

# One test, run on two event loops, is skipped by Starlette from Python 3.14 on.
STARLETTE_PASSES = 1414 - (2 if sys.version_info >= (3, 14) else 0)


class CannotRunError(Exception):
    """Something that leaves the question unanswered; the message says what."""


@dataclass(frozen=True)
class Suite:
    """A test suite, and what it takes to run it."""

    name: str
    project: str
    version: str
    extras: str
    requirements: tuple[str, ...]
    folder: str
    bare: tuple[str, ...]
    wrapped: tuple[str, ...]
    passes: int
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def sdist(self) -> str:
        """The name of its source distribution, without `.tar.gz`."""
        return f"{self.project}-{self.version}"


_PYTEST = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", f"{PLUGINS}.record_pytest")
_RUNTESTS = ("-m", f"{PLUGINS}.run_django", "runtests.py", "--verbosity=2", "--parallel=1", "asgi")
_WRAP_CLASSES = ("-p", f"{PLUGINS}.wrap_classes")

# Falcon's tests of what serves no request, and of servers in processes of their own.
_FALCON = (
    # A test that replaces `os.fstat` would have pytest's capture of descriptors fail.
    "--capture=sys",
    *("-m", "not slow"),
    *(
        f"--ignore=tests/{path}"
        for path in (
            "asgi/test_asgi_servers.py",
            "asgi/test_buffered_reader.py",
            "test_buffered_reader.py",
            "test_cmd_inspect_app.py",
            "test_compiled_router.py",
            "test_cython.py",
            "test_default_router.py",
            "test_examples.py",
            "test_inspect.py",
            "test_uri_converters.py",
            "test_uri_templates.py",
            "test_utils.py",
            "test_wsgi_servers.py",
        )
    ),
    "tests",
)

# The longest first, so that two that run side by side end at about the same time.
SUITES = (
    Suite(
        name="starlette",
        project="starlette",
        version="1.10.0",
        extras="[full]",
        # The test tools of its `dev` group; the others there check style, types and speed.
        requirements=("httpx2[zstd]", "blockbuster", "opentelemetry-sdk", "pytest==9.2.0", "trio"),
        folder=".",
        bare=_PYTEST,
        wrapped=(*_PYTEST, "-p", f"{PLUGINS}.wrap_starlette"),
        passes=STARLETTE_PASSES,
    ),
    Suite(
        name="falcon",
        project="falcon",
        version="4.4.0",
        extras="",
        requirements=("pytest==9.2.0",),
        folder=".",
        bare=(*_PYTEST, *_FALCON),
        wrapped=(*_PYTEST, *_WRAP_CLASSES, *_FALCON),
        passes=2752,
        environment={
            "CANARIO_COMPAT_CLASSES": "falcon:App falcon.asgi:App",
            "FALCON_DISABLE_CYTHON": "Y",
        },
    ),
    Suite(
        name="flask",
        project="flask",
        version="3.1.3",
        extras="[async,dotenv]",
        # It uses what pytest 9 has no more.
        requirements=("pytest==8.4.2",),
        folder=".",
        bare=_PYTEST,
        wrapped=(*_PYTEST, *_WRAP_CLASSES),
        passes=488,
        environment={"CANARIO_COMPAT_CLASSES": "flask:Flask"},
    ),
    Suite(
        name="bottle",
        project="bottle",
        version="0.13.4",
        extras="",
        requirements=("pytest==9.2.0",),
        folder=".",
        bare=(*_PYTEST, "test"),
        wrapped=(*_PYTEST, *_WRAP_CLASSES, "test"),
        passes=359,
        environment={"CANARIO_COMPAT_CLASSES": "bottle:Bottle"},
    ),
    Suite(
        name="django",
        project="django",
        version="5.2.19",
        extras="",
        requirements=(),
        folder="tests",
        bare=_RUNTESTS,
        wrapped=_RUNTESTS,
        passes=35,
    ),
)


@dataclass
class Run:
    """What one run of a suite gave."""

    suite: str
    variant: str
    seconds: float
    outcomes: dict[str, str]
    details: dict[str, str]
    counts: dict[str, int]
    differing: list[str] = field(default_factory=list)

    def count(self, outcome: str) -> int:
        """The number of tests with this outcome."""
        return list(self.outcomes.values()).count(outcome)

    def summary(self) -> str:
        """Its outcomes in words."""
        counts = Counter(self.outcomes.values())
        return ", ".join(f"{number:,} {outcome}" for outcome, number in counts.most_common())


def main() -> int:
    """Run what the command line asks for; returns the exit status."""
    arguments = _parse()
    try:
        with _workspace(arguments.keep) as work:
            tools = _make_environment(work / "tools")
            canario = _build(arguments.canario, tools, work)

            def check(suite: Suite) -> list[Run]:
                return list(check_suite(suite, work, tools, arguments.cache, canario))

            wanted = [suite for suite in SUITES if arguments.suite in (suite.name, "all")]
            with ThreadPoolExecutor(SIDE_BY_SIDE) as executor:
                runs = [run for found in executor.map(check, wanted) for run in found]
    except (CannotRunError, OSError, tarfile.TarError) as error:
        print(f"\ncould not run: {error}", file=sys.stderr)
        return 2
    return report(runs)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [suite.name for suite in SUITES]
    parser.add_argument("--suite", choices=[*names, "all"], default="all", help="default: all")
    parser.add_argument(
        "--canario",
        default=str(REPOSITORY),
        metavar="WHAT",
        help="checkout, wheel or requirement of canario to install (default: this checkout)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep the source distributions here for next time"
    )
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work in this folder and leave the logs there"
    )
    return parser.parse_args()


@contextlib.contextmanager
def _workspace(keep: Path | None) -> Iterator[Path]:
    """An empty folder with the plugins in it, below `keep` if that is given."""
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="canario-compat-", dir=keep)).resolve()
    try:
        # A copy: their folder would otherwise be importable under a name of its own.
        shutil.copytree(HERE, work / "plugins" / PLUGINS, ignore=_not_a_plugin)
        yield work
    finally:
        if keep is None:
            shutil.rmtree(work, ignore_errors=True)
        else:
            print(f"logs and environments: {work}")


def _not_a_plugin(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".py") or name == Path(__file__).name]


def check_suite(
    suite: Suite, work: Path, tools: Path, cache: Path | None, canario: str
) -> Iterator[Run]:
    """Run `suite` bare and in each variant. Raises `CannotRunError`.

    Args:
        suite: What to run.
        work: Where its folder is made.
        tools: A Python that has pip.
        cache: Where source distributions are kept.
        canario: What to install.
    """
    base = work / suite.name
    log = base / "environment.log"
    _say(suite, f"source distribution {suite.sdist}")
    sdist = _fetch(suite, tools, cache or base / "download", log)
    _say(suite, "installation")
    python = _make_environment(base / "environment", "--without-pip")
    _install(suite, [str(tools), "-m", "pip", "--python", str(python)], sdist, canario, log)
    _unpack(sdist, base)

    bare = _run(suite, base, python, None)
    yield bare
    if bare.count("passed") != suite.passes:
        # The caller has nothing to compare with, but should see what went wrong.
        fine = ("passed", "xfailed")
        _show(bare, [test for test, outcome in bare.outcomes.items() if outcome not in fine])
        raise CannotRunError(
            f"{suite.name} passes {bare.count('passed')} tests bare, not {suite.passes}"
        )
    for variant in VARIANTS:
        wrapped = _run(suite, base, python, variant)
        tests = sorted(bare.outcomes.keys() | wrapped.outcomes.keys())
        wrapped.differing = [
            test for test in tests if bare.outcomes.get(test) != wrapped.outcomes.get(test)
        ]
        _show(wrapped, wrapped.differing, bare)
        yield wrapped


def _say(suite: Suite, what: str) -> None:
    print(f"{suite.name}: {what}", flush=True)


def _make_environment(folder: Path, *options: str) -> Path:
    """Make a virtual environment. Returns its Python."""
    _command([sys.executable, "-m", "venv", *options, str(folder)], folder.with_suffix(".log"))
    scripts = "Scripts" if os.name == "nt" else "bin"
    return folder / scripts / "python"


def _build(canario: str, tools: Path, work: Path) -> str:
    """The wheel of a checkout, for all suites to install; another requirement is its own."""
    if not Path(canario).is_dir():
        return canario
    folder = work / "wheel"
    options = ["--no-deps", "--wheel-dir", str(folder)]
    _command([str(tools), "-m", "pip", "wheel", *options, canario], work / "wheel.log")
    (wheel,) = folder.glob("*.whl")
    return str(wheel)


def _fetch(suite: Suite, tools: Path, folder: Path, log: Path) -> Path:
    """The source distribution in `folder`, downloaded unless it is there."""
    sdist = folder / f"{suite.sdist}.tar.gz"
    if not sdist.exists():
        # Only the project itself has to come as source: pip builds its metadata, and what it
        # needs for that may be wheels.
        options = ["--no-deps", "--no-binary", suite.project, "--dest", str(folder)]
        requirement = f"{suite.project}=={suite.version}"
        _command([str(tools), "-m", "pip", "download", *options, requirement], log)
    if not sdist.exists():
        found = ", ".join(path.name for path in folder.glob("*")) or "nothing"
        raise CannotRunError(f"pip downloaded {found}, not {sdist.name}")
    return sdist


def _unpack(sdist: Path, folder: Path) -> None:
    with tarfile.open(sdist) as archive:
        # Debian 12's Python 3.11.2 has no filters yet.
        if hasattr(tarfile, "data_filter"):
            archive.extraction_filter = tarfile.data_filter
        archive.extractall(folder)


def _install(suite: Suite, pip: list[str], sdist: Path, canario: str, log: Path) -> None:
    requirements = [f"{suite.project}{suite.extras} @ {sdist.resolve().as_uri()}", canario]
    constraints = ["--constraint", str(HERE / "constraints.txt")]
    install = [*pip, "install", *constraints, *suite.requirements, *requirements]
    _command(install, log, {**os.environ, **suite.environment})


def _command(command: list[str], log: Path, environ: Mapping[str, str] | None = None) -> None:
    """Run a command that has to succeed; its output goes to the end of `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        status = subprocess.run(
            command, stdout=output, stderr=subprocess.STDOUT, env=environ
        ).returncode
    if status:
        raise CannotRunError(f"{' '.join(command)} failed with {status}:\n{_tail(log)}")


def _run(suite: Suite, base: Path, python: Path, variant: str | None) -> Run:
    """Run the suite, behind the middleware if a variant is given."""
    out = base / (variant or "bare")
    (out / "tmp").mkdir(parents=True)
    log = out / "log.txt"
    arguments = suite.bare if variant is None else suite.wrapped
    begun = time.monotonic()
    with log.open("wb") as output:
        try:
            status = subprocess.run(
                [*_without_privileges(out), str(python), *arguments],
                cwd=base / suite.sdist / suite.folder,
                env=_environment(suite, base.parent / "plugins", out, variant),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_SECONDS,
            ).returncode
        except subprocess.TimeoutExpired:
            raise CannotRunError(f"{suite.name} {out.name} hangs:\n{_tail(log)}") from None
    seconds = time.monotonic() - begun
    if not (out / "outcomes.json").exists():
        raise CannotRunError(f"{suite.name} {out.name} ended with {status}:\n{_tail(log)}")
    run = _read_run(suite, out, seconds)
    _say(suite, f"{out.name}: {run.summary()} in {seconds:.0f} s")
    return run


def _read_run(suite: Suite, out: Path, seconds: float) -> Run:
    tests = json.loads((out / "outcomes.json").read_text(encoding="utf-8"))
    counts = out / "counts.json"
    return Run(
        suite=suite.name,
        variant=out.name,
        seconds=seconds,
        outcomes={test: result["outcome"] for test, result in tests.items()},
        details={test: result["detail"] for test, result in tests.items()},
        counts=json.loads(counts.read_text(encoding="utf-8")) if counts.exists() else {},
    )


def _environment(suite: Suite, plugins: Path, out: Path, variant: str | None) -> dict[str, str]:
    """The caller's environment without what would change the suites' behaviour."""
    prefixes = ("CANARIO", "DJANGO", "OTEL", "PYTEST", "PYTHON")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(prefixes)
    }
    environment |= {
        "CANARIO_COMPAT_OUT": str(out),
        "PYTHONPATH": str(plugins),
        "TMPDIR": str(out / "tmp"),
        **suite.environment,
    }
    if variant is not None:
        environment["CANARIO_COMPAT_VARIANT"] = variant
    return environment


def _without_privileges(folder: Path) -> list[str]:
    """The command that starts another one without root's right to read every file.

    Two of Starlette's tests take a folder's permissions away and expect an error. Another user
    would meet it too, but might not reach the Python or the checkout that root uses.
    """
    drop = "-dac_override,-dac_read_search"
    setpriv = ["setpriv", f"--bounding-set={drop}", f"--inh-caps={drop}"]
    locked = folder / "locked"
    locked.touch(mode=0o000)
    try:
        for command in ([], setpriv):
            if _is_refused([*command, sys.executable, "-c", f"open({str(locked)!r})"]):
                return command
    finally:
        locked.unlink()
    raise CannotRunError("as root, setpriv (util-linux) is needed to give root's rights up")


def _is_refused(command: list[str]) -> bool:
    """True when the command runs and is refused what it wants."""
    if shutil.which(command[0]) is None:
        return False
    result = subprocess.run(command, capture_output=True)
    return b"PermissionError" in result.stderr


def _tail(log: Path, lines: int = 30) -> str:
    text = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in text[-lines:])


def _show(run: Run, tests: list[str], bare: Run | None = None, limit: int = 40) -> None:
    """Print what became of `tests`, with the end of the traceback of each."""
    for test in tests[:limit]:
        outcome = run.outcomes.get(test, "not run")
        was = f"{bare.outcomes.get(test, 'not run')} bare, " if bare else ""
        print(f"  {test}: {was}{outcome} {run.variant}")
        for line in run.details.get(test, "").splitlines()[-12:]:
            print(f"      {line}")
    if len(tests) > limit:
        print(f"  … and {len(tests) - limit:,} more")


def faults(run: Run) -> list[str]:
    """What speaks against `run`, which was wrapped."""
    entered, reached = (run.counts.get(f"{how} request", 0) for how in ("entered", "reached"))
    found = []
    if run.differing:
        found.append(f"{len(run.differing):,} tests come out differently")
    if not entered:
        found.append("no request passed through the middleware")
    if entered != reached:
        found.append(f"{entered:,} requests entered the middleware, {reached:,} reached the app")
    if not (run.counts.get("baseline") and run.counts.get("canary")):
        found.append("one arm got no request")
    if run.counts.get("faults"):
        found.append(f"canario failed {run.counts['faults']:,} times, and let the app serve alone")
    return [f"{run.suite} {run.variant}: {fault}" for fault in found]


def report(runs: list[Run]) -> int:
    """Print the closing table and the verdict; returns the exit status."""
    line = "{:<10} {:<9} {:>7} {:>8} {:>6} {:>9} {:>5} {:>9} {:>9} {:>8} {:>8}"
    heads = "suite run passed xfailed other differing apps lifespans requests baseline canary"
    print("\n" + line.format(*heads.split()))
    for run in runs:
        passed, xfailed = run.count("passed"), run.count("xfailed")
        tests = [passed, xfailed, len(run.outcomes) - passed - xfailed, len(run.differing)]
        names = ("apps", "entered lifespan", "entered request", "baseline", "canary")
        through = [run.counts.get(name, 0) for name in names]
        print(line.format(run.suite, run.variant, *(f"{n:,}" for n in (*tests, *through))))
    found = [fault for run in runs if run.variant != "bare" for fault in faults(run)]
    print("\n" + "\n".join(found or ["Every test comes out the same behind the middleware."]))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
