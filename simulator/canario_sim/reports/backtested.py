"""What `canario backtest` has to say, as a report and in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from typing import Any

from msgspec.structs import replace
from rich.console import RenderableType
from rich.text import Text

from canario.control.events import StageEntered
from canario.printable import printable
from canario_sim.backtest.backtest import (
    OWN,
    Alarms,
    Backtest,
    Happened,
    Judged,
    TapeFacts,
    Window,
)
from canario_sim.world.rehearsal import COUNTED, Run

from . import tape_facts
from .columns import Field, brief, table
from .json_text import json_text
from .outcomes import (
    after,
    ending,
    figure_fields,
    outcome_tone,
    plain_outcome,
    reach,
    reasons_in_words,
    rounded,
)
from .report import Case, Fact, Panel, Picture, Report, Section, Suite, Table
from .rollout_picture import rollout
from .slugs import Slugs
from .terminal import grid, moment_line, named
from .timeline import moments

__all__ = ["backtested", "told"]

_HAPPENED = "what happened"

# Policies whose rollout is drawn check by check; the table has all of them.
_DRAWN = 12
# Changes of a share that are drawn and tabled; a tape's own are few.
_WINDOWS = 2000
# Rollbacks that a terminal names for each policy.
_NAMED = 5

# Whose decision, what came of it, and of a policy all that is known.
_Decision = tuple[str, Happened | Run, Judged | None]

_ALARMS: Sequence[Field[Alarms]] = (
    Field("policy", "policy", lambda each: each.policy, brief=""),
    Field("rollouts", "rollouts", lambda each: len(each.windows), 9, brief="rollouts"),
    Field("rolled_back", "rolled back", lambda each: each.rolled_back, 9),
    brief(
        "rolled back",
        lambda each: Text(f"{each.rolled_back:,}", style="bad" if each.rolled_back else "good"),
    ),
    Field("promoted", "promoted", lambda each: each.promoted, 9),
    Field("unfinished", "neither", lambda each: each.unfinished, 9),
    Field("percent", "rolled back (%)", lambda each: 100 * each.share),
    brief("share", lambda each: f"{100 * each.share:.3g} %"),
    Field("low", "from (%)", lambda each: 100 * each.low),
    Field("high", "to (%)", lambda each: 100 * each.high),
    brief("95 % interval", lambda each: f"{100 * each.low:.3g} to {100 * each.high:.3g} %"),
    Field(
        "per_week",
        "rollbacks per week",
        lambda each: each.per_week if isfinite(each.per_week) else None,
    ),
    brief(
        "per week",
        lambda each: f"{each.per_week:,.3g}" if each.per_week < 1000 else f"{each.per_week:,.0f}",
    ),
    brief("unfinished", lambda each: f"{each.unfinished:,}"),
    Field("reasons", "reasons", lambda each: reasons_in_words(each.reasons)),
)


def _decision_fields(began: float) -> Sequence[Field[_Decision]]:
    return (
        Field("policy", "policy", lambda each: each[0]),
        brief(
            "",
            lambda each: Text(printable(each[0]), style="" if each[2] else "italic"),
            left=True,
        ),
        Field("outcome", "outcome", lambda each: each[1].outcome),
        brief(
            "outcome",
            lambda each: Text(ending(each[1], raw=True), style=outcome_tone(each[1].outcome)),
            left=True,
        ),
        Field("reason", "reason", lambda each: each[1].reason),
        Field("after", "after (s)", lambda each: _since(each[1].ended_at, began), 6),
        brief("after", lambda each: after(each[1].ended_at - began), left=True),
        Field("final_stage", "last stage", lambda each: each[1].final_stage, brief="last stage"),
        *figure_fields(lambda each: each[1].exposure),
        Field("later", "later than it was (s)", lambda each: _later(each[2]), 6),
        Field(
            "drawn",
            "requests with another's fate",
            lambda each: each[2].drawn if each[2] else None,
            12,
        ),
        brief("beside what happened", lambda each: _difference(each[2]), left=True),
    )


def _window_fields(began: float) -> Sequence[Field[tuple[str, Window]]]:
    return (
        Field("policy", "policy", lambda each: each[0]),
        Field("start", "from (s)", lambda each: _since(each[1].start, began), 7),
        Field("end", "to (s)", lambda each: _since(each[1].ended_at, began), 7),
        Field("outcome", "outcome", lambda each: plain_outcome(each[1].outcome)),
        Field("why", "why", lambda each: each[1].why),
        Field("bad_requests", "bad requests", lambda each: each[1].bad_requests, 12),
    )


# Whose share, from when to when, and how large.
_SHARES: Sequence[Field[tuple[str, float, float, float]]] = (
    Field("policy", "policy", lambda each: each[0]),
    Field("start", "from (s)", lambda each: each[1], 6),
    Field("end", "to (s)", lambda each: each[2], 6),
    Field("share", "share (%)", lambda each: each[3]),
)


def told(made: Backtest, *, verbose: bool = False) -> Iterator[RenderableType]:
    """The facts, what happened, a row for each policy, and what is to be known of each."""
    yield from tape_facts.facts(made.tape)
    yield Text()
    if made.alarms:
        yield grid(_ALARMS, made.alarms)
        for alarms in made.alarms:
            yield from _rollbacks(alarms, verbose=verbose)
        return
    began = made.tape.began
    yield grid(_decision_fields(began), _decisions(made))
    for judged in made.policies:
        yield Text()
        yield named(judged.policy, f": {judged.run.why}")
        for line in _remarks(made, judged, began):
            yield Text(f"  {line}", style="dim")
        if verbose:
            lines = moments(judged.run.events, clock=lambda at: rounded(at - began))
            yield from map(moment_line, lines)


def _remarks(made: Backtest, judged: Judged, began: float) -> Iterator[str]:
    """What is certain, what is an estimate, and where the tape ends."""
    if judged.tape_ends is not None:
        yield judged.tape_ends
    if judged.exact_until is None:
        if made.happened is not None and not judged.same_journal:
            yield "its share is always what it was, so this is exact"
    else:
        exact = after(judged.exact_until - began)
        if made.fates == "recorded":
            yield f"after {exact} its share would have been another: judged as it was recorded"
        else:
            yield (
                f"an estimate from {exact} on, where its share is another: {judged.drawn:,} "
                f"requests have the fate of one of {judged.donors:,} others, drawn with seed "
                f"{made.seed}"
            )
    for note in judged.run.notes:
        yield f"an order after {after(note.at - began)} is refused: {note.text}"


def _rollbacks(alarms: Alarms, *, verbose: bool) -> Iterator[RenderableType]:
    rollbacks = [window for window in alarms.windows if window.outcome == "rolled_back"]
    if not rollbacks:
        return
    yield Text()
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in alarms.reasons.items())
    yield named(alarms.policy, f": {reasons}")
    for window in rollbacks if verbose else rollbacks[:_NAMED]:
        when = f"{tape_facts.instant(window.start)} + {after(window.ended_at - window.start)}"
        yield Text(f"  {when}: {printable(window.why)}", style="dim")
    if len(rollbacks) > _NAMED and not verbose:
        yield Text(f"  … {len(rollbacks) - _NAMED} more (-v)", style="dim")


def backtested(made: Backtest, *, at_most: float | None = None) -> Report:
    """The report of a backtest; `at_most` is the percentage of false alarms that is allowed."""
    facts = made.tape
    if made.alarms:
        sections = [_alarms(made.alarms, facts)]
    else:
        slugs = Slugs()
        sections = [
            _decided(made),
            *(_policy(judged, facts, slugs(judged.policy)) for judged in made.policies[:_DRAWN]),
        ]
    suites = tuple(_suites(made, at_most))
    return Report(
        command="backtest",
        title=f"{facts.deployment_id or facts.source} judged again",
        summary=tuple(_summary(made)),
        ok=all(case.ok for suite in suites for case in suite.cases) if suites else None,
        facts=tuple(_facts(made)),
        tables=(_table(made),),
        sections=tuple(sections),
        suites=suites,
        document=json_text(made).encode(),
    )


def _facts(made: Backtest) -> Iterator[Fact]:
    tape = made.tape
    yield Fact(label="requests", value=f"{tape.requests:,}")
    if tape.canary_requests:
        yield Fact(label="of them on the canary", value=f"{tape.canary_requests:,}")
    yield Fact(label="users", value=f"{tape.users:,}")
    yield Fact(label="recorded in", value=after(tape.ends - tape.began))
    if made.happened is not None:
        happened = made.happened
        tone = outcome_tone(happened.outcome)
        yield Fact(label=_HAPPENED, value=ending(happened), tone=tone)


def _summary(made: Backtest) -> Iterator[str]:
    began = made.tape.began
    if made.happened is not None:
        happened = made.happened
        yield (f"What happened, after {after(happened.ended_at - began)}: {happened.why}.")
    for judged in made.policies:
        beside = f" ({judged.difference.words})" if judged.difference else ""
        ended = after(judged.run.ended_at - began)
        yield f"{judged.policy}: {ending(judged.run)} after {ended}{beside}."
    for alarms in made.alarms:
        yield (
            f"{alarms.policy} rolls back {alarms.rolled_back:,} of {len(alarms.windows):,} "
            f"releases that change nothing: {100 * alarms.share:.3g} % "
            f"[{100 * alarms.low:.3g}–{100 * alarms.high:.3g}]."
        )
    if not made.exact:
        yield "The tape's own plan does not give back its journal: something of it is missing."


def _table(made: Backtest) -> Table:
    if made.alarms:
        return table("false-alarms", "False alarms", _ALARMS, made.alarms)
    return table("decisions", "Decisions", _decision_fields(made.tape.began), _decisions(made))


def _decisions(made: Backtest) -> list[_Decision]:
    """What happened, if anything did, and what each policy would have done."""
    happened: list[_Decision] = []
    if made.happened is not None:
        happened.append((_HAPPENED, made.happened, None))
    return [*happened, *((judged.policy, judged.run, judged) for judged in made.policies)]


def _later(judged: Judged | None) -> float | None:
    return judged.difference.seconds if judged and judged.difference else None


def _difference(judged: Judged | None) -> str:
    return judged.difference.words if judged and judged.difference else ""


def _decided(made: Backtest) -> Section:
    """Every policy's share on one axis of time."""
    began = made.tape.began
    decisions = _decisions(made)
    shares = table(
        "shares", "Shares", _SHARES, (row for each in decisions for row in _shares(each, began))
    )
    end_fields: Sequence[Field[_Decision]] = (
        Field("policy", "policy", lambda each: each[0]),
        Field("at", "after (s)", lambda each: each[1].ended_at - began, 6),
        Field("outcome", "outcome", lambda each: plain_outcome(each[1].outcome)),
        Field("words", "in words", lambda each: ending(each[1])),
    )
    ends = table("ends", "Ends", end_fields, decisions)

    def draw() -> tuple[Panel, ...]:
        from .tape_charts import decisions as chart

        return (chart(shares, ends, made.tape.ends - began),)

    return Section(
        name="decisions",
        title="Decisions on this tape",
        text=tuple(_caution(made)),
        pictures=(
            Picture(
                name="decisions",
                title="How each rollout goes",
                caption="The darker, the larger the share of the canary; the mark is its end. "
                f"In the table: {COUNTED[:1].lower()}{COUNTED[1:]}",
                tables=(shares, ends),
                draw=draw,
            ),
        ),
    )


