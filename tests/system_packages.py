"""Programs that come with a system package, which a machine that has only Python lacks.

A test that needs one is skipped there, with a line that says what to install. Where
`CANARIO_REQUIRE_SYSTEM=1` is set, as in CI, it fails instead.
"""

from __future__ import annotations

import os
import re
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

__all__ = ["need", "summary"]

REQUIRED = "CANARIO_REQUIRE_SYSTEM"

# Of each program the package of Debian, and of Ubuntu, that has it.
PACKAGES = {
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "chromium": "chromium",
    "chromedriver": "chromium-driver",
    "redis-server": "redis-server",
    "valgrind": "valgrind",
}

_LACKING = re.compile(r"needs (\S+), which is not installed: (apt-get install [a-z-]+)")


def need(program: str) -> str:
    """The path of a program. Skips the test, or fails it, where there is none."""
    path = shutil.which(program)
    if path is not None:
        return path
    lacking = (
        f"needs {program}, which is not installed: apt-get install {PACKAGES[program]} "
        "(of Debian and Ubuntu)"
    )
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{lacking}; {REQUIRED}=1 lets nothing be skipped", pytrace=False)
    pytest.skip(lacking)


def summary(reasons: Iterable[str]) -> Iterator[str]:
    """A line for each package that tests were skipped for, of the reasons of all skipped tests."""
    found = Counter(match.groups() for match in map(_LACKING.search, reasons) if match)
    for (program, install), n in sorted(found.items()):
        tests = "1 test was" if n == 1 else f"{n} tests were"
        yield f"{tests} skipped for want of {program}; to run them: {install}"
