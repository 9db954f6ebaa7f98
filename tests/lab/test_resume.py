"""A run that is killed or interrupted, in a process of its own, goes on where it stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from tests.lab.worlds import BAD, GOOD, experiment, here
from tests.waiting import PATIENCE, until

from canario.config import ConfigError
from canario_sim.lab import Policy, replicate
from canario_sim.lab.rows import Sheet

PLAN = """
[deployment]
canary_stages = [{ percentage = 20, hold_seconds = 20 }, { percentage = 60, hold_seconds = 20 }]
"""
TABLE = """
rates = [20]
regressions = [{ kind = "errors", points = 20 }]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "plan.toml").write_text(PLAN)
    (tmp_path / "table.toml").write_text(TABLE)
    return tmp_path


def command(*more: str, n: int = 3000) -> list[str]:
    given = ["assess", "plan.toml", "--conditions", "table.toml", "--workers", "2", "-n", str(n)]
    return [sys.executable, "-m", "canario", *given, *more]


@contextmanager
def started(folder: Path, *more: str, n: int = 3000) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        command("--rows", "rows.jsonl", *more, n=n),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _is_deaf(process: psutil.Process) -> bool:
    """Whether it ignores Ctrl-C, as the children of a run do once they have begun."""
    ignored = re.search(r"SigIgn:\t(\w+)", Path(f"/proc/{process.pid}/status").read_text())
    return ignored is not None and bool(int(ignored[1], 16) & 1 << (signal.SIGINT - 1))


def wait_for_rows(folder: Path, number: int) -> None:
    file = folder / "rows.jsonl"
    until(lambda: file.exists() and file.read_bytes().count(b"\n") > number)


def assessed(folder: Path, *more: str, n: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command("--json", *more, n=n), cwd=folder, capture_output=True, text=True, timeout=PATIENCE
    )


