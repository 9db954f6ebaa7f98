"""How a loop is compiled: a copy of its module, kept on disk where that can be."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from posixpath import basename
from types import ModuleType
from typing import Any

import pytest

from canario_sim.world import jit

SOURCE = """
from posixpath import basename

def _more(x):
    return x + 1

def twice(x):
    return 2 * _more(x)
"""


@pytest.fixture
def module(tmp_path: Path) -> Iterator[ModuleType]:
    path = tmp_path / "a_loop.py"
    path.write_text(SOURCE)
    spec = spec_from_file_location("a_loop", path)
    assert spec is not None
    assert spec.loader is not None
    made = module_from_spec(spec)
    spec.loader.exec_module(made)
    yield made
    sys.modules.pop("a_loop_compiled", None)
    jit.compiled.cache_clear()
    jit.kept.cache_clear()


def test_a_copy_of_a_module_is_compiled_and_kept_on_disk(module: ModuleType) -> None:
    assert jit.installed()
    copy: Any = jit.compiled(module)
    assert copy.twice(20) == module.twice(20) == 42
    assert copy.twice.stats.cache_path is not None
    assert sum(copy.twice.stats.cache_misses.values()) == 1
    # What is no function of its own is as it was.
    assert copy.basename is basename
    assert jit.compiled(module) is copy


def test_what_is_kept_is_on_disk_and_later_than_its_source(module: ModuleType) -> None:
    def kept() -> bool:
        jit.kept.cache_clear()
        return jit.kept(module)

    assert not kept()
    copy: Any = jit.compiled(module)
    assert not kept()
    copy.twice(20)
    assert kept()
    source = Path(module.__file__ or "")
    later = source.stat().st_mtime + 3600
    os.utime(source, (later, later))
    assert not kept()


def test_where_no_folder_can_be_written_it_is_compiled_all_the_same(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numba

    njit: Callable[..., Any] = numba.njit

    def without_cache(*functions: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        # Numba decorates functions of its own too, when it is first used.
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", without_cache)
    copy: Any = jit.compiled(module)
    assert copy.twice(20) == 42
    assert copy.twice.stats.cache_path is None
    assert not jit.kept(module)


def test_without_numba_there_is_none(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numba", None)
    jit.installed.cache_clear()
    try:
        assert not jit.installed()
        assert jit.compiled(module) is None
        assert not jit.kept(module)
    finally:
        jit.installed.cache_clear()
