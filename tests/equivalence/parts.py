"""The parts of a recording. Each is given an empty folder, and yields texts with their names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.equivalence import inputs
from tests.equivalence.commands import Shell
from tests.equivalence.refusals import REFUSED

__all__ = ["PARTS"]

Seen = Iterator[tuple[str, str]]

_SEEDS = (1, 2, 3, 4, 5)

_FORMATS = ("html", "md", "xml", "json", "csv", "parquet", "svg", "png")


def _simulated(seed: int, folder: Path) -> Seen:
    shell = Shell(folder)
    shell.scenarios()
    out, rest = shell.printed("simulate", "scenarios/", "--seed", str(seed), "--json")
    yield "bytes", f"sha256 of stdout {hashlib.sha256(out).hexdigest()}\n{rest}"
    document = json.loads(out)
    for report in document.pop("reports"):
        yield report["run"]["scenario"], _json(report)
    yield "all", _json(document)


def _helped(folder: Path) -> Seen:
    shell = Shell(folder)
    yield "--version", shell.run("--version")
    commands: list[tuple[str, ...]] = [()]
    while commands:
        command = commands.pop(0)
        text = shell.ask(*command, "--help")
        yield " ".join((*command, "--help")), text
        listed = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
        commands += [(*command, name) for name in re.findall(r"^  (\S+)", listed, re.MULTILINE)]


def _refused(folder: Path) -> Seen:
    shell = Shell(folder)
    inputs.write(shell)
    for arguments in REFUSED:
        yield _named_by(arguments) or "nothing", shell.ask(*arguments)


def _rehearsed(folder: Path) -> Seen:
    """`simulate` in its other ways, and its reports."""
    shell = Shell(folder)
    shell.scenarios()
    some = (
        "scenarios/error_spike.toml",
        "scenarios/retry_storm.toml",
        "scenarios/low_traffic.toml",
    )
    yield "words", shell.run("simulate", *some)
    yield "verbose", shell.run("simulate", "-v", *some[:2])
    yield "watched", shell.run("simulate", "--watch", some[0])
    yield "seeds", shell.run("simulate", "--seeds", "5", *some)
    yield "seeds as JSON", shell.run("simulate", "--seeds", "5", "--json", *some)
    yield "out", shell.run("simulate", "--out", "out", *some)
    yield "reported", shell.run("simulate", *some[:2], *_reports("report"))
    yield from shell.files("out")
    yield from shell.files("report")


def _assessed(folder: Path) -> Seen:
    shell = Shell(folder)
    inputs.write(shell)
    shell.scenarios()
    peers = ("--policy", "flagger", "--policy", "argo", "--policy", "kayenta")
    few = ("-n", "20", "--workers", "1", "--rows", "rows.jsonl")
    own = ("assess", "plan.toml", "--conditions", "conditions.toml", *peers, *few)
    yield "words", shell.run(*own, *_reports("report", without="xml"), also=_without_times)
    yield "JSON", shell.run(*own, "--json", "--out", "out", also=_without_times)
    yield "rows.jsonl", _without_times((folder / "rows.jsonl").read_text())
    graded = ("scenarios/error_spike.toml", "scenarios/retry_storm.toml", "--intervals")
    around = ("--graded", "--conditions", "conditions.toml", "-n", "3", "--workers", "1")
    yield "graded", shell.run("assess", *graded, *around, also=_without_times)
    yield from shell.files("out", _without_times)
    yield from shell.files("report", _without_times)


def _tuned(folder: Path) -> Seen:
    shell = Shell(folder)
    inputs.write(shell)
    few = ("--trials", "0", "-n", "20", "--held-out", "20", "--workers", "1")
    goals = ("--rate", "5", "--false-rollback", "0.02", "--detect", "0.95", "--within", "3m")
    own = ("tune", "plan.toml", *goals, *few, "--rows", "rows.jsonl")
    yield "words", shell.run(*own, "--out", "tuned.toml", *_reports("report"), also=_without_times)
    yield "JSON", shell.run(*own, "--json", "--out", "out", also=_without_times)
    yield "tuned.toml", (folder / "tuned.toml").read_text()
    yield from shell.files("out", _without_times)
    yield from shell.files("report", _without_times)


def _taped(folder: Path) -> Seen:
    """Tapes: made, imported, judged again, fitted."""
    shell = Shell(folder)
    inputs.write(shell)
    shell.environ["OUR_SECRET"] = "a secret of ours"
    inputs.tape(folder / "release.tape")
    yield "info", shell.run("tape", "info", "release.tape")
    yield "info as JSON", shell.run("tape", "info", "release.tape", "--json")
    plans = ("plan.toml", "--policy", "flagger", "--policy", "argo", "--policy", "kayenta")
    backtest = ("backtest", "release.tape", *plans)
    yield "backtest", shell.run(*backtest, "-v", *_reports("backtest"))
    yield "backtest as JSON", shell.run(*backtest, "--json")
    yield "backtest, recorded", shell.run(*backtest, "--fates", "recorded", "--no-orders")
    secret = ("--secret-env", "OUR_SECRET")
    for name in ("access.log", "records.jsonl", "records.csv"):
        imported = ("tape", "import", name, "--out", f"{name}.tape", *secret)
        yield f"import {name}", shell.run(*imported)
        yield f"info {name}", shell.run("tape", "info", f"{name}.tape")
    yield "rows", inputs.rows(folder / "access.log.tape")
    released = ("backtest", "access.log.tape", "plan.toml", "--as", "canary", "--every", "600")
    yield "as canary", shell.run(*released)
    yield "as canary, as JSON", shell.run(*released, "--json", *_reports("released"))
    for name in ("release.tape", "access.log", "records.csv"):
        fitted = ("calibrate", name, "--name", "ours", *secret)
        yield f"calibrate {name}", shell.run(*fitted)
        yield f"calibrate {name} as JSON", shell.run(*fitted, "--json", "--out", "fitted.toml")
        yield f"calibrated {name}", shell.run("scenario", "check", "fitted.toml")
        scenario = folder / "fitted.toml"  # none, where nothing could be fitted
        yield f"calibrated {name}.toml", scenario.read_text() if scenario.exists() else ""
    reports = _reports("calibrated", without="xml")
    yield "calibrate reported", shell.run("calibrate", "access.log", *secret, *reports)
    for reported in ("backtest", "released", "calibrated"):
        for name, text in shell.files(reported):
            yield f"{reported}, {name}", text


def _planned(folder: Path) -> Seen:
    """Plans, scenarios, objectives, journals and claims."""
    shell = Shell(folder)
    inputs.write(shell)
    shell.scenarios()
    shell.environ["OUR_SECRET"] = "a secret of ours"
    inputs.tape(folder / "release.tape", journal=folder / "journal.jsonl")
    yield "journal.jsonl", (folder / "journal.jsonl").read_text()
    for arguments in (
        ("journal", "journal.jsonl"),
        ("journal", "journal.jsonl", "--json"),
        ("plan", "check", "plan.toml"),
        ("plan", "check", "sequential.toml"),
        ("plan", "schema"),
        ("scenario", "check", "scenarios/"),
        ("scenario", "schema"),
        ("slo", "rules", "plan.toml", "--label", "team=evaluation"),
        ("slo", "openslo", "plan.toml", "--flow", "decalogo_evaluation"),
        ("slo", "grafana"),
        ("slo", "schema"),
        ("slo", "import", "slo.yaml"),
        ("completion", "bash"),
        ("completion", "zsh"),
        ("completion", "fish"),
    ):
        yield _named_by(arguments), shell.run(*arguments)
    claim = ("sign", "always", "--deployment-id", "v2", "--secret-env", "OUR_SECRET")
    yield "sign", shell.run(*claim, also=partial(re.sub, r"[0-9]{6,}\.[\w=-]+", "EXPIRES.MAC"))


def _named(folder: Path) -> Seen:
    from tests.equivalence.names import public_names

    yield from public_names()


def _rolled_out(folder: Path) -> Seen:
    from tests.equivalence.rollouts import rollouts

    yield from rollouts(folder)


def _reports(folder: str, without: str = "") -> list[str]:
    """A report in every format."""
    formats = [ending for ending in _FORMATS if ending != without]
    return [word for ending in formats for word in ("--report", f"{folder}/report.{ending}")]


def _named_by(arguments: tuple[str, ...]) -> str:
    """A command as a name in an archive, where a slash would make a folder."""
    return " ".join(arguments).replace("/", "_")


def _without_times(text: str) -> str:
    """How long the machine took is another time each time."""
    return re.sub(r'("(?:\w+_)?seconds_taken"|"cpu_seconds"): ?[0-9.e-]+', r"\1: TIME", text)


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


PARTS: dict[str, Callable[[Path], Seen]] = {
    # Those that take the longest first, so that two processes end together.
    **{f"simulate-{seed}": partial(_simulated, seed) for seed in _SEEDS},
    "assess": _assessed,
    "tune": _tuned,
    "tapes": _taped,
    "reports": _rehearsed,
    "rollouts": _rolled_out,
    "plans": _planned,
    "refusals": _refused,
    "help": _helped,
    "names": _named,
}
