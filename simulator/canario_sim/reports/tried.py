"""What was tried: the conditions of a sweep, as a section."""

from __future__ import annotations

from collections.abc import Sequence

from canario_sim.lab.assessment import Described

from .columns import Field, table
from .report import Section

__all__ = ["OPEN", "conditions_section"]

# A longer table begins folded.
OPEN = 12

_CONDITIONS: Sequence[Field[Described]] = (
    Field("condition", "condition", lambda each: each.name),
    Field("kind", "kind", lambda each: each.kind),
    Field("about", "what happens in it", lambda each: each.about),
)


def conditions_section(conditions: Sequence[Described], text: str) -> Section:
    """The section, with a sentence or two before the table."""
    return Section(
        name="conditions",
        title="What was tried",
        text=(text,),
        tables=(
            table(
                "conditions",
                "Conditions",
                _CONDITIONS,
                conditions,
                folded=len(conditions) > OPEN,
            ),
        ),
    )
