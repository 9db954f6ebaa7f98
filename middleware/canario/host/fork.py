"""Forks: what may be in the midst of something is waited for, and made anew in the child.

A child has the parent's memory and none of its other threads. A lock that one of them held is
never released there, and what it was changing stays half changed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from threading import Lock
from typing import Any
from weakref import WeakSet

__all__ = ["ForkSafeLock", "Forkable", "renew_in_child"]


class Forkable:
    """What has to be told of forks. `renew_in_child` registers it."""

    __slots__ = ()

    def before_fork(self) -> None:
        """In the parent: come to a state that a child can live with. Must not wait for long."""

    def after_fork_in_parent(self) -> None:
        """In the parent: go on."""

    def after_fork_in_child(self) -> None:
        """In the child: make locks anew, and forget threads and what is the parent's."""
        raise NotImplementedError


class ForkSafeLock(Forkable):
    """A lock that a forked child finds open, whoever held it in the parent.

    For what is asked seldom: it costs a call more than a plain one.
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = Lock()
        renew_in_child(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        with suppress(RuntimeError):  # it was made anew meanwhile
            self._lock.release()

    def after_fork_in_child(self) -> None:
        self._lock = Lock()


_members: WeakSet[Forkable] = WeakSet()


def renew_in_child(member: Forkable) -> None:
    """Have `member` told of every fork for as long as it is there."""
    _members.add(member)


def _each(method: str) -> None:
    for member in _present():
        with suppress(Exception):  # one that fails must not keep the others from it
            getattr(member, method)()


def _present() -> list[Any]:
    while True:
        with suppress(RuntimeError):  # another thread has just made one
            return list(_members)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: _each("before_fork"),
        after_in_parent=lambda: _each("after_fork_in_parent"),
        after_in_child=lambda: _each("after_fork_in_child"),
    )
