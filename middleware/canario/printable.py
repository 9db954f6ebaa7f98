"""Text from outside as text that may be printed: it ends no line, moves no cursor, hides nothing.

Names, routes, header values, bodies and other libraries' errors hold whatever their authors put
there. Whoever prints them, to a log, a terminal or a report, lets them through one of these, and
what is printable already comes back as it is.
"""

from __future__ import annotations

import re

__all__ = ["code_escapes", "printable", "printable_lines"]

_CODES = re.compile(r"[^\x20-\x7e]")

# Spaces of all widths (Unicode's category Zs): to be seen, although Python calls one printable.
_SPACES = frozenset("\xa0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))


def printable(text: str) -> str:
    r"""One line: what is no visible character is escaped, as in `\n`, `\x1b` or `\u202e`.

    That is what a terminal or a reader of logs obeys (C0 and C1 controls, line and paragraph
    separators), what shows text in another order than it has (bidirectional overrides), what is
    not seen at all, and what UTF-8 cannot hold (lone surrogates).
    """
    return text if text.isprintable() else "".join(map(_visible, text))


def printable_lines(text: str) -> str:
    """Text of several lines, each of them printable; tabs stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" else _visible(c) for c in text)


def code_escapes(text: str, *, long: bool) -> str:
    r"""What is not printable as `\uXXXX`, for strings of JSON, TOML or YAML; line feeds stay.

    With `long` the characters beyond 65,535 become `\UXXXXXXXX`, as TOML and YAML have it, else
    the two surrogates that JSON has.
    """
    if text.isprintable():
        return text

    def escape(found: re.Match[str]) -> str:
        character = found[0]
        if character == "\n" or _visible(character) == character:
            return character
        code = ord(character)
        if code < 0x10000:
            return f"\\u{code:04x}"
        if long:
            return f"\\U{code:08x}"
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"

    return _CODES.sub(escape, text)


def _visible(character: str) -> str:
    if character.isprintable() or character in _SPACES:
        return character
    return character.encode("unicode_escape").decode()
