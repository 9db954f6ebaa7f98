"""A scenario as the text of a TOML file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from canario.printable import code_escapes, printable

__all__ = ["quoted", "toml_text"]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDTH = 100
_MOST_INLINE = 3


def toml_text(document: dict[str, Any], comments: Iterable[str] = ()) -> str:
    """The document, whose None values are left out, below some comments."""
    lines = [
        f"# {printable(line)}".rstrip() for comment in comments for line in comment.splitlines()
    ]
    if lines:
        lines.append("")
    return "\n".join([*lines, *_table(document, ())]) + "\n"


def _table(table: dict[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """A table's plain values first, then the tables in it, as TOML wants it."""
    inner: list[tuple[str, Any]] = []
    for key, value in table.items():
        if value is None or value == {} or value == []:
            continue
        if (isinstance(value, dict) and not _is_short(value)) or _is_tables(value):
            inner.append((key, value))
        else:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in inner:
        name = ".".join(map(_key, (*path, key)))
        for each in [value] if isinstance(value, dict) else value:
            lines = list(_table(each, (*path, key)))
            # A table that has nothing but tables needs no heading of its own.
            if isinstance(value, list) or not lines or lines[0]:
                yield ""
                yield f"[{name}]" if isinstance(value, dict) else f"[[{name}]]"
            yield from lines


def _is_tables(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(each, dict) for each in value)
        and not all(_is_short(each) for each in value)
    )


def _is_short(value: Any) -> bool:
    """Whether a table is better written on one line."""
    return (
        isinstance(value, dict)
        and len(value) <= _MOST_INLINE
        and all(not isinstance(each, dict | list) for each in value.values())
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, dict):
        parts = [f"{_key(k)} = {_value(v)}" for k, v in value.items() if v is not None]
        return f"{{ {', '.join(parts)} }}"
    if isinstance(value, list):
        return _list([_value(each) for each in value])
    return repr(value)


def quoted(text: str) -> str:
    """A string of TOML: JSON's, with TOML's escape for what is beyond 65,535."""
    return code_escapes(json.dumps(text, ensure_ascii=False), long=True)


def _list(parts: list[str]) -> str:
    whole = f"[{', '.join(parts)}]"
    if len(whole) <= _WIDTH:
        return whole
    lines: list[str] = [""]
    for part in parts:
        if lines[-1] and len(lines[-1]) + len(part) + 2 > _WIDTH - 4:
            lines.append("")
        lines[-1] += f"{part}, "
    return "[\n" + "\n".join(f"    {line.rstrip()}" for line in lines) + "\n]"


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _value(key)
