"""What a tape holds, how its rollout ended and how it was imported, in a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from rich.text import Text

from canario.control.words import seconds_in_words
from canario.printable import printable
from canario_sim.backtest.backtest import Happened, TapeFacts
from canario_sim.tapes.importing import Imported, times_of

from .outcomes import after, outcome_tone, plain_outcome
from .terminal import named

__all__ = ["facts", "happened", "imported", "instant"]

# Routes that are named.
_NAMED = 5


def facts(tape: TapeFacts) -> Iterator[Text]:
    """What a tape holds, in a few lines."""
    yield named(
        tape.source, "" if tape.deployment_id is None else f", release {tape.deployment_id}"
    )
    seconds = seconds_in_words(round(tape.ends - tape.began, 1))
    yield Text(f"{instant(tape.began)} to {instant(tape.ends)} ({seconds})")
    parts = [
        f"{tape.requests:,} requests of {tape.users:,} users",
        f"{f'{tape.canary_requests:,}' if tape.canary_requests else 'none'} of them on the canary",
        f"{tape.errors:,} failed",
        f"{tape.neutral:,} say nothing",
    ]
    if tape.violations:
        parts.append(f"{tape.violations:,} broken contracts")
    yield Text(", ".join(parts))
    if tape.routes:
        shown = printable(", ".join(tape.routes[:_NAMED]))
        more = "" if len(tape.routes) <= _NAMED else f" and {len(tape.routes) - _NAMED} more"
        yield Text(f"routes: {shown}{more}")
    for line in _doubts(tape):
        yield Text(line, style="wait")


def happened(ended: Happened | None, tape: TapeFacts) -> Iterator[Text]:
    """How the rollout ended, if there was one."""
    if ended is None:
        yield Text("no rollout was recorded with it")
        return
    words = f"{plain_outcome(ended.outcome)} after {after(ended.ended_at - tape.began)}"
    yield Text.assemble((words, outcome_tone(ended.outcome)), f": {printable(ended.why)}")


def imported(made: Imported) -> Iterator[Text]:
    """What was read, what was taken for what, what was left out, and what looks implausible."""
    left_out = sum(each.count for each in made.skipped)
    filtered = f", {made.filtered:,} are no requests" if made.filtered else ""
    yield Text(
        f"{len(made.recording):,} requests of {made.lines:,} lines, {left_out:,} left out{filtered}"
    )
    for line in made.how:
        yield Text(printable(line))
    yield Text(times_of(made))
    for example in made.examples:
        yield Text(f"  {printable(example.text())}", style="dim")
    for each in made.skipped:
        yield Text(f"left out: {printable(each.text)}", style="wait")
    for doubt in made.doubts:
        yield Text(printable(doubt), style="wait")


def instant(at: float) -> str:
    """A time of day. A tape of a test may have a clock that begins at 0."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _doubts(tape: TapeFacts) -> Iterator[str]:
    if tape.dropped:
        yield f"{tape.dropped:,} rows were dropped while recording: nothing is exact"
    if tape.workers > 1 and tape.deployment_id is None:
        yield f"{tape.workers} recordings are taken as one stream of traffic"
    elif tape.workers > 1:
        yield f"{tape.workers} workers decided each for itself; here one controller sees them all"
    elif tape.deployment_id is not None and not (tape.whole or tape.dropped):
        yield "the tape does not begin with the rollout: its own journal cannot be found again"
    if not tape.closed:
        yield "the tape was not ended: what came after its last flush is missing"
