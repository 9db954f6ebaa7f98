"""A journal as text: one JSON document a line, in the order of the events."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import DecodeError, Struct, json

from .events import Event

__all__ = ["Journal", "JournalError", "dump_journal", "parse_journal"]

_decoder = json.Decoder(Event)
_encoder = json.Encoder()


class JournalError(ValueError):
    """A journal with a line that is no event, other than a last one that was cut off."""


class Journal(Struct, frozen=True):
    """The whole events of a journal.

    `truncated` holds what came after the last whole event, where a crash cut the writing short;
    it is empty for a journal that is whole. `whole_bytes` is the length of the whole part.
    """

    events: tuple[Event, ...]
    whole_bytes: int
    truncated: bytes = b""


def dump_journal(events: Iterable[Event]) -> bytes:
    """The lines of a journal, each with its line feed."""
    return b"".join(_encoder.encode(event) + b"\n" for event in events)


def parse_journal(raw: bytes) -> Journal:
    """Read a journal up to its last whole event.

    Raises `JournalError`, with the number of the line, for a line that is whole but no event.
    """
    whole, newline, rest = raw.rpartition(b"\n")
    events = []
    for number, line in enumerate(whole.split(b"\n") if newline else (), start=1):
        try:
            events.append(_decoder.decode(line))
        except DecodeError as error:
            raise JournalError(f"line {number} is no event of a rollout: {error}") from error
    return Journal(tuple(events), len(whole) + len(newline), rest)
