"""Where a rollout is kept beyond its process."""

from .file import JournalFile, JournalLockedError
from .protocol import JournalStore, MemoryJournal

__all__ = ["JournalFile", "JournalLockedError", "JournalStore", "MemoryJournal"]
