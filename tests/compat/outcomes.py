"""What becomes of the tests of one run, kept in files for the script."""

from __future__ import annotations

import json
import os
from pathlib import Path

__all__ = ["Outcomes", "write"]


def write(name: str, content: object) -> None:
    """Write `content` as JSON to the file `name` of this run."""
    Path(os.environ["CANARIO_COMPAT_OUT"], name).write_text(json.dumps(content), encoding="utf-8")


class Outcomes:
    """What became of each test: `passed`, or the first thing that went another way."""

    def __init__(self) -> None:
        self._outcomes: dict[str, dict[str, str]] = {}

    def add(self, test: str, outcome: str, detail: str = "") -> None:
        """Note `outcome`; a failure stays when its test's teardown passes."""
        known = self._outcomes.get(test)
        if known is None or known["outcome"] == "passed":
            self._outcomes[test] = {"outcome": outcome, "detail": detail}

    def write(self) -> None:
        """Leave them to the script."""
        write("outcomes.json", self._outcomes)
