"""What the page about request spans shows is executed, and its tables are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from canario.exchange import Reason

PAGE = (Path(__file__).parents[2] / "docs" / "request-spans.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"<!-- run -->\s*```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", SHOWN)
def test_what_the_page_shows_runs(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_shows_something() -> None:
    assert len(SHOWN) == 2


def test_every_reason_is_explained() -> None:
    explained = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    assert set(get_args(Reason)) <= explained
