"""A shared rollout in a Redis or Valkey server: any number of workers on any number of hosts.

Each call is one script, which the server runs as a whole. All keys of a release have one hash tag,
so a cluster keeps them together. Nothing rests on the server's memory alone: one that has forgotten
everything is told again by whoever knows that the canary is withdrawn.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import msgpack
from msgspec.structs import replace

from .shared import (
    FORGOTTEN_SECONDS,
    KEPT,
    NOBODY,
    Head,
    Part,
    Reading,
    Still,
    StoredEntry,
    StoreError,
    Told,
    Untold,
)

__all__ = ["RedisStore"]

# How long a call waits for the server, s.
_TIMEOUT_SECONDS = 0.5

# What was decided on a reading that is older than this (s, by the server's clock) is not appended.
_OLDEST_READING_SECONDS = 5.0

# Bodies of so many entries before a checkpoint are left to readers who are just behind.
_BEHIND = 1000

# KEYS: head, ids, metas, bodies, numbers, told, parts, untold, checkpoint, checkpointed.
_READ = """
local now = redis.call('TIME')
local head = tonumber(redis.call('HGET', KEYS[1], 'number') or 0)
local known = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or -1)
local from = tonumber(redis.call('GET', KEYS[10]) or 0)
local after, checkpoint, past = known, '', {}
if known < 0 or known < from - tonumber(ARGV[2]) then
    after = 0
    if from > 0 then
        checkpoint, after = redis.call('GET', KEYS[9]), from
        past = redis.call('HVALS', KEYS[3])
    end
