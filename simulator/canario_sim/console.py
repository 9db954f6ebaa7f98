"""The console that everything is drawn on: text from outside is neither markup nor obeyed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Span, Text
from rich.theme import Theme

from canario.printable import printable

__all__ = ["Terminal", "visible"]

# What the tones of reports look like here: a style by each one's name.
_TONES = Theme(
    {"good": "green", "bad": "red", "wait": "yellow", "fault": "magenta", "plain": "none"}
)


class Terminal(Console):
    """A console that prints what it is given, whatever that holds.

    A name such as `[red]` is no markup and `:bomb:` no emoji, and all that is no visible character
    is escaped, in tables and titles alike. That goes for line feeds too, so what has several lines
    is printed line by line; a line is broken only where a table needs it.
    """

    def __init__(self, **settings: Any) -> None:
        plain = {"highlight": False, "soft_wrap": True, "markup": False, "emoji": False}
        super().__init__(theme=_TONES, **plain | settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        return super().render_str(printable(text), **settings)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        if isinstance(renderable, Text):
            renderable = visible(renderable)
        return super().render(renderable, options)


def visible(text: Text) -> Text:
    """The same text, style and all, with each character that is none to see escaped."""
    plain = text.plain
    if printable(plain) == plain:
        return text
    hidden = [at for at, character in enumerate(plain) if printable(character) != character]
    made = text.blank_copy()
    for piece in text.divide(sorted({*hidden, *(at + 1 for at in hidden)})):
        words = printable(piece.plain)
        if words != piece.plain:
            piece = Text(words, spans=[Span(0, len(words), span.style) for span in piece.spans])
        made.append_text(piece)
    return made
