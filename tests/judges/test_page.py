"""What the page about judges shows is run, and what it names is there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from msgspec.structs import fields

from canario.config import load_plan
from canario.judges.alternatives import DELTAS, STAKES
from canario.judges.change import AT_CHECKS, AT_STAGES, AT_START, LATER
from canario.plan import Sequential

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "judges.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_plan_shows_every_setting_with_its_default(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    shown = block("toml")
    path.write_text(shown)
    assert load_plan(path).deployment.judge == Sequential()
    path.write_text(re.sub(r"^# (\w+ = )", r"\1", shown, flags=re.MULTILINE))
    whole = load_plan(path).deployment.judge
    assert whole == Sequential(max_error_rate=10, bin_seconds=30, promotion_alpha=0.05)
    assert all(f"{field.name} = " in shown for field in fields(Sequential))


def test_the_python_prints_what_is_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", block("python")], capture_output=True, text=True, check=True
    )
    assert f"```\n{done.stdout}```" in PAGE


def test_the_commands_name_scenarios_that_are_there() -> None:
    named = re.findall(r"scenarios/\w+\.toml", PAGE)
    assert len(named) >= 5
    assert all((ROOT / name).is_file() for name in named)


def test_the_numbers_of_the_formula_are_those_of_the_code() -> None:
    text = " ".join(PAGE.split())
    assert f"$\\delta$ = {', '.join(f'{delta:g}' for delta in DELTAS)}," in text
    assert f"{STAKES[0]} to {STAKES[-1]}" in text
    assert AT_START == 0.5
    assert f"{AT_STAGES} at the start of each later stage ({2 * AT_STAGES} for all" in text
    assert f"{AT_CHECKS} evenly over the checks" in text
    assert f"{LATER} for the checks of a rollout that is held" in text
