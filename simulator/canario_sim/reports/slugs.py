"""Names as parts of file names and of identities in a page, each another one."""

from __future__ import annotations

import re

__all__ = ["Slugs"]

_OTHER = re.compile(r"[^A-Za-z0-9_.-]+")
_LONGEST = 80


class Slugs:
    """Gives each name a slug of its own: the same one for the same name."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._taken: set[str] = set()

    def __call__(self, name: str) -> str:
        """Its letters, digits, `_`, `.` and `-`; with a number where that is taken."""
        if name not in self._known:
            base = _OTHER.sub("-", name).strip("-.")[:_LONGEST] or "unnamed"
            slug, number = base, 1
            # Some file systems do not tell Strict from strict.
            while slug.lower() in self._taken:
                number += 1
                slug = f"{base}-{number}"
            self._taken.add(slug.lower())
            self._known[name] = slug
        return self._known[name]
