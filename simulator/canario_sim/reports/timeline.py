"""What happened when: the journal of a rollout and the faults beside it, in words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from canario.control.events import Checked, Event, StageEntered, Started
from canario.control.words import describe
from canario.plan import Deployment
from canario.printable import printable
from canario_sim.world.carrier import Note
from canario_sim.world.rehearsal import Run

from .outcomes import event_tone
from .report import Moment

__all__ = ["deployment_of", "moments", "timeline"]

# Changes of verdict that a stage shows before the rest is only counted.
_VERDICTS = 3


def timeline(run: Run) -> list[tuple[float, str]]:
    """What happened when, in words and in order; at one instant faults before the journal."""
    told = moments(run.events, run.notes, whole=True)
    return [(moment.at, printable(moment.text)) for moment in told]


def deployment_of(events: Sequence[Event]) -> Deployment:
    """What a journal is about, which its first event says."""
    started = events[0]
    assert isinstance(started, Started)
    return started.deployment


def moments(
    events: Sequence[Event],
    notes: Iterable[Note] = (),
    *,
    deployment: Deployment | None = None,
    whole: bool = False,
    clock: Callable[[float], float] = lambda at: at,
    hint: str = "",
) -> tuple[Moment, ...]:
    """The lines of a timeline, in order.

    Args:
        events: A journal, or what has been added to it.
        notes: What happened beside it.
        deployment: What they are about, where they do not begin with it.
        whole: Leave no change of verdict out.
        clock: Gives the instant that is shown for one of theirs.
        hint: How to see what is left out.
    """
    deployment = deployment or deployment_of(events)
    lines = [Moment(at=clock(note.at), text=note.text, tone="fault") for note in notes]
    told = ((event, 0) for event in events) if whole else _folded(events)
    for event, left_out in told:
        at = clock(event.at)
        if left_out:
            words = f"… {left_out} more changes of verdict{hint}"
            lines.append(Moment(at=at, text=words, weight="dim"))
        lines.append(
            Moment(
                at=at,
                text=describe(event, deployment),
                tone=event_tone(event),
                weight="bold" if event.terminal or isinstance(event, StageEntered) else "",
            )
        )
    return tuple(sorted(lines, key=lambda line: line.at))


def _folded(events: Sequence[Event]) -> Iterator[tuple[Event, int]]:
    """The events that are worth a line, each with the changes of verdict left out before it.

    A stage shows its first ones, and whichever decided something: it is followed by what it
    decided, or by nothing.
    """
    seen = left_out = 0
    for event, then in zip(events, [*events[1:], None], strict=True):
        if isinstance(event, StageEntered):
            seen = 0
        if isinstance(event, Checked):
            if seen >= _VERDICTS and isinstance(then, Checked):
                left_out += 1
                continue
            seen += 1
        yield event, left_out
        left_out = 0
