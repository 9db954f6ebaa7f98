"""Whatever text comes from outside, no line that canario prints ends early, hides or is obeyed."""

from __future__ import annotations

import io
import json
import logging
import re
import tomllib
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

import canario
import canario_sim
from canario import CanaryDeploymentController, Deployment, Plan, create_canary_controller
from canario.cli.main import cli
from canario.cli.main import run as run_cli
from canario.control.events import Event, RollbackReason, RolledBack, StageEntered, Started
from canario.control.journal import dump_journal
from canario.control.violation import Violation
from canario.control.words import describe
from canario.host.logger import _printable_record
from canario.judges.verdict import Verdict, VerdictKind
from canario.printable import code_escapes, printable, printable_lines
from canario.sinks import LogSink, message_of
from canario.testing import ManualClock
from canario.yaml_text import dump_yaml, load_yaml
from canario_sim.console import Terminal
from canario_sim.fitting.toml_text import toml_text

# Every one of the kinds, lone surrogates among them: file names may hold them.
CONTROLS = "".join(map(chr, [*range(32), *range(0x7F, 0xA0), 0x2028, 0x2029]))
HIDDEN = "\u200b\u200e\u202a\u202e\u2066\u2069\ufeff\U000e0041\ud800\udfff\ufffe"
NASTY = f"a{CONTROLS}{HIDDEN}b\r\nWARNING forged: all is well\x1b[2J[red]"
WRITTEN = NASTY.encode("utf-8", "ignore").decode()  # what a file in UTF-8 can hold

ANY = st.text(st.characters(), max_size=40)
STORED = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)

_OBEYED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def obeyed(text: str) -> set[str]:
    """The characters of a line that are none to see."""
    return {c for c in text if unicodedata.category(c) in _OBEYED}


def is_printed_well(text: str, *also: str) -> bool:
    """True for lines of visible characters; those of `also` are canario's own."""
    return obeyed(text) <= {"\n", *also}


@given(ANY)
@example(NASTY)
def test_what_is_printed_is_one_line_of_characters_that_are_seen(text: str) -> None:
    assert obeyed(printable(text)) == set()
    assert len(printable(text).splitlines()) <= 1
    assert printable(printable(text)) == printable(text)
    if not obeyed(text):
        assert printable(text) == text
    assert obeyed(printable_lines(text)) <= {"\n", "\t"}
    assert printable_lines(text).split("\n") == [
        "\t".join(map(printable, line.split("\t"))) for line in text.split("\n")
    ]


@given(ANY)
@example(NASTY)
def test_files_for_programs_are_printable_and_say_the_same(text: str) -> None:
    document = {"a": text}
    said = code_escapes(json.dumps(document, ensure_ascii=False), long=False)
    assert obeyed(said) == set()
    assert json.loads(said) == json.loads(json.dumps(document))


@given(STORED)
def test_toml_and_yaml_are_printable_and_say_the_same(text: str) -> None:
    for comment in (text, "plain"):
        said = toml_text({"a": text, "b": {"c": [text], text or "d": 1}}, [comment])
        assert is_printed_well(said)
        assert tomllib.loads(said)["a"] == text
    said = dump_yaml([{"a": text}])
    assert is_printed_well(said)
    # Some characters are not YAML's at all; what it writes of them it reads.
    assert load_yaml(said) == list(yaml.safe_load_all(yaml.safe_dump({"a": text})))


# -- logs


