"""Every example on the page about scenarios is a part of one that runs; every key is explained."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from canario_sim import load_scenario, run, scenario_schema

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "scenarios.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[1:]
(RECORDED,) = re.findall(r"^```csv\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)

REST = {
    "traffic": 'traffic = { kind = "poisson", rate = 5 }\n',
    "baseline": 'baseline = { latency = { kind = "gamma", mean_ms = 20 } }\n',
    "plan": "plan.deployment.canary_stages = [{ percentage = 50, hold_seconds = 60 }]\n",
}


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs_with_the_least_around_it(example: str, tmp_path: Path) -> None:
    (tmp_path / "arrivals.csv").write_text(RECORDED)
    given = tomllib.loads(example)
    around = "".join(text for key, text in REST.items() if key not in given)
    late = [part["at"] for part in given.get("faults", ()) if part.get("at", 0) > 100]
    path = tmp_path / "example.toml"
    path.write_text(
        'teaches = "an example"\n' + ("horizon_seconds = 9999\n" if late else "") + around + example
    )
    made = load_scenario(path)
    assert run(made, 3) == run(made, 3, chunk=99)


def test_the_share_of_seeds_on_the_page_is_what_is_printed() -> None:
    (command, shown) = re.findall(
        r"```sh\n(canario simulate .*--seeds.*)\n```\n\n```\n(.*)\n", PAGE
    )[0]
    said = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=DOCS.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    assert said.stdout.splitlines()[0] == shown


def test_every_kind_and_key_is_explained() -> None:
    kinds = scenario_schema()["$defs"]
    words = {
        word
        for name in _reached(kinds, "Scenario")
        for key, field in kinds[name].get("properties", {}).items()
        for word in [key, *_constants(field)]
    }
    pages = PAGE + "".join(page.read_text(encoding="utf-8") for page in DOCS.glob("worlds.md"))
    assert {word for word in words if not re.search(rf"\b{re.escape(word)}\b", pages)} == set()


def _reached(kinds: dict[str, dict[str, object]], name: str, but: str = "Plan") -> set[str]:
    """The tables that a scenario is made of, but not those of its plan."""
    found, ahead = set(), [name]
    while ahead:
        present = ahead.pop()
        if present in found or present == but:
            continue
        found.add(present)
        ahead += re.findall(r"#/\$defs/([\w.\[\], ]+)", str(kinds[present]))
    return found


def _constants(field: dict[str, object]) -> list[str]:
    values = field.get("enum", [])
    assert isinstance(values, list)
    return [str(value) for value in values]
