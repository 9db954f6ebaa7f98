"""Runs Django's own `runtests.py`, with every app wrapped where a variant is given.

Usage: python -m canario_compat.run_django runtests.py [its arguments], in Django's `tests`.
"""

from __future__ import annotations

import functools
import os
import runpy
import sys
import unittest
from typing import Any

from .outcomes import Outcomes

_outcomes = Outcomes()


class RecordingResult(unittest.TextTestResult):
    """Notes every test's outcome beside printing it."""

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        _outcomes.add(test.id(), "passed")

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addFailure(test, err)
        _outcomes.add(test.id(), "failed", self.failures[-1][1])

    def addError(self, test: unittest.TestCase, err: Any) -> None:
        super().addError(test, err)
        _outcomes.add(test.id(), "error", self.errors[-1][1])

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        _outcomes.add(test.id(), "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Any) -> None:
        super().addExpectedFailure(test, err)
        _outcomes.add(test.id(), "xfailed")

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        _outcomes.add(test.id(), "xpassed")

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            _outcomes.add(test.id(), "failed", str(err[1]))


def main() -> None:
    """Run the script named first with the arguments after it."""
    unittest.TextTestRunner.resultclass = RecordingResult  # type: ignore[assignment]
    variant = os.environ.get("CANARIO_COMPAT_VARIANT")
    if variant is None:
        _run()
    else:
        _run_wrapped(variant)


def _run() -> None:
    sys.argv = sys.argv[1:]
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    finally:
        _outcomes.write()


def _run_wrapped(variant: str) -> None:
    """Wrap what reaches asgiref's `ApplicationCommunicator`, the only server in these tests."""
    # canario is not imported in a bare run.
    from asgiref.testing import ApplicationCommunicator

    from .wrap import make_wrapper

    wrapper = make_wrapper(variant)
    bare: Any = ApplicationCommunicator.__init__

    @functools.wraps(bare)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        bare(self, *args, **kwargs)
        self.application = wrapper(self.application)

    ApplicationCommunicator.__init__ = init  # type: ignore[method-assign]
    try:
        _run()
    finally:
        wrapper.write()


if __name__ == "__main__":
    main()
