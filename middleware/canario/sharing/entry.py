"""What stands in the log of a shared rollout, and how it is written.

An entry is one input of the state machine and the events that it led to for whoever decided.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from msgspec import DecodeError, Struct, msgpack

from canario.control.events import Aborted, Event, RolledBack
from canario.control.machine import Command
from canario.control.rollout import MetricsSnapshot
from canario.control.shard import Row
from canario.control.violation import Violation
from canario.metrics.in_flight import Seen
from canario.plan import Deployment
from canario.routing.router import Arm
from canario.stores.shared import Head, StoredEntry, StoreError

__all__ = [
    "Begun",
    "Checked",
    "Crashed",
    "Entry",
    "FormatError",
    "Input",
    "Ordered",
    "Rows",
    "Violated",
    "Withdrawn",
    "read_end",
    "read_entry",
    "read_events",
    "read_kept",
    "read_rows",
    "read_seen",
    "read_snapshot",
    "write_end",
    "write_entry",
    "write_kept",
    "write_rows",
    "write_seen",
]

_T = TypeVar("_T")

# Of what is kept in a store. What is newer is refused in words, since it may mean anything.
FORMAT = 1


class FormatError(StoreError):
    """A store that another version of canario has written, in a way that this one cannot read."""


class _Input(Struct, frozen=True, kw_only=True, tag_field="input"):
    pass


class Begun(_Input, frozen=True, kw_only=True, tag="begun"):
    """The release begins, under this plan."""

    deployment: Deployment


class Checked(_Input, frozen=True, kw_only=True, tag="checked"):
    """A check: what all workers have counted for it, and what they have in flight.

    `since` is when anybody last watched, where that is too long ago. So many workers are `unheard`.
    """

    rows: tuple[Row, ...]
    seen: Seen
    latest: dict[str, Violation] = {}
    since: float | None = None
    unheard: int = 0


class Violated(_Input, frozen=True, kw_only=True, tag="violated"):
    """A response broke a contract that has no budget."""

    arm: Arm
    violation: Violation


class Ordered(_Input, frozen=True, kw_only=True, tag="ordered"):
    """An operator's order."""

    order: Command


class Crashed(_Input, frozen=True, kw_only=True, tag="crashed"):
    """A worker is dead, and has left so many requests unanswered."""

    worker: str
    baseline: int
    canary: int


class Withdrawn(_Input, frozen=True, kw_only=True, tag="withdrawn"):
    """A worker has withdrawn the canary by itself, and nobody serves it any more."""

    event: RolledBack | Aborted


Input = Begun | Checked | Violated | Ordered | Crashed | Withdrawn


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of the log, at the instant `at` of the log's time, decided by the worker `by`."""

    number: int
    id: str
    before: str
    at: float
    by: str
    input: Input
    events: tuple[Event, ...]
    seen: MetricsSnapshot | None = None

    @property
    def head(self) -> Head:
        """The head of a log that ends here."""
        return Head(self.number, self.id)


class _Body(Struct, frozen=True, array_like=True):
    by: str
    input: Input


class Rows(Struct, frozen=True, array_like=True):
    """What a worker has counted: see `Shard.take`."""

    rows: tuple[Row, ...]
    latest: dict[str, Violation] = {}


class _Kept(Struct, frozen=True, array_like=True):
    """How all of them are wrapped: a version, and what is written in it."""

    format: int
    what: bytes


_encode = msgpack.Encoder().encode
_kept = msgpack.Decoder(_Kept).decode
_bodies = msgpack.Decoder(_Body).decode
_events = msgpack.Decoder(tuple[Event, ...]).decode
_ends = msgpack.Decoder(RolledBack | Aborted).decode
_snapshots = msgpack.Decoder(MetricsSnapshot).decode
_rows = msgpack.Decoder(Rows).decode
_seen = msgpack.Decoder(Seen).decode


def write_entry(entry: Entry) -> StoredEntry:
    """As a store keeps it."""
    return StoredEntry(
        number=entry.number,
        id=entry.id,
        before=entry.before,
        at=entry.at,
        body=write_kept(_Body(entry.by, entry.input)),
        journal=write_kept(entry.events) if entry.events else b"",
        seen=b"" if entry.seen is None else write_kept(entry.seen),
    )


def read_entry(stored: StoredEntry) -> Entry:
    """What a store has kept. Raises `FormatError`, as all that read."""
    body = read_kept(stored.body, _bodies)
    return Entry(
        number=stored.number,
        id=stored.id,
        before=stored.before,
        at=stored.at,
        by=body.by,
        input=body.input,
        events=read_events(stored.journal),
        seen=read_snapshot(stored.seen) if stored.seen else None,
    )


def read_events(kept: bytes) -> tuple[Event, ...]:
    """The events of an entry."""
    return read_kept(kept, _events) if kept else ()


def read_snapshot(kept: bytes) -> MetricsSnapshot:
    """What a check saw."""
    return read_kept(kept, _snapshots)


def write_end(end: RolledBack | Aborted) -> bytes:
    """A withdrawal, as a page has it."""
    return write_kept(end)


def read_end(kept: bytes) -> RolledBack | Aborted:
    """What `write_end` wrote."""
    return read_kept(kept, _ends)


def write_rows(rows: Rows) -> bytes:
    """As a part has them; nothing where there are none."""
    return write_kept(rows) if rows.rows else b""


def read_rows(parts: Sequence[bytes]) -> list[Rows]:
    """What parts have."""
    return [read_kept(part, _rows) for part in parts]


def write_seen(seen: Seen) -> bytes:
    """As a part has it."""
    return write_kept(seen)


def read_seen(kept: bytes) -> Seen:
    """What a worker has in flight."""
    return read_kept(kept, _seen)


def write_kept(what: object) -> bytes:
    """As all is written that a store or a page keeps: with the format."""
    return _encode(_Kept(FORMAT, _encode(what)))


def read_kept(kept: bytes, decode: Callable[[bytes], _T]) -> _T:
    """What `write_kept` wrote. Raises `FormatError` for what is none, or is newer."""
    try:
        wrapped = _kept(kept)
        if wrapped.format <= FORMAT:
            return decode(wrapped.what)
    except DecodeError as error:
        raise FormatError(f"the store holds something that is not canario's: {error}") from error
    raise FormatError(
        f"the store was written by a newer canario, in format {wrapped.format}; this one reads up "
        f"to {FORMAT}: upgrade it, or give this release a store of its own"
    )
