"""Instructions of a stretch of code, counted by valgrind's callgrind: they do not depend on how
busy the machine is.

Only what runs within `Counter.count` is counted, and only there valgrind's slow half is at work.
Callgrind is asked by its client requests, for which x86-64 has this sequence of instructions that
do nothing (`valgrind.h`).
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

__all__ = ["Counter", "counted", "missing"]

# Takes the address of the request: mov rax, rdi; xor edx, edx; rol rdi by 3, 13, 61 and 51;
# xchg rbx, rbx; mov rax, rdx; ret.
_CODE = bytes.fromhex("4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3")
_BASE = (ord("C") << 24) | (ord("T") << 16)
_ZERO, _DUMP, _START, _STOP = _BASE + 1, _BASE + 3, _BASE + 4, _BASE + 5


def missing() -> str | None:
    """What keeps instructions from being counted here; None where nothing does."""
    if platform.machine() != "x86_64":
        return f"it is written for x86-64, and this is {platform.machine()}"
    return None if shutil.which("valgrind") else "valgrind is not installed"


class Counter:
    """Counts, in a process that `counted` has begun; elsewhere its requests do nothing."""

    def __init__(self) -> None:
        self._page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
        self._page.write(_CODE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._page))
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        if protect(ctypes.c_void_p(address), mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_EXEC):
            raise OSError(ctypes.get_errno(), "mprotect")
        self._call = ctypes.CFUNCTYPE(ctypes.c_uint64, ctypes.c_void_p)(address)

    def count(self, name: str, work: Callable[[], object]) -> None:
        """Count the instructions of one call of `work`, without the garbage collector's."""
        gc.collect()
        gc.disable()
        try:
            self._ask(_START)
            self._ask(_ZERO)
            work()
            self._ask(_STOP)
        finally:
            gc.enable()
        text = ctypes.create_string_buffer(name.encode())
        self._ask(_DUMP, ctypes.addressof(text))

    def _ask(self, request: int, argument: int = 0) -> None:
        arguments = (ctypes.c_uint64 * 6)(request, argument)
        self._call(ctypes.addressof(arguments))


def counted(module: str, arguments: Sequence[str] = ()) -> dict[str, int]:
    """Run `python -m module arguments` under callgrind: its counts by their names."""
    with TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "-q"]
        command += [f"--callgrind-out-file={folder}/out", sys.executable, "-m", module, *arguments]
        # Another seed is another order of dicts and sets, and so another number.
        subprocess.run(command, check=True, env={**os.environ, "PYTHONHASHSEED": "0"})
        found = {}
        for path in Path(folder).iterdir():
            text = path.read_text(encoding="utf-8")
            name = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.MULTILINE)
            total = re.search(r"^totals: (\d+)$", text, re.MULTILINE)
            if name is not None and total is not None:
                found[name[1]] = int(total[1])
    return found
