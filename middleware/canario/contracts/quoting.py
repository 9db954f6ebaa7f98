"""What is said of a broken contract: one line, never a whole body, and where it is broken."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["brief", "escaped", "pointer"]

LONGEST = 240

_SPACE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029]+")


def brief(text: str, longest: int = LONGEST) -> str:
    """`text` in one line of at most `longest` characters.

    The middle is what is left out: a validator's message often begins with the value and ends
    with what is wrong with it.
    """
    # Cut before the spaces are looked at, for a message may hold a whole body.
    if len(text) > 4 * longest:
        text = f"{text[: 2 * longest]} {text[-2 * longest :]}"
    line = _SPACE.sub(" ", text).strip()
    if len(line) <= longest:
        return line
    head = (longest - 3) * 3 // 5
    return f"{line[:head].rstrip()} … {line[head + 3 - longest :].lstrip()}"


def pointer(parts: Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901) to a part of a document; "" is the whole of it."""
    return "".join(f"/{escaped(str(part))}" for part in parts)


def escaped(part: str) -> str:
    """A name as it stands in a JSON pointer."""
    return part.replace("~", "~0").replace("/", "~1")
