"""What was tried: the conditions of a sweep, as a section."""

from __future__ import annotations

from collections.abc import Sequence

from canario_sim.lab.assessment import Described

from .report import Column, Section, Table

__all__ = ["conditions_section"]

# A longer table begins folded.
_OPEN = 12


def conditions_section(conditions: Sequence[Described], text: str) -> Section:
    """The section, with a sentence or two before the table."""
    return Section(
        name="conditions",
        title="What was tried",
        text=(text,),
        tables=(
            Table(
                name="conditions",
                title="Conditions",
                columns=(
                    Column("condition", "condition"),
                    Column("kind", "kind"),
                    Column("about", "what happens in it"),
                ),
                rows=tuple((each.name, each.kind, each.about) for each in conditions),
                folded=len(conditions) > _OPEN,
            ),
        ),
    )
