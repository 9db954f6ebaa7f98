"""Every example on the page about worlds that act back is a part of one that runs."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from canario_sim import load_scenario, run, scenario_schema

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "worlds.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
PARTS = [example for example in EXAMPLES if "teaches" not in example]

REST = {
    "traffic": 'traffic = { kind = "poisson", rate = 5 }\n',
    "baseline": 'baseline = { latency = { kind = "gamma", mean_ms = 20 } }\n',
    "plan": "plan.deployment.canary_stages = [{ percentage = 50, hold_seconds = 60 }]\n",
}


@pytest.mark.parametrize("example", PARTS, ids=range(len(PARTS)))
def test_an_example_runs_with_the_least_around_it(example: str, tmp_path: Path) -> None:
    given = tomllib.loads(example)
    around = "".join(text for key, text in REST.items() if key not in given)
    path = tmp_path / "example.toml"
    path.write_text('teaches = "an example"\n' + around + example)
    jsonschema.Draft202012Validator(scenario_schema()).validate(tomllib.loads(path.read_text()))
    made = load_scenario(path)
    assert made.closed
    assert run(made, 3) == run(made, 3, chunk=99)


def test_the_model_on_the_page_runs_with_its_scenario(tmp_path: Path) -> None:
    (model,) = re.findall(r"<!-- model -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    (scenario,) = re.findall(r"<!-- modelled -->\n```toml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "my_models.py").write_text(model)
    path = tmp_path / "checkout.toml"
    path.write_text(scenario)
    jsonschema.Draft202012Validator(scenario_schema()).validate(tomllib.loads(scenario))
    rehearsal = run(load_scenario(path, models=True))
    assert rehearsal.ok
    assert rehearsal.ended_at > 45


def test_the_python_on_the_page_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (shown,) = re.findall(r"^```python\n(from canario_sim.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    exec(shown, {})
    first, second = capsys.readouterr().out.splitlines()
    assert int(first.split()[0]) > 80_000
    assert second == "0 None None"


def test_the_scenarios_that_the_page_names_are_in_the_library() -> None:
    named = re.findall(r"`(\w+)`", PAGE.split("In the library:")[1].split("\n\n")[0])
    assert len(named) == 6
    for name in named:
        assert load_scenario(ROOT / "scenarios" / f"{name}.toml").closed
