"""Pytest plugin: wraps every app that Starlette's tests hand to a client or call themselves."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from starlette.testclient import TestClient

from .wrap import make_wrapper

_wrapper = make_wrapper(os.environ["CANARIO_COMPAT_VARIANT"])

_ASGI_PARAMETERS = ["self", "scope", "receive", "send"]


def pytest_collection_finish(session: pytest.Session) -> None:
    """Patch when all tests are imported, and so all that they call."""
    _patch_test_client()
    _patch_transport(importlib.import_module("httpx2"))
    for cls in _asgi_classes():
        _wrapper.patch_calls(cls)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Called when all tests have run."""
    _wrapper.write()


def _patch_test_client() -> None:
    """Wrap what a `TestClient` has made of its app: it takes ASGI 2 and classes too."""
    bare: Any = TestClient.__init__

    @functools.wraps(bare)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        bare(self, *args, **kwargs)
        self.app = self._transport.app = _wrapper(self.app)

    TestClient.__init__ = init  # type: ignore[method-assign]


def _patch_transport(httpx: ModuleType) -> None:
    bare: Any = httpx.ASGITransport.__init__

    @functools.wraps(bare)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        bare(self, *args, **kwargs)
        self.app = _wrapper(self.app)

    httpx.ASGITransport.__init__ = init


def _asgi_classes() -> Iterator[type]:
    """The classes of Starlette and of its test modules whose instances are ASGI apps."""
    modules = [
        module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("starlette", "tests")
    ]
    # A module shows what it imports as well: the set keeps each class once.
    classes = {
        item for module in modules for item in vars(module).values() if inspect.isclass(item)
    }
    for cls in classes:
        call = vars(cls).get("__call__")
        if inspect.iscoroutinefunction(call) and _parameters(call) == _ASGI_PARAMETERS:
            yield cls


def _parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)