def _caution(made: Backtest) -> Iterator[str]:
    """What is an estimate, and how good."""
    for judged in made.policies:
        if judged.exact_until is not None:
            yield (
                f"{judged.policy} is as recorded for "
                f"{after(judged.exact_until - made.tape.began)}; after that {judged.drawn:,} "
                f"requests have the fate of one of {judged.donors:,} others."
            )
        if judged.tape_ends:
            yield f"{judged.policy}: {judged.tape_ends}."


def _shares(decision: _Decision, began: float) -> Iterator[tuple[str, float, float, float]]:
    name, each, _ = decision
    entered = [event for event in each.events if isinstance(event, StageEntered)]
    ends = [*(event.at for event in entered[1:]), each.ended_at]
    for event, end in zip(entered, ends, strict=True):
        if end > event.at:
            yield name, _since(event.at, began), _since(end, began), event.percentage


def _policy(judged: Judged, facts: TapeFacts, slug: str) -> Section:
    run = _since_it_began(judged.run, facts.began)
    exact = judged.policy == OWN and facts.whole
    text = [f"{run.why[:1].upper()}{run.why[1:]}."]
    if exact:
        gives = "gives back" if judged.same_journal else "does not give back"
        text.append(f"The tape's own plan {gives} its own journal.")
    tone = outcome_tone(run.outcome)
    return Section(
        name=f"policy-{slug}",
        title=judged.policy,
        tone=tone,
        text=tuple(text),
        facts=(
            Fact(label="outcome", value=ending(run), tone=tone),
            Fact(label="after", value=after(run.ended_at)),
            *reach(run.exposure),
        ),
        pictures=(rollout(run, prefix=f"{slug}-", most=200),),
        # In words that are the journal's: how long a gap was is no instant to be moved.
        timeline=moments(
            judged.run.events, judged.run.notes, clock=lambda at: _since(at, facts.began)
        ),
    )


