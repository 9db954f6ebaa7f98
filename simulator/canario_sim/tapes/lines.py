"""A file's lines as text, whatever it is packed by and written in."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

from canario.tape.format import TapeError

__all__ = ["Lines"]

_CHUNK = 1 << 20

# No line of a log is longer; of one that is, no more is kept, so that it cannot be read as one.
_LONGEST = 1 << 15

_BLANK = " \t\r\n\0\ufeff"


def _zstd() -> Any:
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return import_module(name).ZstdDecompressor()
        except ImportError:
            continue
    raise TapeError("packed by zstd, which this Python cannot read; unpack it first: zstd -d")


# How packed files begin, and what unpacks a part of them: by what is in them, not by their name.
_PACKED: tuple[tuple[bytes, Callable[[], Any]], ...] = (
    (b"\x1f\x8b", lambda: zlib.decompressobj(31)),
    (b"\xfd7zXZ\0", lambda: import_module("lzma").LZMADecompressor()),
    (b"BZh", lambda: import_module("bz2").BZ2Decompressor()),
    (b"\x28\xb5\x2f\xfd", _zstd),
)


_BROKEN: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error)
with suppress(ImportError):  # a Python that was built without it
    _BROKEN += (import_module("lzma").LZMAError,)


class Lines:
    """The lines of a file, one time through, without blanks and byte order marks at their ends.

    Attributes:
        cut: Why the file ends before its end; None when it does not. All that stands before is
            read, but the line that was cut.

    Raises `TapeError` for a file of which nothing can be read.
    """

    def __init__(self, path: Path, progress: Callable[[int], object] | None = None) -> None:
        self.cut: str | None = None
        self._path = path
        self._progress = progress

    def __iter__(self) -> Iterator[str]:
        return chain.from_iterable(self.batches())

    def batches(self) -> Iterator[list[str]]:
        """The lines, some thousands at a time."""
        decoder: codecs.IncrementalDecoder | None = None
        rest = ""
        for chunk in self._unpacked():
            if decoder is None:
                decoder = codecs.getincrementaldecoder(_encoding(chunk[:256]))("replace")
            # Not `splitlines`, which takes more for the end of a line than a server does.
            lines = (rest + decoder.decode(chunk)).split("\n")
            rest = lines.pop()[:_LONGEST]
            yield [line.strip(_BLANK) for line in lines]
        if rest and self.cut is None:
            yield [rest.strip(_BLANK)]

    def _unpacked(self) -> Iterator[bytes]:
        read = given = 0
        unpack: Any = None
        begin: Callable[[], Any] | None = None
        try:
            with self._path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    if not read:
                        begin = _packed_by(chunk)
                    read += len(chunk)
                    if self._progress is not None:
                        self._progress(read)
                    while chunk and begin is not None:
                        # Several packed files may stand behind each other.
                        if unpack is None or unpack.eof:
                            unpack = begin()
                        plain = unpack.decompress(chunk)
                        chunk = unpack.unused_data.lstrip(b"\0") if unpack.eof else b""
                        if plain:
                            given += len(plain)
                            yield plain
                    if chunk:
                        given += len(chunk)
                        yield chunk
            if unpack is not None and not unpack.eof:
                self.cut = "it was packed, and its end is missing"
        except TapeError as error:
            raise TapeError(f"{self._path} is {error}") from error
        except _BROKEN as error:
            if not given:
                raise TapeError(f"{self._path} cannot be read: {error}") from error
            self.cut = f"the rest cannot be read: {error}"
        if self.cut is not None and not given:
            raise TapeError(f"{self._path} cannot be read: {self.cut}")


def _packed_by(head: bytes) -> Callable[[], Any] | None:
    if head.startswith(b"PK\3\4"):
        raise TapeError("a zip archive; unpack it first")
    return next((begin for magic, begin in _PACKED if head.startswith(magic)), None)


def _encoding(head: bytes) -> str:
    """UTF-8, but UTF-16 where a mark says so, or every other byte is empty as it is in English."""
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    for first, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        half = head[first::2]
        if len(half) > 8 and 2 * half.count(0) > len(half) and 0 not in head[1 - first :: 2]:
            return name
    return "utf-8"
