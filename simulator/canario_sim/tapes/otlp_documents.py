"""Files of spans in OTLP's JSON, as the collector's file exporter and others write them."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from canario.contracts.quoting import brief
from canario.tape.format import TapeError

__all__ = ["Exported", "SpanDocuments", "head_of", "unpacked"]

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BOM = b"\xef\xbb\xbf"
_PIECE = 1 << 20

# The same by its JSON name, by the name in the protocol, and as Tempo has it.
_RESOURCES = ("resourceSpans", "resource_spans", "batches")
_SCOPES = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans")
_OTHER_SIGNALS = frozenset({"resourceMetrics", "resourceLogs", "resourceProfiles"})


class Exported(Struct, frozen=True):
    """One span as it was written, and the attributes of what it comes from."""

    raw: Mapping[str, Any]
    resource: Mapping[str, Any]

    def get(self, name: str) -> Any:
        """A field by its JSON name, or by the protocol's own; None where there is none."""
        found = self.raw.get(name)
        if found is None:
            found = self.raw.get(
                "".join(f"_{sign.lower()}" if sign.isupper() else sign for sign in name)
            )
        return found

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Its own, and below them those of its resource."""
        return {**self.resource, **attributes_of(self.raw)}


class SpanDocuments:
    """The spans in a file: one document, several, one a line, or arrays of any of these.

    Attributes:
        broken: Why parts of it could not be read, how often, and where first.
        keys: What documents without spans have.

    Raises `TapeError` for a file that cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.broken: dict[str, list[str]] = {}
        self.keys: set[str] = set()
        self._path = path

    def __iter__(self) -> Iterator[Exported]:
        for document in self._documents():
            if isinstance(document.get("trace"), Mapping):
                document = document["trace"]  # what Tempo answers
            resources = _first(document, _RESOURCES)
            if not any(name in document for name in _RESOURCES):
                self.keys |= set(document)
                what = "metrics or logs" if _OTHER_SIGNALS & set(document) else "no spans"
                self._leave(f"a document holds {what}", "")
            for resource in self._objects(resources, "resourceSpans"):
                of = attributes_of(resource.get("resource"))
                for scope in self._objects(_first(resource, _SCOPES), "scopeSpans"):
                    for span in self._objects(scope.get("spans"), "spans"):
                        yield Exported(span, of)

    def _objects(self, value: Any, where: str) -> Iterator[Mapping[str, Any]]:
        """The objects in a list; null is an empty one."""
        if not isinstance(value, list | None):
            self._leave(f"{where} is no list", "")
            return
        for each in value or ():
            if isinstance(each, Mapping):
                yield each
            else:
                self._leave(f"what stands in {where} is no object", "")

    def _documents(self) -> Iterator[Mapping[str, Any]]:
        raw, cut = unpacked(self._path)
        if cut:
            self._leave("the compressed file is cut off", "")
        raw = raw.removeprefix(_BOM)
        try:
            yield from self._flat(msgspec.json.decode(raw))
        except msgspec.DecodeError as error:
            whole = error
        else:
            return
        lines = [line for line in raw.split(b"\n") if line.strip()]
        read = 0
        for number, line in enumerate(lines, start=1):
            try:
                document = msgspec.json.decode(line)
            except (msgspec.DecodeError, RecursionError):
                self._leave("a line is no JSON", f"line {number} of {len(lines)}")
                continue
            read += 1
            yield from self._flat(document)
        if not read:
            raise TapeError(
                f"{self._path} holds no line that is JSON, and is none as a whole: {whole}"
            )

    def _flat(self, document: Any) -> Iterator[Mapping[str, Any]]:
        if isinstance(document, list):
            for each in document:
                yield from self._flat(each)
        elif isinstance(document, Mapping):
            yield document
        elif document is not None:
            self._leave("a document is no JSON object", "")

    def _leave(self, why: str, where: str) -> None:
        self.broken.setdefault(why, []).append(where)


def attributes_of(holder: Any) -> dict[str, Any]:
    """The attributes of a span or a resource, without those that have no value."""
    given = holder.get("attributes") if isinstance(holder, Mapping) else None
    if isinstance(given, Mapping):  # as no protocol has it, and several tools write it
        return {key: value for key, value in given.items() if value is not None}
    found = {}
    for each in given if isinstance(given, list) else ():
        if isinstance(each, Mapping) and isinstance(each.get("key"), str):
            value = each.get("value")
            if isinstance(value, Mapping):  # by its kind; whole numbers are strings
                value = next(iter(value.values()), None)
            if value is not None:
                found[each["key"]] = value
    return found


def unpacked(path: Path, most: int | None = None) -> tuple[bytes, bool]:
    """What a file holds, unpacked where it is gzip, and whether it was cut off before its end.

    `most` is how much of it is wanted. Raises `TapeError` for a file that cannot be read.
    """
    made = bytearray()
    try:
        with path.open("rb") as file:
            piece = file.read(_PIECE)
            if piece.startswith(_ZSTD):
                raise TapeError(f"{path} is packed by zstd; unpack it first: zstd -d {path}")
            if not piece.startswith(_GZIP):
                return piece + (file.read() if most is None else b""), False
            # 31: the largest window, in the wrapping of gzip.
            inflate, begun = zlib.decompressobj(31), False
            while piece and (most is None or len(made) < most):
                while piece:
                    made += inflate.decompress(piece)
                    piece, begun = b"", True
                    if inflate.eof:  # a file may have several members, and zeros at its end
                        piece = inflate.unused_data.lstrip(b"\0")
                        inflate, begun = zlib.decompressobj(31), False
                piece = file.read(_PIECE)
            return bytes(made), begun and most is None
    except OSError as error:
        raise TapeError(f"{path} cannot be read: {error.strerror}") from error
    except zlib.error as error:
        if not made:
            raise TapeError(f"{path} cannot be unpacked: {brief(str(error), 80)}") from error
        return bytes(made), True


def head_of(path: Path, most: int) -> bytes:
    """How a file begins, unpacked. Raises `TapeError` for one that cannot be read."""
    return unpacked(path, most)[0][:most].removeprefix(_BOM)


def _first(holder: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((holder[name] for name in names if name in holder), None)
