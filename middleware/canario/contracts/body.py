"""Bodies as contracts see them: decompressed up to a limit, and JSON in whatever charset."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from typing import Any

import msgspec

from .response import Headers, NotChecked, header

__all__ = ["NotDecodableError", "decoded", "is_json", "media_type", "parsed"]

# A piece of what a decompressor gives: no more than this beyond a limit is ever held.
_PIECE = 16 * 1024


class NotDecodableError(ValueError):
    """A body that is not what its headers say."""


def decoded(body: bytes, headers: Headers, limit: int) -> bytes | NotChecked:
    """The body without its content codings.

    `NotChecked` for a coding that is not known here (`br` and `zstd` need their libraries) and
    for a body that is longer than `limit` bytes when decoded; no more than that is ever held.

    Raises `NotDecodableError` for a body that is not in the coding that its header names.
    """
    codings = header(headers, b"content-encoding")
    if codings is None:
        return body
    # The last one that is listed was put on last (RFC 9110, 8.4).
    for coding in reversed(codings.decode("latin-1").lower().split(",")):
        name = coding.strip()
        if name in ("", "identity") or not body:
            continue
        decoder = _DECODERS.get(name)
        made = None if decoder is None else decoder(limit)
        if made is None:
            return NotChecked(f"the content coding {name[:20]!r} cannot be decoded here")
        try:
            whole = made(body)
        except _errors() as error:
            raise NotDecodableError(f"the body is not valid {name}: {error}") from error
        if whole is None:
            return NotChecked(f"it is longer than {limit} bytes when decoded")
        body = whole
    return body


_CHARSET = re.compile(rb';\s*charset\s*=\s*"?([^\s";,]+)', re.IGNORECASE)

# Each gives the whole of a body, or None where that is longer than the limit.
_Decode = Callable[[bytes], bytes | None]


# Asked when one is caught: libraries that are not the standard's are imported when first needed.
def _errors() -> tuple[type[Exception], ...]:
    return zlib.error, EOFError, NotDecodableError, *_foreign_errors


_foreign_errors: list[type[Exception]] = []


def _gzip(limit: int) -> _Decode:
    def decode(body: bytes) -> bytes | None:
        whole = b""
        while body:  # a gzip body may have several members (RFC 1952, 2.2)
            inflate = zlib.decompressobj(16 + zlib.MAX_WBITS)
            whole += inflate.decompress(body, limit + 1 - len(whole))
            if len(whole) > limit:
                return None
            if not inflate.eof:
                raise EOFError("it is cut off")
            body = inflate.unused_data
        return whole

    return decode


def _deflate(limit: int) -> _Decode:
    def decode(body: bytes) -> bytes | None:
        try:
            inflate = zlib.decompressobj()
            whole = inflate.decompress(body, limit + 1)
        except zlib.error:  # some servers send it without zlib's frame
            inflate = zlib.decompressobj(-zlib.MAX_WBITS)
            whole = inflate.decompress(body, limit + 1)
        if len(whole) > limit:
            return None
        if not inflate.eof:
            raise EOFError("it is cut off")
        return whole

    return decode


def _brotli(limit: int) -> _Decode | None:
    try:
        import brotli  # type: ignore[import-untyped]
    except ImportError:
        return None
    _foreign(brotli.error)
    try:
        brotli.Decompressor().process(b"", output_buffer_limit=_PIECE)
    except TypeError:  # before 1.2 it had no limit, and a small body may hold gigabytes
        return None

    def decode(body: bytes) -> bytes | None:
        inflate = brotli.Decompressor()
        whole = bytearray(inflate.process(body, output_buffer_limit=_PIECE))
        while not inflate.is_finished():
            if len(whole) > limit:
                return None
            piece = inflate.process(b"", output_buffer_limit=_PIECE)
            if not piece:
                raise EOFError("it is cut off")
            whole += piece
        return bytes(whole) if len(whole) <= limit else None

    return decode


def _zstd(limit: int) -> _Decode | None:
    try:
        import zstandard
    except ImportError:
        return None
    _foreign(zstandard.ZstdError)

    def decode(body: bytes) -> bytes | None:
        whole = bytearray()
        # 8 MiB is the largest window that a client must take (RFC 9659, 3).
        reader = zstandard.ZstdDecompressor(max_window_size=2**23).stream_reader(
            body, read_across_frames=True
        )
        while piece := reader.read(_PIECE):
            whole += piece
            if len(whole) > limit:
                return None
        return bytes(whole)

    return decode


def _foreign(error: type[Exception]) -> None:
    if error not in _foreign_errors:
        _foreign_errors.append(error)


_DECODERS: dict[str, Callable[[int], _Decode | None]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "br": _brotli,
    "zstd": _zstd,
}


def media_type(headers: Headers) -> str | None:
    """`application/json`, without parameters and in lower case; None where it is not told."""
    value = header(headers, b"content-type")
    if value is None:
        return None
    return value.decode("latin-1").partition(";")[0].strip().lower()


def is_json(kind: str) -> bool:
    """True for `application/json`, `text/json` and whatever ends in `+json`."""
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def parsed(body: bytes, headers: Headers) -> Any:
    """The JSON value of a body, in UTF-8 unless its content type names another charset.

    Raises `NotDecodableError` for a body that is none, `LookupError` for an unknown charset.
    """
    charset = _charset(headers)
    try:
        if charset not in (None, "utf-8", "utf8", "us-ascii"):
            body = body.decode(charset or "").encode()
        # A byte order mark is no JSON, and a reader may ignore it (RFC 8259, 8.1).
        return msgspec.json.decode(body.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise NotDecodableError(str(error)) from error


def _charset(headers: Headers) -> str | None:
    value = header(headers, b"content-type")
    found = None if value is None else _CHARSET.search(value)
    return found[1].decode("latin-1").lower() if found else None
