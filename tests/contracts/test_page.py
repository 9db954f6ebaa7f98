"""The page on contracts says what is so: its blocks are executed, in their order."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stamina

PAGE = Path(__file__).parents[2] / "docs" / "contracts.md"


@pytest.fixture
def _no_hooks() -> Iterator[None]:
    yield
    stamina.instrumentation.set_on_retry_hooks(None)


@pytest.mark.usefixtures("_no_hooks")
def test_the_examples_run() -> None:
    blocks = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert len(blocks) == 7
    names: dict[str, Any] = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, str(PAGE), "exec", dont_inherit=True), names)
    assert names["sums_up"]("/", 200, [], b"score").rule == "three"
    assert names["check_rights"]({"rights": [{"number": 1}]}) is None
