"""The files of a tape: which name is free, and which are too many."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from .format import create

__all__ = ["begin_file", "family", "remove_oldest"]

# A file that nobody has ended and nobody has written for so long is a crashed worker's.
_ABANDONED_SECONDS = 3600.0


def family(path: Path) -> list[tuple[int, Path]]:
    """The files that are called like `path`, by number: 1 for its own name, then -2, -3, …"""
    stem, suffixes = _parts(path)
    pattern = re.compile(re.escape(stem) + r"-(\d+)" + re.escape(suffixes))
    found = [(1, path)] if path.exists() else []
    for file in path.parent.iterdir():
        match = pattern.fullmatch(file.name)
        if match and int(match[1]) > 1:
            found.append((int(match[1]), file))
    return sorted(found)


def begin_file(path: Path) -> tuple[Path, sqlite3.Connection]:
    """Make the next file that is called like `path`: after the last one that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in _numbers(path):
        stem, suffixes = _parts(path)
        file = path if number == 1 else path.with_name(f"{stem}-{number}{suffixes}")
        with suppress(FileExistsError):  # another worker was quicker
            return file, create(file)
    raise AssertionError("the numbers never end")


def remove_oldest(path: Path, most: int, mine: Path) -> int:
    """Remove the oldest files of a name that nobody writes, until there are at most `most`.

    Returns how many rows they held.
    """
    files = family(path)
    rows = 0
    for _, file in files[: max(len(files) - most, 0)]:
        if file != mine and not _in_use(file):
            rows += _rows(file)
            for each in (file, Path(f"{file}-wal"), Path(f"{file}-shm")):
                each.unlink(missing_ok=True)
    return rows


def _numbers(path: Path) -> Iterator[int]:
    files = family(path)
    # Never one that has become free: by their numbers the files are known to be older or newer.
    number = files[-1][0] + 1 if files else 1
    while True:
        yield number
        number += 1


def _parts(path: Path) -> tuple[str, str]:
    """`traffic` and `.tape.sqlite`."""
    stem, dot, suffixes = path.name.partition(".")
    if stem:
        return stem, dot + suffixes
    return path.name, ""


def _rows(file: Path) -> int:
    with suppress(sqlite3.Error), closing(_read(file)) as tape:
        (rows,) = tape.execute("SELECT count(*) FROM requests").fetchone()
        return int(rows)
    return 0  # it was no tape, so none are lost


def _read(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)


def _in_use(file: Path) -> bool:
    with suppress(OSError):
        last = max(each.stat().st_mtime for each in (file, Path(f"{file}-wal")) if each.exists())
        if time.time() - last > _ABANDONED_SECONDS:
            return False
    try:
        with closing(_read(file)) as tape:
            return not tape.execute("SELECT 1 FROM meta WHERE name = 'closed'").fetchall()
    except sqlite3.Error:
        return True  # somebody's, who knows whose
