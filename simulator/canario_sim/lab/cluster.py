"""Past one machine: a Dask cluster as the place where tasks are run."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import CancelledError, Executor
from contextlib import contextmanager, suppress
from typing import Any

from canario import __version__
from canario.config import ConfigError

from .workers import TASK_SECONDS, Workers

__all__ = ["cluster"]

_SOURCE = "--cluster"

# What the scheduler needs for a task, twice over (s). Each goes through it, so with 1,000 workers a
# task of half a second would keep it busy with nothing but tasks; see docs/cluster.md.
_HANDED_OUT = 0.003

# At least so many tasks are handed out at a time, for clusters that grow while they work.
_SLOTS = 256


@contextmanager
def cluster(address: str, *, timeout: float = 10.0) -> Iterator[Workers]:
    """The workers of the Dask scheduler at `address`, such as `tcp://10.0.0.5:8786`.

    A worker that is lost is no matter: the scheduler gives its tasks to others, or to those that
    come, and what even so comes to nothing is handed out again. Without the scheduler it is over.

    Raises:
        ConfigError: When nobody answers there within `timeout` seconds, when there is no worker,
            when workers have another canario or none, or when `distributed` is not installed.
    """
    try:
        from distributed import Client, KilledWorker
        from distributed.client import ClosedClientError
    except ModuleNotFoundError as error:
        raise ConfigError(
            _SOURCE, "", f"needs {error.name}; install it with: pip install 'canario[cluster]'"
        ) from None
    try:
        _well_formed(address)
        # Any: Dask's client is typed in part only.
        client: Any = Client(  # type: ignore[no-untyped-call]
            address, timeout=timeout, set_as_default=False
        )
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            _SOURCE, "", f"{address!r} cannot be used: {reason}; give a Dask scheduler's address"
        ) from error

    def check() -> None:
        # A client that has given its scheduler up may leave futures behind that never end.
        if client.status == "closed":
            raise ClosedClientError(f"the scheduler at {address} is gone")

    with _quiet(CancelledError, ClosedClientError), client:
        threads = _check(client, address)
        yield Workers(
            lambda: _opened(client),
            slots=max(_SLOTS, 3 * threads),
            lost=(KilledWorker, CancelledError, ClosedClientError, OSError),
            task_seconds=max(TASK_SECONDS, _HANDED_OUT * threads),
            check=check,
        )


def _well_formed(address: str) -> None:
    """Raises `ValueError` for what is no address: a client that is given one never quite ends."""
    from distributed.comm.addressing import parse_address, parse_host_port
    from distributed.comm.registry import get_backend

    scheme, place = parse_address(address)
    get_backend(scheme)
    if scheme != "inproc":
        parse_host_port(place)


@contextmanager
def _opened(client: Any) -> Iterator[Executor]:
    executor: Executor = client.get_executor(pure=False)
    try:
        yield executor
    finally:
        # What has not been taken by then is nobody's any more; nothing is to be waited for. And a
        # scheduler that is gone cannot be told, which is no news to who has lost it.
        with suppress(Exception):
            executor.shutdown(wait=False)


@contextmanager
def _quiet(*expected: type[BaseException]) -> Iterator[None]:
    """Of each task that nobody waits for any more a traceback is logged, by Dask's event loop and
    by the futures; what is `expected` is no news."""

    def is_news(record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], expected))

    loggers = [logging.getLogger(name) for name in ("tornado.application", "concurrent.futures")]
    for logger in loggers:
        logger.addFilter(is_news)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_news)


def _check(client: Any, address: str) -> int:
    """How many tasks the cluster runs at a time. Raises `ConfigError`."""
    threads: int = sum(client.nthreads().values())
    if not threads:
        raise ConfigError(_SOURCE, "", f"{address!r} has no workers; start some: dask worker")
    try:
        found = client.run(_version)
    except Exception as error:  # whatever a worker raised comes here, of any type
        raise ConfigError(
            _SOURCE, "", f"a worker at {address!r} cannot import canario_sim: {error}"
        ) from error
    for worker, version in found.items():
        if version != __version__:
            raise ConfigError(
                _SOURCE, "", f"the worker {worker} has canario {version}, not {__version__}"
            )
    return threads


def _version() -> str:
    """Run on a worker: the canario that it has."""
    from importlib.metadata import version

    return version("canario")
