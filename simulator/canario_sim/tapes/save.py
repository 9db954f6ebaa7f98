"""From recorded traffic to a tape."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from msgspec import json

from canario.tape.format import (
    FORMAT,
    INSERT_REQUEST,
    INSERT_ROUTE,
    INSERT_VIOLATION,
    VERSION,
    TapeError,
    create,
    put_meta,
)

from .recording import Recording

__all__ = ["write_tape"]

_ROWS = 50_000


def write_tape(recording: Recording, path: str | os.PathLike[str]) -> None:
    """Make a tape of the requests, and what they broke, without a journal.

    Raises `TapeError` when there is a file already, and when it cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(create(path)) as tape:
            _fill(tape, recording)
    except FileExistsError as error:
        raise TapeError(f"{path} is there already; give another name") from error
    except (OSError, sqlite3.Error) as error:
        raise TapeError(f"{path} cannot be written: {error}") from error


def _fill(tape: sqlite3.Connection, recording: Recording) -> None:
    tape.execute("BEGIN")
    put_meta(
        tape,
        {
            "format": FORMAT,
            "version": VERSION,
            "session": secrets.token_hex(8),
            "part": 1,
            "inputs_before": 0,
            "whole": 0,
            "restored": 0,
            "source": recording.source,
            "closed": "1",
        },
    )
    if recording.plan is not None:
        put_meta(tape, {"plan": json.encode(recording.plan).decode()})
    tape.executemany(INSERT_ROUTE, enumerate(recording.routes))
    # Broken contracts are numbered among the requests, each at its place.
    before = np.array([each.position for each in recording.broken], np.int64)
    numbers = np.arange(1, len(recording) + 1) + np.searchsorted(
        before, np.arange(len(recording)), "right"
    )
    for first in range(0, len(recording), _ROWS):
        tape.executemany(INSERT_REQUEST, _rows(recording, numbers, first))
    tape.executemany(
        INSERT_VIOLATION,
        (
            (
                each.position + place + 1,
                int(numbers[each.request]) if each.request >= 0 else None,
                each.at,
                int(each.canary),
                each.violation.contract,
                json.encode(each.violation).decode(),
            )
            for place, each in enumerate(recording.broken)
        ),
    )
    tape.execute("COMMIT")
    # A tape that is done is one file, which may be moved: no log of SQLite's lies beside it.
    tape.execute("PRAGMA journal_mode = DELETE")


def _rows(
    recording: Recording, numbers: np.ndarray[Any, Any], first: int
) -> Iterator[tuple[object, ...]]:
    part = slice(first, first + _ROWS)
    # The last place is where -1, no key, leads to.
    identities = [*recording.identities.tolist(), None]
    return zip(
        numbers[part].tolist(),
        recording.at[part].tolist(),
        recording.ended[part].tolist(),
        [arm if arm >= 0 else None for arm in recording.arm[part].tolist()],
        recording.outcome[part].tolist(),
        # NaN, which is not itself: not timed.
        [ms if ms == ms else None for ms in recording.latency_ms[part].tolist()],
        [bucket if bucket >= 0 else None for bucket in recording.bucket[part].tolist()],
        [identities[key] for key in recording.key[part].tolist()],
        [route if route >= 0 else None for route in recording.route[part].tolist()],
        recording.flight[part].tolist(),
        strict=True,
    )
