"""The stores that all say the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.sharing.redis_servers import Server, redis_server

from canario.stores import MemoryStore


@pytest.fixture(scope="module")
def redis_of_module() -> Iterator[Server]:
    with redis_server() as server:
        yield server


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """A store, or the address of one, that nobody has used."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/var/release.db"
    server: Server = request.getfixturevalue("redis_of_module")
    server.client.flushall()
    return server.url
