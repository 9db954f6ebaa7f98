"""What the README and the docs name, and what it is."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

from tests.equivalence.commands import ROOT

__all__ = ["public_names"]

_IMPORT = re.compile(
    r"^ *from (canario[\w.]*) import (\([^)]*\)|[^\n(]+)|^ *import (canario[\w.]*)", re.MULTILINE
)
_DOTTED = re.compile(r"`(canario(?:_sim)?(?:\.\w+)+)(?:\(.*?\))?`")


def public_names() -> Iterator[tuple[str, str]]:
    """For each module: its `__all__`, and what it is documented to have, with its parameters."""
    documented: dict[str, set[str]] = {"canario": set(), "canario_sim": set()}
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text(encoding="utf-8")
        for module, names, whole in _IMPORT.findall(text):
            known = documented.setdefault(module or whole, set())
            known |= set(re.findall(r"\w+", re.sub(r"#.*", "", names)))
        for dotted in _DOTTED.findall(text):
            module, _, name = dotted.rpartition(".")
            if _is_module(dotted):
                documented.setdefault(dotted, set())
            elif _is_module(module):
                documented.setdefault(module, set()).add(name)
    for module in sorted(documented):
        found = importlib.import_module(module)
        names = {*getattr(found, "__all__", ()), *documented[module]} - {"__version__"}
        lines = [line for name in sorted(names) for line in _described(found, name)]
        yield module, "\n".join([f"__all__ {sorted(getattr(found, '__all__', ()))}", *lines]) + "\n"


def _is_module(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def _described(module: object, name: str) -> Iterator[str]:
    if not hasattr(module, name):
        yield f"{name}: there is none"
        return
    value = getattr(module, name)
    if inspect.ismodule(value):
        yield f"{name}: a module"
    elif not callable(value):
        yield f"{name}: {type(value).__name__}"
    else:
        yield f"{name}{_parameters(value)}"
        if inspect.isclass(value):
            for member in sorted(m for m in dir(value) if not m.startswith("_")):
                attribute = inspect.getattr_static(value, member)
                told = _parameters(getattr(value, member)) if callable(attribute) else ""
                yield f"    .{member}{told}"


def _parameters(value: object) -> str:
    """Names, kinds and defaults; not the annotations, for these name where types live."""
    try:
        signature = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(?)"
    bare = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
    text = str(signature.replace(parameters=bare, return_annotation=signature.empty))
    return re.sub(r" at 0x[0-9a-f]+", "", text)
