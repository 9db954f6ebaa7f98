"""Tapes and backtests in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from canario.control.events import Checked
from canario.control.words import describe, seconds_in_words
from canario.judges.verdict import VerdictKind
from canario.printable import printable
from canario_sim.backtest.backtest import Alarms, Backtest, Happened, Judged, TapeFacts
from canario_sim.tapes.importing import Imported, times_of
from canario_sim.terminal import Terminal
from canario_sim.world.rehearsal import FIGURES, Run

__all__ = ["show_backtest", "show_facts", "show_happened", "show_imported"]

_STYLES = {"completed": "green", "rolled_back": "red", "aborted": "red"}
_VERDICTS = {
    VerdictKind.HEALTHY: "green",
    VerdictKind.INSUFFICIENT: "yellow",
    VerdictKind.UNHEALTHY: "red",
}

# Changes of verdict in a row that a timeline shows, and rollbacks that false alarms name.
_SHOWN = 3
_NAMED = 5


def show_backtest(made: Backtest, *, verbose: bool, console: Console | None = None) -> None:
    """The facts, what happened, a row for each policy, and what is to be known of each."""
    out = console or Terminal()
    show_facts(made.tape, console=out)
    out.print()
    if made.alarms:
        _print_table(out, _alarms(made.alarms))
        for alarms in made.alarms:
            _show_alarms(out, alarms, verbose=verbose)
        return
    began = made.tape.began
    _print_table(out, _policies(made, began))
    for judged in made.policies:
        out.print()
        out.print(Text(judged.policy, style="bold"), Text(f": {printable(judged.run.why)}"), sep="")
        for line in _remarks(made, judged, began):
            out.print(Text(f"  {line}", style="dim"))
        if verbose:
            _show_timeline(out, judged, began)


def show_facts(facts: TapeFacts, *, console: Console | None = None) -> None:
    """What a tape holds, in a few lines."""
    out = console or Terminal()
    release = "" if facts.deployment_id is None else f", release {printable(facts.deployment_id)}"
    out.print(Text(printable(facts.source), style="bold"), Text(release), sep="")
    out.print(
        Text(
            f"{_moment(facts.began)} to {_moment(facts.ends)} "
            f"({seconds_in_words(round(facts.ends - facts.began, 1))})"
        )
    )
    parts = [f"{facts.requests:,} requests of {facts.users:,} users"]
    on_canary = f"{facts.canary_requests:,}" if facts.canary_requests else "none"
    parts.append(f"{on_canary} of them on the canary")
    parts.append(f"{facts.errors:,} failed")
    parts.append(f"{facts.neutral:,} say nothing")
    if facts.violations:
        parts.append(f"{facts.violations:,} broken contracts")
    out.print(Text(", ".join(parts)))
    if facts.routes:
        shown = printable(", ".join(facts.routes[:_NAMED]))
        more = "" if len(facts.routes) <= _NAMED else f" and {len(facts.routes) - _NAMED} more"
        out.print(Text(f"routes: {shown}{more}"))
    for line in _doubts(facts):
        out.print(Text(line, style="yellow"))


def show_happened(
    happened: Happened | None, facts: TapeFacts, *, console: Console | None = None
) -> None:
    """How the rollout ended, if there was one."""
    out = console or Terminal()
    if happened is None:
        out.print(Text("no rollout was recorded with it"))
        return
    outcome = happened.outcome.replace("_", " ")
    style = _STYLES.get(happened.outcome, "yellow")
    after = _after(happened.ended_at - facts.began)
    out.print(
        Text(f"{outcome} after {after}", style=style), Text(f": {printable(happened.why)}"), sep=""
    )


def show_imported(made: Imported, *, console: Console | None = None) -> None:
    """What was read, what was taken for what, what was left out, and what looks implausible."""
    out = console or Terminal()
    left_out = sum(each.count for each in made.skipped)
    filtered = f", {made.filtered:,} are no requests" if made.filtered else ""
    out.print(
        Text(
            f"{len(made.recording):,} requests of {made.lines:,} lines, {left_out:,} left out"
            f"{filtered}"
        )
    )
    for line in made.how:
        out.print(Text(printable(line)))
    out.print(Text(times_of(made)))
    for example in made.examples:
        out.print(Text(f"  {printable(example.text())}", style="dim"))
    for each in made.skipped:
        out.print(Text(f"left out: {printable(each.text)}", style="yellow"))
    for doubt in made.doubts:
        out.print(Text(printable(doubt), style="yellow"))


def _moment(at: float) -> str:
    # A tape of a test may have a clock that begins at 0.
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _doubts(facts: TapeFacts) -> Iterator[str]:
    if facts.dropped:
        yield f"{facts.dropped:,} rows were dropped while recording: nothing is exact"
    if facts.workers > 1 and facts.deployment_id is None:
        yield f"{facts.workers} recordings are taken as one stream of traffic"
    elif facts.workers > 1:
        yield (
            f"{facts.workers} workers decided each for itself; here one controller sees them all"
        )
    elif facts.deployment_id is not None and not (facts.whole or facts.dropped):
        yield "the tape does not begin with the rollout: its own journal cannot be found again"
    if not facts.closed:
        yield "the tape was not ended: what came after its last flush is missing"


def _policies(made: Backtest, began: float) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "outcome", "after", "last stage"):
        table.add_column(heading, no_wrap=True)
    for heading in FIGURES.values():
        table.add_column(heading, justify="right")
    table.add_column("beside what happened")
    if made.happened is not None:
        table.add_row(Text("what happened", style="italic"), *_cells(made.happened, began), "")
    for judged in made.policies:
        words = "" if judged.difference is None else judged.difference.words
        table.add_row(Text(judged.policy), *_cells(judged.run, began), Text(words))
    return table


def _cells(ending: Happened | Run, began: float) -> tuple[Text, ...]:
    outcome = f"{ending.outcome}, {ending.reason}" if ending.reason else ending.outcome
    return (
        Text(outcome, style=_STYLES.get(ending.outcome, "yellow")),
        Text(_after(ending.ended_at - began)),
        Text(ending.final_stage),
        *(Text(f"{figure:,}") for figure in ending.exposure.figures),
    )


def _after(seconds: float) -> str:
    return seconds_in_words(round(seconds, 0 if seconds >= 60 else 1))


def _remarks(made: Backtest, judged: Judged, began: float) -> Iterator[str]:
    """What is certain, what is an estimate, and where the tape ends."""
    if judged.tape_ends is not None:
        yield judged.tape_ends
    if judged.exact_until is None:
        if made.happened is not None and not judged.same_journal:
            yield "its share is always what it was, so this is exact"
    else:
        after = _after(judged.exact_until - began)
        if made.fates == "recorded":
            yield f"after {after} its share would have been another: judged as it was recorded"
        else:
            yield (
                f"an estimate from {after} on, where its share is another: {judged.drawn:,} "
                f"requests have the fate of one of {judged.donors:,} others, drawn with seed "
                f"{made.seed}"
            )
    for note in judged.run.notes:
        yield f"an order after {_after(note.at - began)} is refused: {note.text}"


def _show_timeline(out: Console, judged: Judged, began: float) -> None:
    shown = left_out = 0
    for event, following in zip(judged.run.events, [*judged.run.events[1:], None], strict=True):
        if isinstance(event, Checked):
            shown += 1
            if shown > _SHOWN and (following is None or isinstance(following, Checked)):
                left_out += 1
                continue
        else:
            shown = 0
        style = _VERDICTS[event.verdict.kind] if isinstance(event, Checked) else ""
        out.print(
            Text(f"{_after(event.at - began):>15}  "),
            Text(printable(describe(event, judged.deployment)), style=style),
            sep="",
        )
    if left_out:
        out.print(Text(f"                 … {left_out} more changes of verdict", style="dim"))


def _alarms(made: Sequence[Alarms]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("", no_wrap=True)
    for heading in ("rollouts", "rolled back", "share", "95 % interval", "per week", "unfinished"):
        table.add_column(heading, justify="right", no_wrap=True)
    for alarms in made:
        table.add_row(
            Text(alarms.policy),
            f"{len(alarms.windows):,}",
            Text(f"{alarms.rolled_back:,}", style="red" if alarms.rolled_back else "green"),
            f"{100 * alarms.share:.3g} %",
            f"{100 * alarms.low:.3g} to {100 * alarms.high:.3g} %",
            f"{alarms.per_week:,.3g}" if alarms.per_week < 1000 else f"{alarms.per_week:,.0f}",
            f"{alarms.unfinished:,}",
        )
    return table


def _show_alarms(out: Console, alarms: Alarms, *, verbose: bool) -> None:
    rollbacks = [window for window in alarms.windows if window.outcome == "rolled_back"]
    if not rollbacks:
        return
    out.print()
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in alarms.reasons.items())
    out.print(Text(alarms.policy, style="bold"), Text(f": {reasons}"), sep="")
    for window in rollbacks if verbose else rollbacks[:_NAMED]:
        after = _after(window.ended_at - window.start)
        out.print(
            Text(f"  {_moment(window.start)} + {after}: {printable(window.why)}", style="dim")
        )
    if len(rollbacks) > _NAMED and not verbose:
        out.print(Text(f"  … {len(rollbacks) - _NAMED} more (-v)", style="dim"))


def _print_table(out: Console, table: Table) -> None:
    # A narrow terminal breaks the lines; a number cut short would be another one.
    unbounded = out.options.update(max_width=1000)
    out.width = max(out.width, out.measure(table, options=unbounded).maximum)
    out.print(table)
