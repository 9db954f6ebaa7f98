# ruff: noqa: T201, ARG001 - a script: its output is what it is for, and apps have arguments.
"""The house in numbers: `python .ci/house.py`, from the root, in the development environment.

Files and lines of each package, import circles, loose files, names that stand twice, comments,
long branches, and the rooms that one request and one rehearsal pass through.
"""

from __future__ import annotations

import ast
import asyncio
import io
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import grimp

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"canario": ROOT / "middleware/canario", "canario_sim": ROOT / "simulator/canario_sim"}


def main() -> None:
    """Print the table."""
    rows: list[tuple[Any, ...]] = [("", *PACKAGES, "tests")]
    files = {name: sorted(folder.rglob("*.py")) for name, folder in PACKAGES.items()}
    files["tests"] = sorted((ROOT / "tests").rglob("*.py"))
    texts = {name: [path.read_text(encoding="utf-8") for path in of] for name, of in files.items()}
    lines = {name: sum(text.count("\n") for text in of) for name, of in texts.items()}
    rows.append(("files", *(len(of) for of in files.values())))
    rows.append(("lines", *lines.values()))
    rows.append(("loose files", *(len(list(folder.glob("*.py"))) for folder in PACKAGES.values())))
    rows.append(("names that stand twice", *(_twice(files[name]) for name in PACKAGES)))
    rows.append(("modules in circles of imports", *(_in_circles(name) for name in PACKAGES)))
    for what, count in (("comments", _comments), ("docstring lines", _docstring_lines)):
        per = (100 * sum(map(count, texts[name])) / lines[name] for name in files)
        rows.append((f"{what} per 100 lines", *(f"{each:.1f}" for each in per)))
    rows.append(("functions above complexity 10", *map(_complex, PACKAGES.values())))
    rows.append(("calls, rooms of one request", *_passed(_request)))
    rows.append(("calls, rooms of one rehearsal", *_passed(_rehearsal)))
    width = max(len(row[0]) for row in rows)
    for name, *values in rows:
        print(f"{name:{width}}", *(f"{value!s:>12}" for value in values))


def _twice(paths: list[Path]) -> int:
    names = Counter(path.stem for path in paths if path.stem != "__init__")
    return sum(times > 1 for times in names.values())


def _in_circles(package: str) -> int:
    """Modules from which imports, those for types and late ones too, lead back to themselves."""
    graph = grimp.build_graph(package, cache_dir=None)
    found = 0
    for module in graph.modules:
        above = graph.find_upstream_modules(module)
        found += any(module in graph.find_modules_directly_imported_by(other) for other in above)
    return found


def _comments(text: str) -> int:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return sum(token.type == tokenize.COMMENT for token in tokens)


def _docstring_lines(text: str) -> int:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, kinds))
    return sum(
        (ast.get_docstring(node, clean=False) or "\0").count("\n") + 1
        for node in nodes
        if ast.get_docstring(node) is not None
    )


def _complex(folder: Path) -> int:
    ruff = ("check", "--select", "C901", "--config", "lint.mccabe.max-complexity=10")
    command = (sys.executable, "-m", "ruff", *ruff, "--output-format", "concise", str(folder))
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return told.count("C901")


def _passed(work: Callable[[], None]) -> Iterator[str]:
    """Calls of each package's functions while `work` runs a second time, and their rooms."""
    work()
    calls: Counter[str] = Counter()

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            calls[frame.f_code.co_filename] += 1

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    for folder in PACKAGES.values():
        own = {name: times for name, times in calls.items() if name.startswith(f"{folder}/")}
        rooms = {Path(name).relative_to(folder).parts[0] for name in own}
        yield f"{sum(own.values())}, {len(rooms)}"


def _request() -> None:
    """One request through the ASGI middleware, on a release that runs."""
    asyncio.run(_served())


_APP: list[Any] = []


async def _served() -> None:
    from canario import create_canary_controller
    from canario.asgi import CanaryMiddleware
    from canario.testing import ManualClock

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})

    async def receive() -> Any:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        del message

    if not _APP:
        controller = create_canary_controller("house", environ={}, clock=ManualClock())
        controller.start()
        _APP.append(CanaryMiddleware(app, controller))
    headers = [(b"x-user-id", b"ann")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "scheme": "http"}
    await _APP[0](scope, receive, send)


def _rehearsal() -> None:
    """One rehearsal of a small release."""
    import canario_sim

    canario_sim.run(canario_sim.load_scenario(ROOT / "scenarios/healthy.toml"), seed=1)


if __name__ == "__main__":
    main()
