"""A lock on an open file that ends with the process, however that ends."""

from __future__ import annotations

import errno
import sys

__all__ = ["NoLocksError", "lock"]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


class NoLocksError(OSError):
    """A file system that knows no locks."""


if sys.platform == "win32":
    import msvcrt
    import os

    # Locks are mandatory there: a byte that no journal ever has leaves it readable to all.
    _FAR = 0x7FFF_0000

    def lock(fd: int) -> bool:
        """Lock an open file, without waiting. False when another one has."""
        at = os.lseek(fd, 0, os.SEEK_CUR)
        os.lseek(fd, _FAR, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(fd, at, os.SEEK_SET)
        return True

else:
    import fcntl

    def lock(fd: int) -> bool:
        """Lock an open file, without waiting. False when another one has.

        It belongs to the open file, so another controller of this process is another one too, and
        a child that closes its copy takes nothing away; `lockf` would do neither.
        """
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in _NO_LOCKS:
                raise NoLocksError(error.errno, error.strerror) from error
            raise
        return True
