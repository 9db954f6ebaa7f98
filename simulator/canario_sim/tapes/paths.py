"""Names of routes for paths that clients asked for: no query, and no word that is one's own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

__all__ = ["OTHER", "named", "route_of"]

OTHER = "other"
_ID = "{id}"

# A name has no more than so many siblings; where there are more, those that are rare (less than
# this part of all) are things: users, articles, files, and what a scanner makes up.
_SIBLINGS = 50
_RARE = 0.01

# A path has no more parts than this; the rest of one that has is left out.
_DEPTH = 12

# A part of a path that names one thing: a number, a UUID, a long hexadecimal or random token, what
# has many digits, and what holds a sign of an address or of an encoding.
_ONE_OF_MANY = re.compile(
    r"\d+(?:\.\w+)?|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|[0-9a-fA-F]{12,}"
    r"|(?=.*\d)[A-Za-z0-9_-]{20,}|(?=.*[A-Z]{2})(?=.*[a-z]{2})[A-Za-z_-]{16,}"
    r"|.*[@%=&+,~:].*|(?:\D*\d){4,}.*|.{65,}",
    re.DOTALL,
)
# A framework's own template: {id}, {id:int}, <int:pk>, :id.
_TEMPLATE = re.compile(r"\{[A-Za-z_][\w:.]*\}|<(?:\w+:)?\w+>|:[A-Za-z_]\w*|\{\}")

# What comes after one of these words in a path is a secret, but for another plain word.
_SECRETS = frozenset(
    {
        *("activate", "activation", "confirm", "confirmation", "invitation", "invite", "magic"),
        *("password-reset", "password_reset", "reset", "reset-password", "session", "sessions"),
        *("token", "tokens", "unsubscribe", "verification", "verify"),
    }
)
_WORD = re.compile(r"[a-z-]{1,12}")
_ORIGIN = re.compile(r"[A-Za-z][\w+.-]*://[^/?#]*")


def route_of(path: str) -> str:
    """A template for a raw path: without its query, and with `{id}` for what names one thing."""
    plain = path
    if "?" in plain or "#" in plain:
        plain = plain.partition("?")[0].partition("#")[0]
    if "://" in plain:  # as proxies are asked, and as a load balancer writes it
        method, space, rest = plain.partition(" ")
        plain = (
            method + space + (_ORIGIN.sub("", rest, count=1) or "/")
            if space
            else (_ORIGIN.sub("", plain, count=1) or "/")
        )
    if ";" in plain:
        plain = re.sub(r";[^/]*", "", plain)
    parts = plain.split("/")
    if len(parts) > _DEPTH:
        parts[_DEPTH:] = ["…"]
    before = ""
    for number, part in enumerate(parts):
        if part and (
            part.isdecimal()
            or _is_one_of_many(part)
            or (before in _SECRETS and _WORD.fullmatch(part) is None and not _is_template(part))
        ):
            parts[number] = _ID
        before = part
    return "/".join(parts)


@lru_cache(maxsize=4096)
def _is_one_of_many(part: str) -> bool:
    return _ONE_OF_MANY.fullmatch(part) is not None and not _is_template(part)


def _is_template(part: str) -> bool:
    return _TEMPLATE.fullmatch(part) is not None


def named(asked: Mapping[str, int], most: int, *, paths: bool = True) -> dict[str, str]:
    """Names for routes by how often each was asked for, at most `most` and `other`.

    Of `paths` that clients have asked for: where a part of one has too many siblings for names,
    the rare ones are `{id}`. Routes that nobody was served (0) have no name of their own: a
    scanner's, which asks for what is not there.
    """
    names = {route: route for route, count in asked.items() if count}
    # From the front: paths that differed in an earlier part alone have one head by now, and their
    # later parts are counted together.
    for depth in range(1, _DEPTH) if paths else ():
        heads: dict[str, Counter[str]] = {}
        for route, name in names.items():
            parts = name.split("/")
            if len(parts) > depth:
                siblings = heads.setdefault("/".join(parts[:depth]), Counter())
                siblings[parts[depth]] += asked[route]
        rare = {
            head: {part for part, count in parts.items() if count < _RARE * parts.total()}
            for head, parts in heads.items()
            if len(parts) > _SIBLINGS
        }
        for route, name in names.items() if rare else ():
            parts = name.split("/")
            if len(parts) > depth and parts[depth] in rare.get("/".join(parts[:depth]), ()):
                parts[depth] = _ID
                names[route] = "/".join(parts)
    total: Counter[str] = Counter()
    for route, name in names.items():
        total[name] += asked[route]
    kept = {name for name, _ in total.most_common(most)}
    return {route: names[route] if names.get(route, "") in kept else OTHER for route in asked}
