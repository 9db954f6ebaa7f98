"""Mutants run: the tests in one process, each mutant in a fork of it."""

from __future__ import annotations

import builtins
import gc
import importlib
import math
import os
import pickle
import resource
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import pytest
from tests.mutation.changes import Change, changes, marked

__all__ = ["Made", "Room", "survivors"]

ROOT = Path(__file__).parents[2]

# A mutant that runs for ever is noticed by the processor time that it takes, beyond what its tests
# take, and one that waits for ever by the little of it that it took while so much time passed. How
# busy the machine is tells neither: it would pass for a test that has noticed something.
_SECONDS = 5.0
_PATIENCE = 60
_WAITING = 0.5

# Bytes that a mutant may fill: one that counts to the end of memory ends others with it.
_MEMORY = 2 << 30

# Seconds that a test of the room may take by itself: others are left out, where quicker ones call
# the function too.
_QUICK = 2.0


@dataclass(frozen=True)
class Room:
    """What is changed, and what must notice it.

    `modules` are paths from the root, with wildcards; `tests` are what pytest is given; `leave_out`
    names functions that no test of the room can call, such as those of other processes; `without`
    packages that count as not installed, since code that they compile is not changed; `before` is a
    function (`module:name`) that is called once, before anything is changed.
    """

    name: str
    modules: list[str]
    tests: list[str]
    leave_out: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    before: str = ""


@dataclass
class Made:
    """What has come of a room's mutants."""

    room: Room
    mutants: int = 0
    survived: list[str] = field(default_factory=list)
    uncalled: list[str] = field(default_factory=list)

    def is_of_the_room(self, mutant: str) -> bool:
        """Whether a mutant is of one of the room's modules."""
        return mutant.partition(":")[0] in {_name(path) for path in _modules(self.room)}


def survivors(room: Room, *, only: str = "", processes: int = 2) -> Made:
    """Run every mutant of the room against the tests that call its function."""
    sys.modules |= dict.fromkeys(room.without)  # type: ignore[arg-type]
    plugin = _Mutants(room, only, processes)
    arguments = ["-q", "-p", "no:cacheprovider", *room.tests]
    code = pytest.main([*arguments, "--no-header", "--no-summary"], plugins=[plugin])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        sys.exit(f"the tests of {room.name} do not pass by themselves: exit code {int(code)}")
    return plugin.made


class _Mutants:
    """Takes the place of pytest's own loop over the tests."""

    def __init__(self, room: Room, only: str, processes: int) -> None:
        self.made = Made(room)
        self._only = only
        self._processes = processes
        self._judging = False

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self) -> None:
        # Before any module with tests is imported, since decorators take the profile of then.
        from hypothesis import HealthCheck, Phase, settings

        settings.register_profile(
            "mutants",
            deadline=None,
            max_examples=50,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        settings.load_profile("mutants")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[Any]) -> None:
        # What the failure says nobody reads, and it takes longer than most tests.
        if self._judging and call.excinfo is not None and not _no_failure(call.excinfo.value):
            os._exit(1)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        paths = list(_modules(self.made.room))
        called, failed, seconds = _in_child(lambda: _called(session, paths))
        if failed:
            session.testsfailed = failed
            return True
        for path in paths:
            importlib.import_module(_name(path))
        functions_of = {path: _functions_of(str(path)) for path in paths}
        if self.made.room.before:
            module, _, function = self.made.room.before.partition(":")
            getattr(importlib.import_module(module), function)()
        gc.freeze()  # what there is now the collectors of all the forks need not look at
        self._judging = True
        running: dict[int, str] = {}
        for path in paths:
            name, functions = _name(path), functions_of[path]
            for change in changes(path.read_text(encoding="utf-8"), str(path)):
                whole = f"{name}:{change.function}"
                if self._only not in whole or change.function in self.made.room.leave_out:
                    continue
                tests = called.get((str(path), change.function), [])
                if not tests:
                    if whole not in self.made.uncalled:
                        self.made.uncalled.append(whole)
                    continue
                self.made.mutants += 1
                tests = sorted(tests, key=seconds.__getitem__)
                tests = [each for each in tests if seconds[each] <= _QUICK] or tests[:1]
                while len(running) >= self._processes:
                    self._reap(running)
                limit = sum(seconds[each] for each in tests) + _SECONDS
                at = _fork(partial(_judge, session, functions, change, tests, limit))
                running[at] = f"{whole}: {change.words}"
        while running:
            self._reap(running)
        return True

    def _reap(self, running: dict[int, str]) -> None:
        pid, status = os.wait()
        name = running.pop(pid)
        if status == 0:
            self.made.survived.append(name)
            print(f"\nsurvived: {name}", flush=True)


