"""What an importer leaves out: counted by the reason, and said in words."""

from __future__ import annotations

from collections.abc import Iterator

from canario.contracts.quoting import brief

__all__ = ["LeftOut", "such_as"]

_EXAMPLES = 3


class LeftOut:
    """Counts what is left out, by the reason: a few words that stand after a colon."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._found.values()))

    def add(self, why: str, where: str = "", count: int = 1) -> None:
        """Leave `count` out, of which one stands at `where`."""
        self._found.setdefault(why, []).extend([where] + [""] * (count - 1))

    def notes(self, one: str, many: str) -> Iterator[str]:
        """A line for each reason, the most frequent first."""
        for why, places in sorted(self._found.items(), key=lambda each: -len(each[1])):
            n = len(places)
            what = f"{one} is" if n == 1 else f"{n:,} {many} are"
            yield f"{what} left out: {why}{such_as(places)}"

    def first(self) -> str:
        """The most frequent reason."""
        why, places = max(self._found.items(), key=lambda each: len(each[1]))
        return f"{why}{such_as(places)}"


def such_as(places: list[str]) -> str:
    """Where the first ones are."""
    named = [brief(place, 60) for place in dict.fromkeys(places) if place][:_EXAMPLES]
    return f" ({'such as ' if len(places) > len(named) else ''}{', '.join(named)})" if named else ""
