"""Sixty releases through the middleware on a clock that is moved, and all that came of them.

What a request is and how its app serves it is drawn before it is sent, from a generator of its
own: what canario does with it changes nothing of the requests that follow.
"""

from __future__ import annotations

import random
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

__all__ = ["rollouts"]

_ROLLOUTS = 60


def rollouts(folder: Path) -> Iterator[tuple[str, str]]:
    """For each release what its clients were answered and what canario says of it."""
    lots = random.Random("lots")
    # Before canario is imported: keys of cookies and lots for preflights are to be the same.

    def token_urlsafe(nbytes: int | None = None) -> str:
        return f"{lots.getrandbits(128):032x}"

    def randbelow(exclusive_upper_bound: int) -> int:
        return lots.randrange(exclusive_upper_bound)

    secrets.token_urlsafe, secrets.randbelow = token_urlsafe, randbelow
    from tests.equivalence.release import Release, asgi, wsgi

    reached: Counter[str] = Counter()
    for number in range(_ROLLOUTS):
        lots.seed(number)
        release = Release(number, folder)
        (wsgi if number % 2 else asgi).drive(release)
        text = release.told()
        reached.update(release.reached())
        yield f"{number:02} {'WSGI' if number % 2 else 'ASGI'}", text
    # Nothing is protected by a release in which nothing happens.
    yield "reached", "".join(f"{what}: {times}\n" for what, times in sorted(reached.items()))