def test_killed_and_interrupted_it_goes_on_and_ends_as_if_it_had_never_stopped(
    folder: Path,
) -> None:
    # Killed by force, which nobody can catch.
    with started(folder) as process:
        wait_for_rows(folder, 50)
        process.kill()
    file = folder / "rows.jsonl"
    killed = file.read_bytes()
    # As if the last line had been cut off in the middle.
    file.write_bytes(killed[:-7])

    # Interrupted: what is done is reported, and that there is more to do.
    with started(folder, "--json") as process:
        wait_for_rows(folder, killed.count(b"\n") + 50)
        process.send_signal(signal.SIGINT)
        said, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    report = json.loads(said)
    assert not report["complete"]
    assert report["planned"] == 4 * 3000
    done = sum(each["replications"] for each in report["characteristics"])
    assert 50 <= done < 4 * 3000
    assert told.splitlines()[-1] == (
        "canario: interrupted; the same command goes on with what is in rows.jsonl"
    )
    interrupted = file.read_bytes()
    assert interrupted.startswith(killed[:-7].rpartition(b"\n")[0])

    # Gone on to its end, it is what a run of one piece gives, to the byte.
    resumed = assessed(folder, "--rows", "rows.jsonl", n=done // 4 + 40)
    whole = assessed(folder, "--rows", "whole.jsonl", "--workers", "1", n=done // 4 + 40)
    assert resumed.returncode == whole.returncode == 0
    assert resumed.stdout == whole.stdout
    few = (folder / "whole.jsonl").read_bytes().splitlines()
    assert set(few) <= set(file.read_bytes().splitlines())
    # And when there is nothing left to do, nothing is done.
    before = file.read_bytes()
    again = assessed(folder, "--rows", "rows.jsonl", n=done // 4 + 40)
    assert again.stdout == whole.stdout
    assert file.read_bytes() == before


def test_ctrl_c_without_a_file_says_how_to_keep_what_is_done(folder: Path) -> None:
    with subprocess.Popen(
        command(),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        # The resource tracker and both workers are there: so it has begun.
        until(lambda: sum(map(_is_deaf, psutil.Process(process.pid).children())) >= 3)
        # As a terminal does it: the whole group is signalled, and the workers leave it be.
        os.killpg(process.pid, signal.SIGINT)
        said, told = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130
    assert "Stopped after " in said
    assert "give --rows FILE.jsonl" in told
    assert "Traceback" not in told


def test_who_presses_ctrl_c_twice_waits_for_nothing(folder: Path) -> None:
    with started(folder) as process:
        wait_for_rows(folder, 10)
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    # 130, or ended by the signal itself where it came on the way out.
    assert process.returncode in (130, -signal.SIGINT)


# -- the file


def test_rows_are_written_as_they_come_and_put_in_order_at_the_end(tmp_path: Path) -> None:
    file = tmp_path / "new" / "rows.jsonl"
    seen: list[int] = []
    made = replicate(
        experiment(),
        here(slots=1),
        most=6,
        file=file,
        progress=lambda _: seen.append(file.read_bytes().count(b"\n")),
    )
    assert seen[0] == 1
    assert seen == sorted(seen)
    assert len(set(seen)) > 3
    head, *rows = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert head["conditions"] == ["good", "bad"]
    assert head["policies"] == ["own", "strict"]
    assert [dict(zip(head["columns"], row, strict=True)) for row in rows] == [
        {name: getattr(row, name) for name in row.__struct_fields__} for row in made.rows
    ]


def test_more_are_added_to_what_is_there(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    made = [replicate(experiment(), here(), most=most, file=file).rows for most in (3, 8, 5)]
    assert made[1] == replicate(experiment(), here(), most=8).rows
    assert made[2] == replicate(experiment(), here(), most=5).rows
    assert len(file.read_bytes().splitlines()) == 1 + 2 * 2 * 8


def test_a_replication_that_lacks_a_policy_is_made_again(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    whole = replicate(experiment(), here(), most=3, file=file).rows
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2] + lines[3:]))
    assert replicate(experiment(), here(), most=3, file=file).rows == whole
    assert file.read_bytes() == b"".join(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a note of somebody\n", "line 1: is no row of an experiment"),
        (b"a note without an end", "line 1: is no heading of an experiment's rows"),
        (b'{"rows": 3}\n', "line 1: is no row of an experiment"),
    ],
)
def test_another_s_file_is_left_as_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        replicate(experiment(), here(), most=1, file=file)
    assert file.read_bytes() == content


def test_another_experiment_s_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    replicate(experiment(conditions=(GOOD, BAD)), here(), most=1, file=file)
    content = file.read_bytes()
    for other in (
        experiment(seed=2),
        experiment(conditions=(BAD,)),
        experiment(Policy(name="own")),
    ):
        with pytest.raises(ConfigError, match=r"own, strict on good, bad\), not"):
            replicate(other, here(), most=1, file=file)
    assert file.read_bytes() == content


@pytest.mark.parametrize("row", ['["x"]', "[7,0,0]", '{"a":1}', "[0,9,0]"])
def test_a_row_that_is_none_is_told(tmp_path: Path, row: str) -> None:
    file = tmp_path / "rows.jsonl"
    made = replicate(experiment(), here(), most=1, file=file)
    if row.endswith("0]"):
        rest = [getattr(made.rows[0], name) for name in made.rows[0].__struct_fields__[3:]]
        row = json.dumps([*json.loads(row), *rest])
    with file.open("a") as out:
        out.write(row + "\n")
    with pytest.raises(ConfigError, match="line 6: is no row of an experiment"):
        replicate(experiment(), here(), most=1, file=file)


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    with Sheet(experiment(), file), pytest.raises(ConfigError, match="written by another run"):
        replicate(experiment(), here(), most=1, file=file)
    assert replicate(experiment(), here(), most=1, file=file).complete


def test_a_file_that_was_put_in_order_is_still_its_run_s(tmp_path: Path) -> None:
    """It is another file then, of the same name."""
    file = tmp_path / "rows.jsonl"
    with Sheet(experiment(), file) as sheet:
        sheet.tidy()
        with pytest.raises(ConfigError, match="written by another run"):
            replicate(experiment(), here(), most=1, file=file)
    assert replicate(experiment(), here(), most=1, file=file).complete


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be used: Is a directory"):
        replicate(experiment(), here(), most=1, file=tmp_path)