class _Lines(logging.Handler):
    """What a file would hold."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += self.format(record).split("\n")


@pytest.fixture
def log() -> Iterator[list[str]]:
    handler, logger = _Lines(), logging.getLogger("canario")
    logger.addHandler(handler)
    # By `setLevel`, since loggers below remember which levels they are enabled for.
    level = logger.level
    logger.setLevel(logging.DEBUG)
    yield handler.lines
    logger.setLevel(level)
    logger.removeHandler(handler)


def test_responses_forge_no_line_of_the_log(log: list[str]) -> None:
    controller = create_canary_controller(f"release{WRITTEN}", environ={}, clock=ManualClock())
    controller.start()
    controller.report_violation("canary", Violation(message=NASTY, route=NASTY, contract=NASTY))
    # A thread may still look after a controller of another test, and log what it finds.
    told = [line for line in log if "release" in line]
    assert len(told) == len(controller.events) >= 3
    assert not any(map(obeyed, log))
    result = describe(controller.events[-1], controller.deployment)
    assert obeyed(result) == set()


def test_errors_of_an_app_forge_no_line_of_the_log(log: list[str]) -> None:
    """A traceback has lines of its own; each message in it is one."""

    def fail() -> None:
        try:
            raise KeyError(NASTY)
        except KeyError as error:
            made = ValueError(NASTY)
            made.add_note(NASTY)
            raise made from error

    controller = create_canary_controller("x", environ={}, clock=ManualClock())
    with pytest.raises(ValueError, match="WARNING") as caught:
        fail()
    controller.notices.fault(f"a sink{NASTY}", caught.value)
    assert log[0].startswith("ERROR canario canario failed in a sink")
    assert not any(line.startswith("WARNING") for line in log)
    assert not any(map(obeyed, log))
    assert sum("WARNING forged" in line for line in log) == 4
    controller.notices.fault("a sink", ValueError("plain"))
    assert log[-1] == "ValueError: plain"


def test_what_others_log_is_theirs(log: list[str]) -> None:
    mine = logging.getLogger("test_printable")
    CanaryDeploymentController(Plan(deployment=Deployment(deployment_id="x")), log=mine)
    handler = _Lines()
    mine.addHandler(handler)
    mine.warning("two\nlines")
    assert handler.lines == ["WARNING test_printable two", "lines"]
    mine.removeHandler(handler)


def test_every_logger_is_guarded() -> None:
    """Whatever a module logs goes through the filter that makes it printable."""
    named = set()
    for path in all_of(canario):
        named |= set(re.findall(r"getLogger\(\s*\"([^\"]+)\"", path.read_text(encoding="utf-8")))
    assert "canario" in named
    for name in named:
        assert _printable_record in logging.getLogger(name).filters, name


@given(ANY)
def test_sinks_get_one_line(text: str) -> None:
    event = RolledBack(
        at=1.0,
        stage=0,
        reason=RollbackReason.CONTRACT_VIOLATION,
        verdict=Verdict(kind=VerdictKind.UNHEALTHY, samples=1, needed=1, why=text),
        violation=Violation(message=text, route=text, contract=text, rule=text, path=text),
    )
    release = Deployment(deployment_id="x" + text.encode("utf-8", "replace").decode())
    assert obeyed(message_of(event, release).text) == set()
    handler, logger = _Lines(), logging.getLogger("test_printable.sink")
    logger.addHandler(handler)
    LogSink(logger)(event)
    logger.removeHandler(handler)
    (line,) = handler.lines
    assert obeyed(line) == set()


# -- the terminal


def drawn(*what: Any) -> str:
    out = io.StringIO()
    terminal = Terminal(file=out, width=60)
    for each in what:
        terminal.print(each)
    return out.getvalue()


@given(ANY)
@example(NASTY)
def test_a_terminal_obeys_no_text(text: str) -> None:
    table = Table(title=text)
    table.add_column(text)
    table.add_column(Text(text, style="bold"))
    table.add_row(text, Text(text))
    out = drawn(text, Text(text), Text.assemble("a", (text, "red"), "b"), table)
    assert is_printed_well(out)
    assert drawn(f"{text}x").count("\n") == 1
    terminal = Terminal(file=io.StringIO(), width=60)
    terminal.rule(Text(text))
    with Progress(TextColumn("{task.description}", markup=False), console=terminal) as bar:
        bar.add_task(text)
    file = terminal.file
    assert isinstance(file, io.StringIO)
    assert is_printed_well(file.getvalue())


def test_names_are_no_markup_and_no_emoji() -> None:
    table = Table(box=None)
    table.add_column("[bold]name[/bold]")
    table.add_row("[red]x[/red] :bomb: [link=https://evil.example]y[/link]")
    for shown in (drawn("[red]x[/red] :bomb:"), drawn(table)):
        assert "[red]x[/red] :bomb:" in shown


def test_a_style_stays_with_what_is_escaped() -> None:
    out = io.StringIO()
    terminal = Terminal(file=out, force_terminal=True, color_system="standard", width=60)
    terminal.print(Text.assemble("a", ("b\x1b[2Jc", "red"), "d"))
    assert out.getvalue() == "a\x1b[31mb\x1b[0m\x1b[31m\\x1b\x1b[0m\x1b[31m[2Jc\x1b[0md\n"


def all_of(package: Any) -> Iterator[Path]:
    yield from Path(package.__path__[0]).rglob("*.py")


@pytest.mark.parametrize("package", [canario, canario_sim])
def test_everything_is_printed_in_one_place(package: Any) -> None:
    """No other module makes a console or writes to the terminal by itself."""
    found = {
        path.name
        for path in all_of(package)
        if re.search(
            r"\b(click\.s?echo|print_formatted|(?<!\.)\bprint|\bConsole)\(",
            path.read_text(encoding="utf-8"),
        )
    }
    assert found <= {"console.py", "cli.py", "printing.py", "main.py"}


# -- the commands


def journal_of(name: str, words: str) -> bytes:
    violation = Violation(message=words, route=words, contract=words)
    events: list[Event] = [
        Started(at=0.0, deployment=Deployment(deployment_id=name)),
        StageEntered(at=0.0, stage=0, percentage=5.0),
        RolledBack(
            at=1.0,
            stage=0,
            reason=RollbackReason.CONTRACT_VIOLATION,
            verdict=Verdict(kind=VerdictKind.UNHEALTHY, samples=1, needed=0, why=words),
            violation=violation,
        ),
    ]
    return dump_journal(events)


@given(STORED)
@example(WRITTEN)
def test_a_journal_is_told_in_lines_of_its_own(text: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "j"
        path.write_bytes(journal_of(f"x{text}", text))
        told = CliRunner().invoke(cli, ["journal", str(path)])
        as_json = CliRunner().invoke(cli, ["journal", str(path), "--json"])
    assert told.exit_code == as_json.exit_code == 0
    assert is_printed_well(told.stdout)
    assert told.stdout.count("\n") == 5
    assert is_printed_well(as_json.stdout)
    assert json.loads(as_json.stdout)["events"][2]["verdict"]["why"] == text


def test_plans_scenarios_and_tapes_with_such_names_are_shown(tmp_path: Path) -> None:
    name = WRITTEN
    quoted = code_escapes(json.dumps(name, ensure_ascii=False), long=True)
    plan, rehearsal, records = (tmp_path / each for each in ("p.toml", "s.toml", "r.jsonl"))
    stages = "[{ percentage = 50, hold_seconds = 20 }]"
    plan.write_text(f"[deployment]\ndeployment_id = {quoted}\ncanary_stages = {stages}\n")
    rehearsal.write_text(
        f'name = "s"\nteaches = {quoted}\nweakness = {quoted}\n'
        f"[plan.deployment]\ncanary_stages = {stages}\n"
        '[traffic]\nkind = "poisson"\nrate = 20\n'
        '[baseline]\nlatency = { kind = "gamma", mean_ms = 9, shape = 2 }\n'
        f'[[contract_failures]]\nkind = "single"\narm = "canary"\nat = 3\ndetail = {quoted}\n'
        '[expect]\noutcome = "aborted"\n'
    )
    row = {"latency_ms": 5, "ok": True, "route": name, "user": name, "at": 0.0}
    rows = [json.dumps(row | {"at": float(n)}) for n in range(300)]
    records.write_text("\n".join(rows) + "\n")
    tape = str(tmp_path / "t.tape")
    runner = CliRunner()
    for arguments in (
        ["plan", "check", str(plan)],
        ["plan", "check", str(plan), "--json"],
        ["scenario", "check", str(rehearsal)],
        ["simulate", str(rehearsal)],
        ["simulate", str(rehearsal), "-v", "--watch"],
        ["simulate", str(rehearsal), "--json"],
        ["tape", "import", str(records), "--out", tape],
        ["tape", "info", tape],
        ["tape", "info", tape, "--json"],
        ["backtest", tape, str(plan), "--as", "canary", "-v"],
        ["calibrate", tape],
        ["calibrate", tape, "--json"],
        ["slo", "rules", str(plan), "--flow", name],
        ["slo", "openslo", str(plan), "--flow", name, "--service", "shop"],
    ):
        said = runner.invoke(cli, arguments, catch_exceptions=False)
        assert said.output, arguments
        assert is_printed_well(said.output), arguments
        if "--json" in arguments:
            json.loads(said.stdout)


def test_what_is_wrong_is_said_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = WRITTEN.replace("\0", "") + "\udcff"  # as arguments and names of files may be
    for command in (
        ["journal", given],
        ["plan", "check", given],
        [f"plan{given}"],
        ["sign", given],
    ):
        monkeypatch.setattr("sys.argv", ["canario", *command])
        with pytest.raises(SystemExit) as ended:
            run_cli()
        said = capsys.readouterr().err
        assert ended.value.code == 2
        assert is_printed_well(said)
        assert said.count("\n") == 1
