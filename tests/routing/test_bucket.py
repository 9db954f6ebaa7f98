"""Routing: golden buckets, exact shares, and the laws of a salted hash."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canario.routing import InvalidKeyError, TrafficRouter, bucket_of

KEYS = st.binary(min_size=1, max_size=512)


def murmur3_32(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, written from its public description as an oracle."""

    def rotl(x: int, r: int) -> int:
        return ((x << r) | (x >> (32 - r))) & 0xFFFFFFFF

    def mix(k: int) -> int:
        return rotl(k * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF

    h = 0
    whole = len(data) - len(data) % 4
    for at in range(0, whole, 4):
        h ^= mix(int.from_bytes(data[at : at + 4], "little"))
        h = (rotl(h, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    h ^= mix(int.from_bytes(data[whole:], "little"))
    h ^= len(data)
    h = (h ^ h >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ h >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ h >> 16


def test_the_oracle_meets_published_values() -> None:
    """From the reference implementation's verification: seed 0."""
    assert murmur3_32(b"") == 0
    assert murmur3_32(b"hello") == 0x248BFA47
    assert murmur3_32(b"The quick brown fox jumps over the lazy dog") == 0x2E4FF723


@pytest.mark.parametrize(
    ("salt", "key", "hashed", "bucket"),
    [
        # hashed = murmur3_32(salt + key), which any murmur3 tool gives; bucket = hashed·10⁵ >> 32
        ("", "hello", 0x248BFA47, 14276),
        ("hel", "lo", 0x248BFA47, 14276),
        ("", "The quick brown fox jumps over the lazy dog", 0x2E4FF723, 18090),
        ("my-deployment-v2.0", "user-1", 0xBE0CE86A, 74238),
        ("my-deployment-v2.0", "user-2", 0x8CEF78EC, 55052),
        ("my-deployment-v2.0", "ñandú", 0xEA2E2C90, 91476),
    ],
)
def test_golden_buckets(salt: str, key: str, hashed: int, bucket: int) -> None:
    assert murmur3_32((salt + key).encode()) == hashed
    assert hashed * 100_000 // 2**32 == bucket
    assert bucket_of(salt.encode(), key.encode()) == bucket


@given(KEYS, KEYS)
def test_the_bucket_is_murmur3_of_the_salted_key(salt: bytes, key: bytes) -> None:
    assert bucket_of(salt, key) == murmur3_32(salt + key) * 100_000 // 2**32


def ids(shape: str, n: int) -> Iterator[str]:
    """Six shapes that real identifiers have."""
    for i in range(n):
        match shape:
            case "sequential":
                yield str(i)
            case "prefixed":
                yield f"user-{i:06d}"
            case "uuid":
                yield str(uuid.UUID(int=i * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128))
            case "email":
                yield f"name{i}.family{i % 97}@example.org"
            case "timestamp":
                yield f"2026-11-{i % 28 + 1:02d}T{i % 24:02d}:{i % 60:02d}:00.{i:09d}Z"
            case "hex":
                yield f"{i * 2654435761 % 2**32:08x}{i:08x}"


@pytest.mark.parametrize("shape", ["sequential", "prefixed", "uuid", "email", "timestamp", "hex"])
@pytest.mark.parametrize("share", [0.1, 1, 5, 25, 50])
def test_the_share_is_exact_within_binomial_noise(shape: str, share: float) -> None:
    n = 40_000
    router = TrafficRouter("release-1", share)
    got = sum(router.route_request(key) == "canary" for key in ids(shape, n))
    p = share / 100
    assert abs(got - n * p) <= 4 * math.sqrt(n * p * (1 - p))


def test_a_share_of_none_and_of_all_is_exact() -> None:
    keys = list(ids("uuid", 2_000))
    assert {TrafficRouter("r", 0).route_request(key) for key in keys} == {"baseline"}
    assert {TrafficRouter("r", 100).route_request(key) for key in keys} == {"canary"}


def test_two_processes_route_alike_whatever_their_hash_seed() -> None:
    code = (
        "import json; from canario import TrafficRouter; r = TrafficRouter('release-1', 25);"
        "print(json.dumps([r.route_request(f'user-{i}') for i in range(500)]))"
    )
    routed = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", code],
                env={"PYTHONHASHSEED": seed},
                capture_output=True,
                check=True,
            ).stdout
        )
        for seed in ("1", "2")
    ]
    router = TrafficRouter("release-1", 25)
    assert routed[0] == routed[1] == [router.route_request(f"user-{i}") for i in range(500)]


@given(KEYS, st.floats(0, 100), st.floats(0, 100))
def test_raising_the_share_never_moves_a_key_out(key: bytes, a: float, b: float) -> None:
    router = TrafficRouter("release-1", min(a, b))
    before = router.route_request(key)
    router.share = max(a, b)
    assert before == "baseline" or router.route_request(key) == "canary"


@pytest.mark.parametrize("salts", [("v1", "v2"), ("release-1", "release-2"), ("a", "b")])
def test_two_salts_overlap_as_independent_ones_do(salts: tuple[str, str]) -> None:
    n, p = 40_000, 0.05
    first, second = (TrafficRouter(salt, 5) for salt in salts)
    both = sum(
        first.route_request(key) == second.route_request(key) == "canary"
        for key in ids("prefixed", n)
    )
    assert abs(both - n * p * p) <= 4 * math.sqrt(n * p * p * (1 - p * p))


def test_text_and_its_bytes_are_one_key() -> None:
    router = TrafficRouter("r", 50)
    assert router.bucket("ñandú") == router.bucket("ñandú".encode())
    wire = b"caf\xe9"  # latin-1, no UTF-8
    assert router.bucket(wire) == router.bucket(wire.decode("utf-8", "surrogateescape"))
    assert router.bucket(wire) == murmur3_32(b"r" + wire) * 100_000 >> 32


@pytest.mark.parametrize(
    ("key", "says"),
    [("", "empty"), ("x" * 513, "513 bytes"), ("ñ" * 257, "514"), ("a\ud800", "character 1")],
)
def test_a_key_that_is_none_is_refused(key: str, says: str) -> None:
    with pytest.raises(InvalidKeyError, match=says):
        TrafficRouter("r", 50).route_request(key)
    assert TrafficRouter("r", 50).route_request("x" * 512) in ("baseline", "canary")


@pytest.mark.parametrize("share", [-1, 101, math.nan])
def test_a_share_outside_0_to_100_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="at least 0 and at most 100"):
        TrafficRouter("r", share)


def test_a_router_says_what_it_was_given() -> None:
    router = TrafficRouter("release-1", 12.5)
    assert (router.salt, router.share, router.weight) == ("release-1", 12.5, 12_500)
    router.share = 100
    assert (router.share, router.weight) == (100, 100_000)
    assert "release-1" in repr(router)


def test_the_bucket_at_the_share_is_the_first_of_the_baseline() -> None:
    """A share of n buckets is those from 0 to n - 1."""
    router = TrafficRouter("release-1", 0)
    bucket = router.bucket("ann")
    for weight, arm in ((bucket, "baseline"), (bucket + 1, "canary")):
        router.share = weight / 1000
        assert router.weight == weight
        assert router.route_request("ann") == arm
