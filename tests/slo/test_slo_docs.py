"""The examples of docs/slo.md run, and its tables are those of the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from inspect import signature
from pathlib import Path

from canario.config import load_plan
from canario.metrics.flow import RETENTION_SECONDS
from canario.plan import Objectives
from canario.slo import BURN_WINDOWS, SLOMonitor, create_slo_monitor

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "slo.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path: Path) -> None:
    examples = re.findall(r"<!-- run -->\s*```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(examples) == 2
    for code in examples:
        subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, check=True)
    (shown,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    path = tmp_path / "shown.json"
    path.write_text(shown)
    SLOMonitor().load_baselines(path)
    made = json.loads((tmp_path / "baselines.json").read_text())
    (entry,), (example,) = made["baselines"].values(), json.loads(shown)["baselines"].values()
    assert set(entry) == set(example)
    assert entry["p95_latency_ms"] == example["p95_latency_ms"]


def test_the_table_of_objectives_is_that_of_the_code() -> None:
    rows = re.findall(r"^\| (`\w+`)? ?\| (`\w+`)? ?\| `(\w+)` \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    defaults = {key: float(default) for _, _, key, default in rows}
    objectives = Objectives()
    assert defaults == {key: getattr(objectives, key) for key in Objectives.__struct_fields__}
    arguments = {name.strip("`"): key for name, _, key, _ in rows if name}
    assert set(arguments) < set(signature(create_slo_monitor).parameters)
    for argument, key in arguments.items():
        monitor = create_slo_monitor(**{argument: 42}, environ={})  # type: ignore[arg-type]
        assert getattr(monitor.objectives, key) == 42
    for _, variable, key, _ in rows:
        if variable:
            plan = load_plan(environ={variable.strip("`"): "42"})
            assert getattr(plan.slo, key) == 42


def test_the_table_of_burn_rates_is_that_of_the_code() -> None:
    seconds = {"min": 60, "h": 3600, "d": 86_400}
    rows = re.findall(
        r"^\| ([\d.]+) \| (\d+) (\w+) \| (\d+) (\w+) \| (\d+) %.*? \| (\w+) \|$", PAGE, re.MULTILINE
    )
    shown = [
        (float(factor), int(long) * seconds[a], int(short) * seconds[b], int(spent), severity)
        for factor, long, a, short, b, spent, severity in rows
    ]
    assert shown == [
        (
            rule.factor,
            rule.long_seconds,
            rule.short_seconds,
            round(100 * rule.factor * rule.long_seconds / RETENTION_SECONDS),
            rule.severity.value,
        )
        for rule in BURN_WINDOWS
    ]
