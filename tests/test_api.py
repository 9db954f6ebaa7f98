"""`docs/api.md` says what is public: the code agrees, and what is written for users keeps to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from canario import CanaryDeploymentController

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
PUBLIC, PROVISIONAL = PAGE.split("## Public\n")[1].split("## Provisional\n")


def listed(part: str) -> dict[str, list[str]]:
    """For each module of a part of the page, the names that it lists."""
    found = re.findall(r"^### `([\w.]+)`\n\n.*\n\n((?:`.*\n)+)", part, re.MULTILINE)
    assert len(found) == part.count("### ")
    return {module: re.findall(r"`(\w+)`", names) for module, names in found}


LISTED = listed(PUBLIC) | listed(PROVISIONAL)


@pytest.mark.parametrize("module", listed(PUBLIC))
def test_what_a_public_module_exports_is_what_the_page_lists(module: str) -> None:
    assert set(LISTED[module]) == set(import_module(module).__all__)
    assert f"\n::: {module}\n" in PUBLIC


@pytest.mark.parametrize("module", listed(PROVISIONAL))
def test_what_is_provisional_exists(module: str) -> None:
    assert set(LISTED[module]) <= set(import_module(module).__all__)


def test_the_members_that_are_canario_s_own_are_there_and_left_out() -> None:
    told = PAGE.split("`CanaryDeploymentController`, which other rooms need:")[1].split(".\n")[0]
    own = re.findall(r"`(\w+)`", told)
    assert f'"!^({"|".join(own)})$"' in PUBLIC
    public = {name for name in dir(CanaryDeploymentController) if not name.startswith("_")}
    # These are attributes of each.
    attributes = {"next_look", "notices", "presence", "recording", "rollout", "withdrawn"}
    assert set(own) - attributes < public


def imported(code: str) -> Iterator[tuple[str, str | None]]:
    """Each module of canario's that a code imports from, with the name."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)


def codes() -> Iterator[tuple[Path, str]]:
    """Whatever is written as users write it."""
    for folder in ("examples", "tests/requirements"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            yield path, path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        for code in re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            yield path, code


def test_examples_docs_and_requirements_import_only_what_is_listed() -> None:
    seen = 0
    for path, code in codes():
        for module, name in imported(code):
            if module.split(".")[0] in ("canario", "canario_sim"):
                seen += 1
                known = name is None or name in LISTED.get(module, ())
                whole = module if name is None else f"{module}.{name}"
                assert known or whole in LISTED, f"{path.relative_to(ROOT)}: {whole}"
                assert module in LISTED, f"{path.relative_to(ROOT)}: {module}"
    assert seen > 100
