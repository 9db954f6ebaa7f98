"""Nothing of the page is left out: every item has a test that can fail, or says why not here."""

from __future__ import annotations

import hashlib
import importlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from tests.requirements.page import BLOCKS, COMPONENTS, FLOWS, ITEMS, VARIABLES, items
from tests.requirements.proofs import proven_by, proves
from tests.requirements.running import python_block

# Of the ten blocks' texts, one after the other, as the user wrote them.
DIGEST = "6c083937fa81509c0d8b707f26e5aa8522d78811db1cabbad913e9d010f808ed"

MODULES = sorted(path.stem for path in Path(__file__).parent.glob("test_*.py"))


def test_every_item_of_the_page_is_proven_by_a_test() -> None:
    proofs: defaultdict[str, list[str]] = defaultdict(list)
    for name in MODULES:
        for item, test in proven_by(importlib.import_module(f"tests.requirements.{name}")):
            assert test.startswith("test_"), f"pytest does not run {test}"
            proofs[item].append(test)
    ours = {item.id for item in ITEMS.values() if item.elsewhere is None}
    assert ours - set(proofs) == set()


def test_the_list_has_as_many_items_as_the_page() -> None:
    assert Counter(item.kind for item in ITEMS.values()) == {
        "block": 10,  # 4 of Python, 4 of a shell, 2 of JSON; and three drawings
        "diagram": 3,
        "call": 3,
        "limit": 12,
        "alert": 6,
        "phase": 12,
        "checklist": 12,
        "trouble": 12,
        "cost": 9,
        "advice": 6,
        "overview": 4,
        "reference": 3,
        "flow": 28,
        "component": 11,
        "variable": 9,
    }
    assert {group: len(names) for group, names in FLOWS.items()} == {
        "Document Processing": 5,
        "Evidence Extraction": 8,
        "Evaluation": 5,
        "Validation": 5,
        "Infrastructure": 5,
    }
    assert len(set(COMPONENTS)) == 11
    assert len(VARIABLES) == 9


def test_the_blocks_are_those_of_the_list() -> None:
    commands = {"tests.unit", "tests.integration", "tests.example"}
    assert {f"block.{name}" for name in BLOCKS} == set(items("block"))
    assert commands == {name for name in BLOCKS if ITEMS[f"block.{name}"].elsewhere}
    languages = Counter(block.language for block in BLOCKS.values())
    assert languages == {"python": 4, "bash": 4, "json": 2}


def test_no_formatter_has_touched_the_blocks() -> None:
    texts = "".join(block.text for block in BLOCKS.values())
    assert hashlib.sha256(texts.encode()).hexdigest() == DIGEST


def test_what_is_proven_elsewhere_says_where() -> None:
    outside = [item for item in ITEMS.values() if item.elsewhere is not None]
    assert {item.kind for item in outside} == {"block", "trouble", "cost", "reference"}
    assert len(outside) == 15


def test_an_item_that_the_page_does_not_have_cannot_be_proven() -> None:
    with pytest.raises(KeyError):
        proves("block.unheard_of")
    with pytest.raises(KeyError):
        proves("cost.slo.cpu")


@pytest.mark.parametrize("name", [name for name in BLOCKS if BLOCKS[name].language == "python"])
def test_only_import_lines_of_the_code_are_changed(name: str) -> None:
    lines = zip(BLOCKS[name].text.splitlines(), python_block(name).splitlines(), strict=True)
    changed = [(before, after) for before, after in lines if before != after]
    assert len(changed) == 1
    for before, after in changed:
        assert before.split()[0] == after.split()[0] == "from"
        assert before.split()[2:] == after.split()[2:]