end
local entries = {}
for n = after + 1, head do
    entries[#entries + 1] = redis.call('HGET', KEYS[3], n)
    entries[#entries + 1] = redis.call('HGET', KEYS[4], n)
end
return {now[1], now[2], known, checkpoint, past, entries,
        redis.call('HVALS', KEYS[6]), redis.call('HVALS', KEYS[7])}
"""

_FLUSH = """
local told = tonumber(redis.call('HGET', KEYS[5], ARGV[1]) or 0)
if tonumber(ARGV[2]) <= told then return 0 end
redis.call('HSET', KEYS[5], ARGV[1], ARGV[2])
redis.call('HSET', KEYS[6], ARGV[1], ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[7], ARGV[1] .. ' ' .. ARGV[2], ARGV[4]) end
return 1
"""

# ARGV: before, id, number, meta, body, at where there are events, the oldest reading, then parts.
_APPEND = """
local now = redis.call('TIME')
if tonumber(now[1]) + tonumber(now[2]) / 1e6 > tonumber(ARGV[7]) then return 0 end
if (redis.call('HGET', KEYS[1], 'id') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'id', ARGV[2], 'number', ARGV[3])
redis.call('HSET', KEYS[2], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[3], ARGV[3], ARGV[4])
redis.call('HSET', KEYS[4], ARGV[3], ARGV[5])
if ARGV[6] ~= '' then redis.call('HSET', KEYS[8], ARGV[2], ARGV[6]) end
for n = 8, #ARGV do redis.call('HDEL', KEYS[7], ARGV[n]) end
return 1
"""

_CLAIM = """
local found = {}
local since = redis.call('HGETALL', KEYS[8])
for n = 1, #since, 2 do
    if tonumber(since[n + 1]) < tonumber(ARGV[2]) then
        redis.call('HSET', KEYS[8], since[n], ARGV[1])
        found[#found + 1] = redis.call('HGET', KEYS[3], redis.call('HGET', KEYS[2], since[n]))
    end
end
return found
"""

# ARGV: number, id, memory, how far readers may be behind, and how much of the history is kept.
_CHECKPOINT = """
local number = tonumber(ARGV[1])
if redis.call('HGET', KEYS[2], ARGV[2]) ~= ARGV[1] then return 0 end
local before = tonumber(redis.call('GET', KEYS[10]) or 0)
if before >= number then return 0 end
redis.call('SET', KEYS[9], ARGV[3])
redis.call('SET', KEYS[10], ARGV[1])
for n = math.max(1, before - tonumber(ARGV[4])), number - tonumber(ARGV[4]) do
    redis.call('HDEL', KEYS[4], n)
end
return 1
"""


class RedisStore:
    """See `SharedStore`.

    Args:
        url: As redis-py reads it: `redis://[[user]:[password]@]host[:port][/database]`,
            `rediss://…` over TLS, `unix://[user:password@]/path`.

    Raises:
        ValueError: For an address that is none.
        ModuleNotFoundError: Where redis-py is missing; `pip install 'canario[redis]'`.
    """

    def __init__(self, url: str) -> None:
        try:
            import redis  # 170 ms, for those alone who use it
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "store is a redis:// one and needs redis-py; pip install 'canario[redis]'",
                name=error.name,
            ) from error
        self._errors = (redis.RedisError, OSError)
        self._connect: Callable[[], Any] = partial(
            redis.Redis.from_url,
            url,
            socket_timeout=_TIMEOUT_SECONDS,
            socket_connect_timeout=_TIMEOUT_SECONDS,
        )
        self._client: Any = self._connect()
        where = self._client.connection_pool.connection_kwargs
        host = where.get("path") or f"{where.get('host')}:{where.get('port')}"
        self._name = f"redis {host}/{where.get('db', 0)}"  # without its password
        self._scripts: dict[str, Any] = {}
        self._read_at = 0.0  # by the server's clock

    def __repr__(self) -> str:
        return f"<RedisStore {self._name}>"

    @property
    def folder(self) -> Path | None:
        """See `SharedStore`. The workers of one host and one user meet in a folder of theirs."""
        if not hasattr(os, "getuid"):
            return None
        mine = Path(tempfile.gettempdir()) / f"canario-{os.getuid()}"
        try:
            mine.mkdir(mode=0o700, exist_ok=True)
            status = mine.lstat()
        except OSError:
            return mine  # whoever makes a file in it is told why it cannot
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return None  # somebody else has made it
        return mine / hashlib.sha256(self._name.encode()).hexdigest()[:16]

    def releases(self) -> list[str]:
        """See `SharedStore`."""
        found = self._ask(lambda: self._client.smembers("canario:releases"))
        return sorted(name.decode("utf-8", "surrogatepass") for name in found)

    def head(self, release: str) -> str:
        """See `SharedStore`."""
        found = self._ask(lambda: self._client.hget(_keys(release)[0], "id"))
        return NOBODY.id if found is None else str(found.decode())

    def read(self, release: str, known: Head) -> Reading:
        """See `SharedStore`."""
        seconds, micros, number, dumped, past, entries, told, parts = self._run(
            _READ, release, known.id, _BEHIND
        )
        self._read_at = int(seconds) + int(micros) / 1e6
        checkpoint, metas = None, list[StoredEntry]()
        if dumped:
            head_number, head_id, memory = msgpack.decode(dumped, type=tuple[int, str, bytes])
            checkpoint = Head(head_number, head_id), memory
            every = [msgpack.decode(meta, type=StoredEntry) for meta in past]
            metas = [each for each in every if each.number <= head_number]
            metas.sort(key=lambda each: each.number)
        return Reading(
            entries=tuple(
                _whole(meta, body) for meta, body in zip(entries[::2], entries[1::2], strict=True)
            ),
            workers=tuple(msgpack.decode(each, type=Told) for each in told),
            parts=tuple(msgpack.decode(part, type=Part) for part in parts),
            checkpoint=checkpoint,
            journal=[meta.journal for meta in metas if meta.journal],
            history=[meta.seen for meta in metas if meta.seen][-KEPT:],
            gone=number < 0 and known != NOBODY,
        )

    def flush(self, release: str, part: Part) -> None:
        """See `SharedStore`."""
        self._run(
            _FLUSH,
            release,
            part.worker,
            part.number,
            msgpack.encode(Told(part.worker, part.number, part.at, part.open)),
            msgpack.encode(part) if part.rows else b"",
        )

    def append(
        self, release: str, entry: StoredEntry, *, taken: Sequence[tuple[str, int]], still: Still
    ) -> bool:
        """See `SharedStore`. Here the server's clock tells how old the reading is; `still` is asked
        before it is sent."""
        if not still():
            return False
        meta = replace(entry, body=b"")
        done = self._run(
            _APPEND,
            release,
            *(entry.before, entry.id, entry.number, msgpack.encode(meta), entry.body),
            repr(entry.at) if entry.journal else "",
            repr(self._read_at + _OLDEST_READING_SECONDS),
            *(f"{worker} {number}" for worker, number in taken),
        )
        if done and entry.number == 1:
            name = release.encode("utf-8", "surrogatepass")
            self._ask(lambda: self._client.sadd("canario:releases", name))
        return bool(done)

    def claim(self, release: str, *, at: float, before: float) -> Sequence[Untold]:
        """See `SharedStore`."""
        found = [
            msgpack.decode(meta, type=StoredEntry)
            for meta in self._run(_CLAIM, release, repr(at), repr(before))
        ]
        return [Untold(each.id, each.journal) for each in sorted(found, key=lambda e: e.number)]

    def told(self, release: str, ids: Sequence[str]) -> None:
        """See `SharedStore`."""
        self._ask(lambda: self._client.hdel(_keys(release)[7], *ids))

    def checkpoint(self, release: str, head: Head, memory: bytes) -> None:
        """See `SharedStore`."""
        dumped = msgpack.encode((head.number, head.id, memory))
        self._run(_CHECKPOINT, release, head.number, head.id, dumped, _BEHIND)
        self._forget(release, head.number)

    def _forget(self, release: str, number: int) -> None:
        """What checks saw long ago, but for events, and workers that nobody has heard of since."""
        keys = _keys(release)

        def forget() -> None:
            last = max(0, number - KEPT)
            old = range(max(1, last - 2 * _BEHIND), last)
            metas = self._client.hmget(keys[2], list(old)) if old else []
            quiet = [
                n
                for n, meta in zip(old, metas, strict=True)
                if meta and not msgpack.decode(meta, type=StoredEntry).journal
            ]
            if quiet:
                self._client.hdel(keys[2], *quiet)
            told = [msgpack.decode(each, type=Told) for each in self._client.hvals(keys[5])]
            newest = max((each.at for each in told), default=0.0)
            silent = [each.worker for each in told if each.at < newest - FORGOTTEN_SECONDS]
            if silent:
                self._client.hdel(keys[4], *silent)
                self._client.hdel(keys[5], *silent)

        self._ask(forget)

    def leave(self, release: str, worker: str) -> None:
        """See `SharedStore`."""
        # Its number stays: what it had sent may still be on its way.
        self._ask(lambda: self._client.hdel(_keys(release)[5], worker))

    def close(self) -> None:
        """See `SharedStore`."""
        self._client.close()

    def after_fork(self) -> None:
        """See `SharedStore`. redis-py's pool makes its connections anew; nobody shares one."""
        self._client = self._connect()
        self._scripts = {}

    def _run(self, script: str, release: str, *arguments: Any) -> Any:
        known = self._scripts.get(script)
        if known is None:
            known = self._scripts[script] = self._client.register_script(script)
        return self._ask(lambda: known(keys=_keys(release), args=arguments))

    def _ask(self, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except self._errors as error:
            raise StoreError(f"{self._name}: {error}") from error


def _keys(release: str) -> list[str]:
    tag = hashlib.sha256(release.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    names = (
        *("head", "ids", "metas", "bodies", "numbers", "told", "parts"),
        *("untold", "checkpoint", "checkpointed"),
    )
    return [f"canario:{{{tag}}}:{name}" for name in names]


def _whole(meta: bytes, body: bytes | None) -> StoredEntry:
    return replace(msgpack.decode(meta, type=StoredEntry), body=body or b"")
