"""What was seen, by name: made, written, read and compared."""

from __future__ import annotations

import difflib
import hashlib
import multiprocessing
import os
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.equivalence.parts import PARTS

__all__ = ["differences", "made_by", "read", "write"]

Texts = dict[str, str]

_DIGESTS = "digests.txt"

# The least that a zip can say; a recording has no date.
_NO_DATE = (1980, 1, 1, 0, 0, 0)


def made_by(parts: Iterable[str], processes: int) -> Texts:
    """All texts of these parts, each made in a new process: no part finds what another left."""
    spawn = multiprocessing.get_context("spawn")
    texts: Texts = {}
    with ProcessPoolExecutor(processes, mp_context=spawn, max_tasks_per_child=1) as pool:
        for name, seconds, made in pool.map(_made, parts):
            print(
                f"{name}: {len(made)} texts, {seconds:.0f} s of a processor",
                file=sys.stderr,
                flush=True,
            )
            texts |= made
    return dict(sorted(texts.items()))


def _made(part: str) -> tuple[str, float, Texts]:
    with tempfile.TemporaryDirectory(prefix="equivalence-") as folder:
        made = {f"{part}/{name}": text for name, text in PARTS[part](Path(folder).resolve())}
    # Its own processor time and its commands', which says more on a busy machine than the clock.
    return part, sum(os.times()[:4]), made


def write(file: Path, texts: Texts) -> None:
    """Write a recording."""
    digests = "".join(f"{_digest(text)}  {name}\n" for name, text in texts.items())
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {_DIGESTS: digests, **texts}.items():
            archive.writestr(
                zipfile.ZipInfo(name, _NO_DATE),
                text.encode("utf-8", "surrogateescape"),
                zipfile.ZIP_DEFLATED,
            )


def read(file: Path) -> Texts:
    """A recording's texts by their names."""
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name != _DIGESTS]
        return {name: archive.read(name).decode("utf-8", "surrogateescape") for name in names}


def differences(before: Texts, after: Texts, lines: int) -> Iterator[str]:
    """For each text that is another one, or that only one of both has: its name and a diff."""
    for name in sorted(before.keys() | after.keys()):
        old, new = before.get(name), after.get(name)
        if old == new:
            continue
        if old is None or new is None:
            yield f"== {name}: only {'after' if old is None else 'before'}"
            continue
        diff = difflib.unified_diff(
            old.splitlines(), new.splitlines(), "before", "after", lineterm="", n=1
        )
        shown = [line[:300] for line, _ in zip(diff, range(lines + 1), strict=False)]
        if len(shown) > lines:
            shown[-1] = "…"
        yield "\n".join([f"== {name}: {_digest(old)[:12]} is {_digest(new)[:12]}", *shown])


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
