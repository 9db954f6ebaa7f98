"""The command line: what it prints, where, and with which code it exits."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands import call, process

import canario
from canario.control.events import Aborted, Promoted
from canario.control.journal import dump_journal
from canario.testing import ManualClock


def test_version_and_help() -> None:
    assert process("--version").stdout == f"canario, version {canario.__version__}\n"
    helped = process("--help")
    assert helped.returncode == 0
    for word in ("plan", "journal", "simulate", "completion", "Exit codes: 0 all as expected"):
        assert word in helped.stdout
    assert process().returncode == 2


def test_help_waits_for_nothing_that_only_a_command_needs() -> None:
    code = (
        "import sys\n"
        "from canario.__main__ import main\n"
        "sys.argv = ['canario', '--help']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    heavy = {'msgspec', 'numpy', 'simpy', 'rich', 'canario.plan', 'canario.controller'}\n"
        "    print(sorted(heavy & set(sys.modules)))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "simulate    Rehearse releases through the controller." in said.stdout
    assert said.stdout.endswith("[]\n")


def test_plan_check_explains(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        """
        [deployment]
        deployment_id = "decalogo-v2"
        canary_stages = [{ percentage = 10, hold_seconds = 90 }]
        missing_evidence = { deadline_seconds = 3600, then = "pause" }
        [deployment.routing]
        key_sources = ["header:x-user-id", "client:1"]
        anonymous_cookie = "visitor"
        forced_arms = { trusted_peers = ["10.0.0.0/8"], secret_env = "SECRET" }
        """
    )
    said = call("plan", "check", str(path))
    assert said.returncode == 0
    for words in (
        "decalogo-v2",
        "canary_10: 10 % of the keys for 1 min 30 s",
        "more than 10 % of its requests of the last 1 min failed",
        "95th percentile of their latency is above 500 ms",
        "for 1 h at most; then it is paused",
        "header:x-user-id, else client:1",
        "cookie 'visitor'",
        "signed with SECRET or from 10.0.0.0/8",
    ):
        assert words in said.stdout, words
    made = json.loads(call("plan", "check", str(path), "--json").stdout)
    assert made["valid"] is True
    assert made["plan"]["deployment"]["canary_stages"] == [{"percentage": 10, "hold_seconds": 90}]


def test_plan_check_takes_the_environment_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text("{}")
    environ = {"CANARY_5_HOLD_SECONDS": "42"}
    for options, said in ((["-e"], "5 % of the keys for 42 s"), ([], "5 % of the keys for 5 min")):
        assert said in call("plan", "check", *options, path, environ=environ).stdout


def test_a_bad_plan_is_one_line_on_stderr(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_text('{"deployment": {"rollback_thresholds": {"max_eror_rate": 1}}}')
    said = call("plan", "check", str(path))
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith(
        f"canario: {path}: deployment.rollback_thresholds.max_eror_rate: "
    )
    assert "did you mean max_error_rate?" in said.stderr
    assert said.stderr.count("\n") == 1
    said = call("plan", "check", str(path), "--json")
    assert said.returncode == 2
    assert json.loads(said.stdout)["key"] == "deployment.rollback_thresholds.max_eror_rate"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["plan", "chek"], "Did you mean"),
        (["plan", "check"], "Missing argument 'FILE'; see 'canario plan check --help'"),
        (["plan", "check", "none.toml"], "cannot be read: No such file or directory"),
        (["journal", "none.jsonl"], "cannot be read"),
        (["nothing"], "No such command 'nothing'"),
        (["completion", "tcsh"], "'bash', 'zsh', 'fish'"),
        (["sign", "always", "--deployment-id", "x", "--secret-env", "NO_SUCH"], "not set"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(arguments: list[str], says: str) -> None:
    said = call(*arguments)
    assert (said.returncode, said.stdout) == (2, "")
    assert says in said.stderr
    assert said.stderr.startswith("canario: ")
    assert said.stderr.count("\n") == 1


def test_plan_schema_is_json() -> None:
    schema = json.loads(call("plan", "schema").stdout)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "RollbackThresholds" in schema["$defs"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    assert "_CANARIO_COMPLETE" in call("completion", shell).stdout


def test_completion_completes() -> None:
    said = process(
        environ={
            "COMP_WORDS": "canario plan ch",
            "COMP_CWORD": "2",
            "_CANARIO_COMPLETE": "bash_complete",
        }
    )
    assert said.stdout == "plain,check\n"


def test_a_journal_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    clock = ManualClock(1_800_000_000)
    controller = canario.CanaryDeploymentController(
        deployment_id="decalogo-v2", clock=clock, journal=path
    )
    controller.start()
    clock.advance(61.5)
    controller.report_violation("canary", "/evaluate: no score")
    assert controller.close(10)
    said = call("journal", str(path))
    assert said.returncode == 0
    lines = said.stdout.splitlines()
    assert lines[0].split(maxsplit=2) == ["0", "s", "rollout of decalogo-v2 started"]
    assert "1 min 1.5 s  rolled back, contract_violation" in said.stdout
    assert lines[-1] == "rolled_back, 0 % of the keys go to the canary"
    path.write_bytes(path.read_bytes()[:-3])
    said = call("journal", str(path), "--json")
    assert "ends in the middle of an event" in said.stderr
    assert json.loads(said.stdout)["truncated"] is True


def test_a_journal_over_two_processes_tells_how_much_of_a_hold_is_served(tmp_path: Path) -> None:
    """Of which the second had a date an hour earlier: the story goes on all the same."""
    path = tmp_path / "journal.jsonl"
    for now in (1_800_000_000, 1_799_996_400):
        clock = ManualClock(now)
        controller = canario.CanaryDeploymentController(
            deployment_id="x", clock=clock, journal=path
        )
        controller.start()
        clock.advance(61.5)
        assert controller.close(10)
    lines = call("journal", str(path)).stdout.splitlines()
    assert lines[2].split(maxsplit=2)[:2] == ["0", "s"]
    assert "taken up by another process" in lines[2]
    assert lines[-1] == (
        f"2 min 3 s of the 5 min of its stage are served, last watched by process {os.getpid()}"
    )
    assert json.loads(call("journal", str(path), "--json").stdout)["pid"] == os.getpid()


def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("hello\n")
    assert "line 1 is no event" in call("journal", str(path)).stderr
    path.write_bytes(dump_journal([Aborted(at=1, stage=0), Promoted(at=2)]))
    assert (
        "nothing follows a rollout that is aborted in stage 0, but 'promoted' at 2 came"
        in call("journal", str(path)).stderr
    )


def test_a_signed_claim_is_an_hmac_that_anybody_can_check() -> None:
    command = ["sign", "always", "--deployment-id", "x", "--secret-env", "S", "--for", "60"]
    said = call(*command, environ={"S": "key"})
    claim, _, mac = said.stdout.strip().rpartition(".")
    assert claim.startswith("always.")
    assert mac == hmac.new(b"key", f"x\n{claim}".encode(), hashlib.sha256).hexdigest()


def test_without_its_packages_the_command_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('no', name='click')")
    said = process("--help", environ={"PYTHONPATH": str(tmp_path)})
    assert (said.returncode, said.stdout) == (2, "")
    assert "pip install 'canario[cli]'" in said.stderr
