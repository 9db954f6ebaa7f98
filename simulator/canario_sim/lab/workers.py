"""Who does the work: processes of this machine, or any other executor."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from multiprocessing import active_children, get_context, parent_process
from typing import Any

from msgspec import Struct

__all__ = ["TASK_SECONDS", "Interruption", "Workers", "interruptible", "processes"]

# A task takes about so long (s): long beside what it costs to hand it out, short beside a wait.
TASK_SECONDS = 0.5


class Workers(Struct, frozen=True):
    """Where tasks are run.

    Attributes:
        open: Opens an executor; another one when its workers were lost.
        slots: Tasks handed out at a time. A few for each worker keep all of them busy.
        lost: What an executor raises when a worker is lost; its tasks are then done again.
        task_seconds: How long a task should take. Each goes through one process that hands it
            out, so where there are hundreds of workers it must be longer.
        check: Called while nothing comes back; raises one of `lost` when nothing ever will.
    """

    open: Callable[[], AbstractContextManager[Executor]]
    slots: int = 64
    lost: tuple[type[BaseException], ...] = (BrokenExecutor,)
    task_seconds: float = TASK_SECONDS
    check: Callable[[], object] | None = None


def processes(number: int | None = None) -> Workers:
    """So many processes on this machine; by default one for each processor.

    A script that uses them needs `if __name__ == "__main__":`, as `multiprocessing` asks of it.
    Raises `ValueError` for less than one.
    """
    number = (os.cpu_count() or 1) if number is None else number
    if number < 1:
        raise ValueError(f"workers is {number!r}; it must be at least 1")
    return Workers(lambda: _pool(number), slots=4 * number)


@contextmanager
def _pool(number: int) -> Iterator[Executor]:
    # Threads of the host do not survive a fork, and a spawned process knows nothing of them.
    others = set(active_children())
    pool = _Processes(number, mp_context=get_context("spawn"), initializer=_begin)
    try:
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    except KeyboardInterrupt:
        # Somebody will not wait for tasks under way. A pool whose end was interrupted may never
        # tell its processes to go, and whoever ends after it would wait for them.
        for process in set(active_children()) - others:
            process.kill()
        raise


class _Processes(ProcessPoolExecutor):
    """Workers start within `submit` and take the mask with them: Ctrl-C is their parent's."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not hasattr(signal, "pthread_sigmask"):
            return super().submit(fn, *args, **kwargs)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin() -> None:
    """What a worker does first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    """A parent that is killed tells nobody, and its workers would wait for tasks for ever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Interruption:
    """Whether Ctrl-C was pressed."""

    asked = False


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """Take the first Ctrl-C as a request; the next one raises `KeyboardInterrupt` as ever.

    In another thread than the main one, where no signal arrives, it changes nothing.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = signal.getsignal(signal.SIGINT)

    def ask(*_: object) -> None:
        interruption.asked = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, before)
