"""A report as Markdown, short enough for a comment on a pull request.

What comes from files is shown as it is: it becomes no link, no mention of anybody, no markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from .plain import shown
from .report import Report, Suite, Table

__all__ = ["markdown"]

# A comment on GitHub holds 65,536 characters.
_MOST = 60_000
_ROWS = 60
_STORY = 30

# What Markdown means something by, anywhere and at the start of a line.
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~&$])")
_LEADING = re.compile(r"^(\d*)([.)](?=\s)|(?<!\d)[#+=:-])")
# Names of people and issues, addresses and emoji are looked for in the text that comes out.
_FOUND = re.compile(r"[@#]|:(?=//)|(?<=www)\.|:(?=[\w+-]+:)")
_APART = "\u200b"
_MARK = {True: "✅", False: "❌", None: "ℹ️"}


def markdown(report: Report) -> str:
    """The whole; what does not fit is left out, and that is said."""
    parts = list(_parts(report))
    made = parts.pop(0)
    for part in parts:
        if len(made) + len(part) > _MOST:
            made += "\n… the rest is in the other formats of this report.\n"
            break
        made += part
    return made


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    line = " ".join(text.split())
    line = _FOUND.sub(lambda found: found[0] + _APART, line)
    return _LEADING.sub(r"\1\\\2", _SPECIAL.sub(r"\\\1", line))


def _parts(report: Report) -> Iterator[str]:
    yield f"### {_MARK[report.ok]} {escaped(report.title)}\n\n" + "".join(
        f"{escaped(sentence)}\n\n" for sentence in report.summary
    )
    facts = report.facts
    tables = list(report.tables)
    if len(report.sections) == 1:
        (section,) = report.sections
        yield "".join(f"{escaped(sentence)}\n\n" for sentence in section.text)
        facts = facts or section.facts
        tables += [table for table in section.tables if not table.folded]
    if facts:
        yield _grid([fact.label for fact in facts], [[fact.value for fact in facts]])
    for table in tables:
        yield _table(table)
    for section in report.sections:
        if section.code:
            yield _folded(section.title, section.code)
    for suite in report.suites:
        if not all(case.ok for case in suite.cases):
            yield _missed(suite)


def _table(table: Table) -> str:
    rows = [
        [_words(shown(cell, column)) for cell, column in zip(row, table.columns, strict=True)]
        for row in table.rows[:_ROWS]
    ]
    made = _grid([column.title for column in table.columns], rows)
    left_out = len(table.rows) - len(rows)
    return made + (f"… and {left_out} more\n\n" if left_out else "")


def _words(text: str) -> str:
    return {"yes": "✅ yes", "no": "❌ no", "by chance not": "🎲 by chance not"}.get(text, text)


def _grid(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings)]
    made = "".join(
        f"| {' | '.join(cells)} |\n"
        for cells in ([escaped(heading) for heading in headings], lines[1])
    )
    made += "".join(f"| {' | '.join(escaped(cell) for cell in row)} |\n" for row in rows)
    return made + "\n"


def _missed(suite: Suite) -> str:
    """What was expected, what came, and the story, folded."""
    missed = [case for case in suite.cases if not case.ok]
    mark = "🎲" if all(case.by_chance for case in missed) else "❌"
    lines = [f"#### {mark} {escaped(suite.name)}\n"]
    lines += [
        f"- {escaped(case.name)}: expected {escaped(case.expected)}, actual {escaped(case.actual)}"
        + (f"; by chance: {escaped(case.by_chance)}" if case.by_chance else "")
        for case in missed
    ]
    story = list(suite.story[-_STORY:])
    if len(suite.story) > _STORY:
        story.insert(0, f"… {len(suite.story) - _STORY} lines before")
    made = "\n".join(lines) + "\n\n"
    return made + (
        _folded("What happened", "\n".join(_line(line) for line in story)) if story else ""
    )


def _line(text: str) -> str:
    return " ".join(text.splitlines())


def _folded(title: str, text: str) -> str:
    """Within a fence nothing is markup but the fence, which must be longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return (
        f"<details><summary>{escaped(title)}</summary>\n\n{fence}text\n{text}\n{fence}\n\n"
        "</details>\n\n"
    )
