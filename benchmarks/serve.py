"""A server to measure: `python -m benchmarks.serve VARIANT HTTP LOOP SOCKET`.

It serves on the listening socket with the file descriptor SOCKET. For every line on its standard
input it writes a line with the CPU seconds that it has used; it ends with its standard input.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time

import uvicorn

from .apps import make


def main() -> None:
    """Serve until standard input ends."""
    name, http, loop, descriptor = sys.argv[1:]
    # Reading a pipe costs nothing as long as nobody asks, and this thread is the server's own.
    threading.Thread(target=_tell, daemon=True).start()
    config = uvicorn.Config(
        make(name).app,
        http=http,
        loop=loop,
        log_level="error",
        access_log=False,
        timeout_keep_alive=600,  # the other variants' turns are longer than the default
    )
    # Not uvicorn's `fd`: it takes every socket for a Unix one, and leaves out TCP_NODELAY.
    uvicorn.Server(config).run([socket.socket(fileno=int(descriptor))])


def _tell() -> None:
    for _ in sys.stdin:
        print(time.process_time(), flush=True)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
