"""Where a rollout is kept beyond its process."""

from .file import JournalFile, JournalLockedError
from .make import make_store
from .protocol import JournalStore, MemoryJournal
from .shared import MemoryStore, SharedStore, StoreError

__all__ = [
    "JournalFile",
    "JournalLockedError",
    "JournalStore",
    "MemoryJournal",
    "MemoryStore",
    "SharedStore",
    "StoreError",
    "make_store",
]
