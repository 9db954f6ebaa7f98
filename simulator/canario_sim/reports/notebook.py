"""What was found out, as a page in a notebook's cell."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from .report import Report

if TYPE_CHECKING:
    from canario_sim.backtest.backtest import Backtest
    from canario_sim.lab.assessment import Assessment
    from canario_sim.scenario.scenario import Scenario
    from canario_sim.tuning.result import Tuning
    from canario_sim.world.rehearsal import Run

__all__ = ["Shown", "report_of", "show"]


class Shown:
    """A report that a notebook draws where it stands, in a frame that reaches nothing else."""

    def __init__(self, report: Report, height: int) -> None:
        self.report = report
        self._height = height

    def __repr__(self) -> str:
        return "\n".join((self.report.title, *self.report.summary))

    def _repr_html_(self) -> str:
        from .html import html
        from .plain import printable_report

        page = html(printable_report(self.report))
        return (
            f'<iframe srcdoc="{escape(page)}" sandbox="allow-scripts" title="a report of canario" '
            f'style="width:100%;height:{self._height}px;border:0"></iframe>'
        )


def show(
    found: Run | Assessment | Tuning | Backtest | Report,
    scenario: Scenario | None = None,
    *,
    height: int = 900,
) -> Shown:
    """Show what was found out as the last line of a notebook's cell; see `report_of`."""
    return Shown(report_of(found, scenario), height)


def report_of(
    found: Run | Assessment | Tuning | Backtest | Report, scenario: Scenario | None = None
) -> Report:
    """The report of what was found out; a run's faults are shaded where its scenario is given.

    Raises `TypeError` for anything else.
    """
    if isinstance(found, Report):
        return found
    from canario_sim.world.rehearsal import Run

    if isinstance(found, Run):
        from .simulation import simulation

        return simulation([(scenario, found)])
    from canario_sim.lab.assessment import Assessment

    if isinstance(found, Assessment):
        from .assessing import assessing

        return assessing(found)
    from canario_sim.tuning.result import Tuning

    if isinstance(found, Tuning):
        from .tuned import tuned

        return tuned(found)
    from canario_sim.backtest.backtest import Backtest

    if isinstance(found, Backtest):
        from .backtested import backtested

        return backtested(found)
    raise TypeError(
        f"{type(found).__name__} has no report; give a Run, an Assessment, a Tuning or a Backtest"
    )