def _modules(room: Room) -> Iterator[Path]:
    for pattern in room.modules:
        found = sorted(ROOT.glob(pattern))
        assert found, f"{pattern} is no module"
        yield from (path for path in found if path.name != "__init__.py")


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts[1:])


def _run(session: pytest.Session, tests: list[int]) -> Iterator[int]:
    """Run tests by their numbers; a number comes back after each."""
    for place, number in enumerate(tests):
        following = session.items[tests[place + 1]] if place + 1 < len(tests) else None
        item = session.items[number]
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
        yield number


def _no_failure(raised: BaseException) -> bool:
    return isinstance(raised, pytest.skip.Exception | pytest.xfail.Exception)


def _called(session: pytest.Session, paths: list[Path]) -> Any:
    """Which tests call which function, how many fail, and how long each takes."""
    called: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    seen: set[tuple[str, str]] = set()
    for path in paths:
        importlib.import_module(_name(path))
        mark = f"_note_call_in_{path.stem}"
        setattr(builtins, mark, partial(_note, seen, str(path)))
        code = marked(path.read_text(encoding="utf-8"), str(path), mark)
        _put(_functions_of(str(path)), code)
    seconds: dict[int, float] = {}
    for number in range(len(session.items)):
        seen.clear()
        before = sum(os.times()[:2])
        list(_run(session, [number]))
        seconds[number] = sum(os.times()[:2]) - before
        for key in list(seen):
            called[key].add(number)
    return {key: sorted(tests) for key, tests in called.items()}, session.testsfailed, seconds


def _note(seen: set[tuple[str, str]], path: str, name: str) -> None:
    seen.add((path, name))


def _judge(
    session: pytest.Session,
    functions: list[FunctionType],
    change: Change,
    tests: list[int],
    limit: float,
) -> int:
    """1 when a test notices the change, or the processor time that it takes."""
    resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(limit), math.ceil(limit)))
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    signal.signal(signal.SIGALRM, partial(_look_whether_it_waits, time.process_time()))
    signal.alarm(_PATIENCE)
    _put(functions, change.code)
    for _ in _run(session, tests):
        if session.testsfailed:
            return 1
    return 0


def _look_whether_it_waits(used: float, *_: object) -> None:
    """End the process if it has taken next to no processor time since it had `used` so much."""
    now = time.process_time()
    if now - used < _WAITING:
        os._exit(1)
    signal.signal(signal.SIGALRM, partial(_look_whether_it_waits, now))
    signal.alarm(_PATIENCE)


def _put(functions: list[FunctionType], code: CodeType) -> None:
    """Give functions the code that they have in another version of their module."""
    new = {(each.co_qualname, each.co_firstlineno): each for each in _codes(code)}
    for function in functions:
        old = function.__code__
        made = new.get((old.co_qualname, old.co_firstlineno))
        if made is not None and made.co_freevars == old.co_freevars:
            function.__code__ = made


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _functions_of(path: str) -> list[FunctionType]:
    """Every function that was made from a file, wherever it is kept."""
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, FunctionType) and each.__code__.co_filename == path
    ]


def _fork(job: Any) -> int:
    """Do a job in a child, quietly; its exit code is what the job returns."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        code = job()
    finally:
        os._exit(code)


def _in_child(job: Any) -> Any:
    """What a job returns that is done in a child, so that it leaves nothing behind here."""
    read, write = os.pipe()

    def send() -> int:
        raw = pickle.dumps(job())
        with open(write, "wb") as file:
            file.write(raw)
        return 0

    pid = _fork(send)
    os.close(write)
    with open(read, "rb") as file:
        raw = file.read()
    os.waitpid(pid, 0)
    return pickle.loads(raw)
