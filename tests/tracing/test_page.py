"""What the page about tracing shows is executed, and its tables are complete."""

from __future__ import annotations

import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

import pytest

from canario.tracing import initialize_tracing, trace_component, trace_flow
from canario.tracing.run import Run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "tracing.md").read_text("utf-8")
SHOWN = re.findall(r"<!-- run -->\n```python\n(.*?)```", PAGE, re.DOTALL)
PRINTED = [
    "{'score': 6.0}\n",
    "{'traceparent': '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'}\n",
    "INFO Processing plan plan_id=12345 user='ana\\\\nINFO forged' []\n"
    "INFO a record of plain logging  []\n",
    "baseline\nbaseline\n",
]


@pytest.mark.parametrize(("code", "printed"), list(zip(SHOWN, PRINTED, strict=True)))
def test_an_example_of_the_page_prints_what_it_should(code: str, printed: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == printed


def test_every_option_is_documented() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    for function in (initialize_tracing, trace_flow, trace_component):
        assert set(signature(function).parameters) - {"flow", "component"} <= rows


def test_every_attribute_is_documented() -> None:
    folder = Path(sys.modules[Run.__module__].__file__ or "").parent
    written = "".join(
        (folder / name).read_text("utf-8") for name in ("run.py", "describe.py", "decorators.py")
    )
    used = set(re.findall(r'"((?:canario|code|error)\.[a-z.]+)"', written))
    assert len(used) == 9
    assert {name for name in used if f"`{name}`" in PAGE} == used