def _since_it_began(run: Run, began: float) -> Run:
    """The rollout on a clock that begins with the tape."""

    def since(listed: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(replace(each, at=_since(each.at, began)) for each in listed)

    return replace(
        run,
        ended_at=_since(run.ended_at, began),
        events=since(run.events),
        notes=since(run.notes),
        history=since(run.history),
    )


def _alarms(alarms: Sequence[Alarms], facts: TapeFacts) -> Section:
    odds = table("false-alarms", "False alarms", _ALARMS, alarms)
    windows = table(
        "windows",
        "Rollouts that might have been",
        _window_fields(facts.began),
        ((each.policy, window) for each in alarms for window in each.windows),
    )
    if len(windows.rows) > _WINDOWS:
        step = -(-len(windows.rows) // _WINDOWS)
        windows = replace(windows, shown=tuple(range(0, len(windows.rows), step)))
    policies = tuple(each.policy for each in alarms)

    def draw_odds() -> tuple[Panel, ...]:
        from .tape_charts import alarms as chart

        return (chart(odds),)

    def draw_windows() -> tuple[Panel, ...]:
        from .tape_charts import windows as chart

        return (chart(windows, policies, facts.ends - facts.began),)

    return Section(
        name="alarms",
        title="Releases that change nothing",
        pictures=(
            Picture(
                name="alarms",
                title="How often they are rolled back",
                caption="Percent of the rollouts, with intervals of 95 %.",
                tables=(odds,),
                draw=draw_odds,
            ),
            Picture(
                name="windows",
                title="When",
                caption="Each line is a rollout that might have been, from its start to its end.",
                tables=(windows,),
                draw=draw_windows,
            ),
        ),
    )


def _suites(made: Backtest, at_most: float | None) -> Iterator[Suite]:
    """The tape's own plan gives back its own journal; and no more false alarms than allowed."""
    own = [each for each in made.policies if each.policy == OWN]
    if own and made.tape.whole:
        yield Suite(
            name=OWN,
            about="the tape's own plan gives back its own journal",
            cases=(
                Case(
                    name="journal",
                    expected="as recorded",
                    actual="as recorded" if own[0].same_journal else "another one",
                    ok=own[0].same_journal,
                ),
            ),
        )
    if at_most is None:
        return
    for each in made.alarms:
        yield Suite(
            name=each.policy,
            about="releases that change nothing and are rolled back",
            cases=(
                Case(
                    name="false alarms",
                    expected=f"at most {at_most:g} %",
                    actual=f"{100 * each.share:.4g} %",
                    ok=100 * each.share <= at_most,
                ),
            ),
        )


def _since(at: float, began: float) -> float:
    # A clock that counts from 1970 has no digit for less than a microsecond.
    return round(at - began, 6)
