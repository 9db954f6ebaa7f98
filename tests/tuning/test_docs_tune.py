"""What the page about tuning shows is executed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "tune.md").read_text(encoding="utf-8")


def after(mark: str) -> list[str]:
    """The fenced blocks that stand after a mark."""
    return re.findall(rf"<!-- {re.escape(mark)} -->\n```\w*\n(.*?)```", PAGE, re.DOTALL)


def lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("docs")
    for name in ("plan.toml", "subtle.toml"):
        (content,) = after(name)
        (made / name).write_text(content, encoding="utf-8")
    return made


def canario(command: str, folder: Path, code: int) -> str:
    program, *arguments = command.split()
    assert program == "canario"
    done = subprocess.run(
        [sys.executable, "-m", "canario", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_the_first_command_prints_what_is_shown(folder: Path) -> None:
    (command,) = after("run")
    (shown,) = after("printed")
    assert lines(canario(command, folder, 0)) == lines(shown)
    assert "[deployment.judge]" in (folder / "tuned.toml").read_text(encoding="utf-8")


def test_what_cannot_be_had_is_said_as_shown(folder: Path) -> None:
    (command,) = after("run: 1")
    (shown,) = after("part")
    assert "\n".join(lines(shown)) in "\n".join(lines(canario(command, folder, 1)))


def test_the_python_prints_what_is_shown(folder: Path) -> None:
    found = re.findall(r"```python\n(.*?)```\n\n```\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 2
    for number, (code, shown) in enumerate(found):
        script = folder / f"shown_{number}.py"
        script.write_text(code, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, str(script)], cwd=folder, capture_output=True, text=True, check=True
        )
        assert done.stdout == shown


def test_every_option_is_on_the_page() -> None:
    from canario_sim.cli.tune import tune

    options = {name for option in tune.params for name in option.opts if name.startswith("--")}
    general = {"--confidence", "--replications"}
    assert {name for name in options - general if name not in PAGE} == set()
