"""Loops compiled by numba, where it is installed: the same results to the bit, sooner.

A loop is ordinary Python in a module of its own, which runs as it stands without numba. Compiled
code is kept on disk, beside the source or in the user's cache, so that it is made once for each
installation; that may take half a minute. A loop uses nothing that numba may round otherwise than
Python: sums, products, quotients and comparisons of floats, and no functions but exact ones (`min`,
`max`, `abs`).
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["compiled", "installed", "kept"]


@cache
def installed() -> bool:
    """Whether numba is there. Importing it takes half a second, so this only looks."""
    return find_spec("numba") is not None


@cache
def compiled(module: ModuleType) -> ModuleType | None:
    """A copy of a module whose functions are compiled; None where numba cannot be had.

    All of the module's functions must be compilable, and allocate nothing; they may call each
    other, and none in another module: numba would not notice that one has changed. Each is
    compiled, or read from disk, when it is first called.
    """
    try:
        from numba import njit
    except ImportError:
        return None
    assert module.__file__ is not None
    # Numba looks up the module of what it has cached by name.
    name = f"{module.__name__}_compiled"
    spec = spec_from_file_location(name, module.__file__)
    assert spec is not None
    assert spec.loader is not None
    copy = module_from_spec(spec)
    sys.modules[name] = copy
    spec.loader.exec_module(copy)
    for key, value in list(vars(copy).items()):
        if isinstance(value, FunctionType) and value.__module__ == name:
            # Only what is called from outside needs a way in from Python, and nothing is allocated,
            # so that references to arrays need not be counted: either would cost more than all
            # the rest, one when compiling and the other when running. (What is on disk goes with
            # the source's date alone: whoever changes these options must touch it.)
            options: dict[str, Any] = {
                "no_cfunc_wrapper": True,
                "no_cpython_wrapper": key.startswith("_"),
                "_nrt": False,
            }
            try:
                setattr(copy, key, njit(cache=True, **options)(value))
            except RuntimeError:  # no folder to keep it in can be written
                setattr(copy, key, njit(**options)(value))
    return copy


@cache
def kept(module: ModuleType) -> bool:
    """Whether all that is called of a module's compiled copy is on disk, as far as dates tell.

    It may be of another processor or another numba all the same: then it is compiled anew.
    """
    copy = compiled(module)
    if copy is None or module.__file__ is None:
        return False
    source = Path(module.__file__)
    written = source.stat().st_mtime
    folders = [
        (name, folder)
        for name, value in vars(copy).items()
        if not name.startswith("_") and (folder := _folder(value)) is not None
    ]
    return bool(folders) and all(
        any(file.stat().st_mtime > written for file in folder.glob(f"{source.stem}.{name}-*.nbi"))
        for name, folder in folders
    )


def _folder(function: Any) -> Path | None:
    """Where numba keeps a compiled function; None of anything else."""
    path = getattr(getattr(function, "stats", None), "cache_path", None)
    return None if path is None else Path(path)
