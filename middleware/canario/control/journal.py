"""A journal as text: one JSON document a line, in the order of the events."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import DecodeError, Struct, json

from .events import Event, Instant
from .state import JournalError

__all__ = ["Journal", "JournalError", "Watched", "dump_journal", "parse_journal"]


class Watched(Struct, frozen=True, kw_only=True, tag_field="event", tag="watched"):
    """A line that is no event: the process `pid` has watched the rollout until `at`.

    So a restart knows how much of a hold was served, whatever the host's date says by then, and
    another writer is told who this one is.
    """

    at: Instant
    pid: int


# How every line begins: what cannot be a part of it, no crash has cut off.
_HEAD = b'{"event":"'

_decoder = json.Decoder(Event | Watched)
_encoder = json.Encoder()


class Journal(Struct, frozen=True):
    """The whole events of a journal.

    `truncated` holds what came after the last whole event, where a crash cut the writing short;
    it is empty for a journal that is whole. `whole_bytes` is the length of the whole part, whose
    last line feed may be missing. `watched` is the last instant at which it is known to have been
    watched, and `pid` the process that did; None where the journal does not say it.
    """

    events: tuple[Event, ...]
    whole_bytes: int
    truncated: bytes = b""
    watched: float | None = None
    pid: int | None = None


def dump_journal(events: Iterable[Event | Watched]) -> bytes:
    """The lines of a journal, each with its line feed."""
    return b"".join(_encoder.encode(event) + b"\n" for event in events)


def parse_journal(raw: bytes) -> Journal:
    """Read a journal up to its last whole event.

    Raises `JournalError`, with the number of the line, for a line that is whole but no event, and
    for a last one that is no beginning of an event either.
    """
    whole, newline, rest = raw.rpartition(b"\n")
    lines = whole.split(b"\n") if newline else []
    told = [_decoded(line, number) for number, line in enumerate(lines, start=1)]
    length = len(whole) + len(newline)
    if rest:
        try:  # only the line feed may be missing
            told.append(_decoded(rest, len(lines) + 1))
        except JournalError:
            # A file system may have kept the length of what was written, and not the bytes.
            cut = rest.rstrip(b"\0")
            if not (cut.startswith(_HEAD) or _HEAD.startswith(cut)):
                raise
        else:
            length, rest = len(raw), b""
    notes = [each for each in told if isinstance(each, Watched)]
    return Journal(
        tuple(each for each in told if not isinstance(each, Watched)),
        length,
        rest,
        told[-1].at if told else None,
        notes[-1].pid if notes else None,
    )


def _decoded(line: bytes, number: int) -> Event | Watched:
    try:
        told: Event | Watched = _decoder.decode(line)
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:  # brackets within brackets
        raise JournalError(f"line {number} is no event of a rollout: {error}") from error
    return told
