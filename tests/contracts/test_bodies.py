"""Compressed bodies: decoded up to a limit, or not checked, or broken."""

from __future__ import annotations

import gzip
import json
import sys
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from canario.contracts import NotChecked, Response, json_schema_contract
from canario.contracts.body import NotDecodableError, decoded
from canario.contracts.checker import breach_of
from canario.control.violation import Violation

LIMIT = 64 * 1024


def raw_deflate(body: bytes) -> bytes:
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflate.compress(body) + deflate.flush()


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip in members": ("x-gzip", lambda body: gzip.compress(body[:5]) + gzip.compress(body[5:])),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("Deflate", raw_deflate),
    "brotli": ("br", brotli.compress),
    "zstd": ("zstd", zstandard.ZstdCompressor().compress),
    "two": ("gzip, br", lambda body: brotli.compress(gzip.compress(body))),
    "none": ("identity", bytes),
}


def headers(coding: str) -> list[tuple[bytes, bytes]]:
    return [(b"Content-Type", b"application/json"), (b"Content-Encoding", coding.encode())]


@pytest.mark.parametrize("title", CODINGS)
@given(body=st.binary(max_size=300))
def test_whatever_was_compressed_is_decoded(title: str, body: bytes) -> None:
    coding, compress = CODINGS[title]
    assert decoded(compress(body), headers(coding), LIMIT) == body


@pytest.mark.parametrize("title", [title for title in CODINGS if title != "none"])
def test_the_limit_is_on_what_is_decoded(title: str) -> None:
    coding, compress = CODINGS[title]
    assert decoded(compress(b"a" * LIMIT), headers(coding), LIMIT) == b"a" * LIMIT
    assert isinstance(decoded(compress(b"a" * (LIMIT + 1)), headers(coding), LIMIT), NotChecked)


@pytest.mark.parametrize("title", ["gzip", "deflate", "brotli", "zstd"])
def test_a_bomb_is_not_unpacked(title: str) -> None:
    coding, compress = CODINGS[title]
    bomb = compress(bytes(60_000_000))
    tracemalloc.start()
    try:
        answer = decoded(bomb, headers(coding), LIMIT)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(answer, NotChecked)
    assert peak < 15_000_000


@pytest.mark.parametrize("title", ["gzip", "deflate", "brotli"])
def test_what_is_cut_off_or_wrong_is_broken(title: str) -> None:
    coding, compress = CODINGS[title]
    for body in (compress(b"a body to be cut off")[:-3], b"\xff\x00no such thing"):
        with pytest.raises(NotDecodableError, match=coding):
            decoded(body, headers(coding), LIMIT)


def test_an_unknown_coding_is_not_checked() -> None:
    assert isinstance(decoded(b"x", headers("compress"), LIMIT), NotChecked)


@pytest.mark.parametrize(("coding", "module"), [("br", "brotli"), ("zstd", "zstandard")])
def test_neither_is_one_whose_library_is_missing(
    coding: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert isinstance(decoded(b"x", headers(coding), LIMIT), NotChecked)


def test_a_contract_sees_the_decoded_body_and_a_broken_coding_breaks_it() -> None:
    contract = json_schema_contract({"required": ["a"]}, name="answers")

    def asked(body: bytes) -> Any:
        return breach_of(contract, Response("canary", "/e", 200, headers("gzip"), body), LIMIT)

    assert asked(gzip.compress(json.dumps({"a": 1}).encode())) is None
    assert asked(gzip.compress(b"{}")).rule == "required"
    broken = asked(b"{}")
    assert isinstance(broken, Violation)
    assert (broken.contract, broken.rule) == ("answers", "content-encoding")
