"""How far it is: a bar with rate and time left, in a terminal and in a notebook."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.text import Text

from canario_sim.console import Terminal

from .executor import Progress

__all__ = ["ProgressBar"]


class ProgressBar:
    """A context manager to be given to `replicate` or `run_all` as its `progress`.

    In a terminal it draws on stderr and is gone at the end; in a notebook it is a cell's output;
    where neither is, nothing is drawn. A `console` of one's own decides otherwise.
    """

    def __init__(self, title: str = "replications", *, console: Console | None = None) -> None:
        # Whether this is a notebook is the console's to say; one for stderr would not look.
        notebook = Terminal().is_jupyter if console is None else console.is_jupyter
        self._console = console or Terminal(stderr=not notebook)
        self._bar = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=notebook or not self._console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=None)
        self._display = _display() if notebook else None

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        """Show it."""
        self._bar.update(
            self._task,
            total=progress.planned,
            completed=progress.done,
            made=progress.done - progress.taken_up,
            seconds=progress.seconds,
        )
        if self._display is not None:
            self._display.update(self._bar.make_tasks_table(self._bar.tasks))


class _Rate(ProgressColumn):
    """Replications a second since the start, without those that were there already."""

    def render(self, task: Task) -> Text:
        seconds = task.fields.get("seconds", 0.0)
        if not seconds:
            return Text("")
        return Text(f"{task.fields['made'] / seconds:.3g}/s", style="progress.data.speed")


def _display() -> Any:
    """An output of the notebook's cell that can be drawn again, without any widget package."""
    from IPython.display import display

    return display(Text(""), display_id=True)  # type: ignore[no-untyped-call]
