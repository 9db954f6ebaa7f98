"""Pytest plugin: wraps every instance of the framework's app classes, whoever calls it.

`CANARIO_COMPAT_CLASSES` names them: `falcon:App falcon.asgi:App`.
"""

from __future__ import annotations

import importlib
import os

import pytest

from .wrap import make_wrapper

_wrapper = make_wrapper(os.environ["CANARIO_COMPAT_VARIANT"])


def pytest_collection_finish(session: pytest.Session) -> None:
    """Patch when all tests are imported: none meets a class that is half patched."""
    for name in os.environ["CANARIO_COMPAT_CLASSES"].split():
        module, _, attribute = name.partition(":")
        _wrapper.patch_calls(getattr(importlib.import_module(module), attribute))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Called when all tests have run."""
    _wrapper.write()
