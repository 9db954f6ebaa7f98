"""What `canario backtest` has to say, as a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from canario.control.events import Event, StageEntered
from canario.control.words import seconds_in_words
from canario_sim.backtest.backtest import OWN, Alarms, Backtest, Happened, Judged, TapeFacts
from canario_sim.reports.json_text import json_text
from canario_sim.world.rehearsal import COUNTED, Run

from .report import Case, Cell, Column, Fact, Panel, Picture, Report, Section, Suite, Table, Tone
from .rollout_picture import rollout
from .simulation import exposure_columns, moments, reach
from .slugs import Slugs

__all__ = ["HAPPENED", "backtested"]

HAPPENED = "what happened"

# Policies whose rollout is drawn check by check; the table has all of them.
_DRAWN = 12
# Changes of a share that are drawn and tabled; a tape's own are few.
_WINDOWS = 2000


def backtested(made: Backtest, *, at_most: float | None = None) -> Report:
    """The report of a backtest; `at_most` is the percentage of false alarms that is allowed."""
    facts = made.tape
    if made.alarms:
        sections = [_alarms(made.alarms, facts)]
    else:
        slugs = Slugs()
        sections = [
            _decisions(made),
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
    yield Fact(label="recorded in", value=_time(tape.ends - tape.began))
    if made.happened is not None:
        happened = made.happened
        yield Fact(
            label=HAPPENED,
            value=_outcome(happened.outcome, happened.reason),
            tone=_tone(happened.outcome),
        )


def _summary(made: Backtest) -> Iterator[str]:
    began = made.tape.began
    if made.happened is not None:
        happened = made.happened
        yield (f"What happened, after {_time(happened.ended_at - began)}: {happened.why}.")
    for judged in made.policies:
        beside = f" ({judged.difference.words})" if judged.difference else ""
        yield (
            f"{judged.policy}: {_outcome(judged.outcome, judged.run.reason)} after "
            f"{_time(judged.run.ended_at - began)}{beside}."
        )
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
        return _alarm_table(made.alarms)
    began = made.tape.began
    rows: list[tuple[Cell, ...]] = []
    if made.happened is not None:
        rows.append((HAPPENED, *_decided(made.happened, began), None, None))
    for judged in made.policies:
        later = judged.difference.seconds if judged.difference else None
        rows.append((judged.policy, *_decided(judged.run, began), later, judged.drawn))
    return Table(
        name="decisions",
        title="Decisions",
        columns=(
            Column("policy", "policy"),
            Column("outcome", "outcome"),
            Column("reason", "reason"),
            Column("after", "after (s)", 6),
            Column("final_stage", "last stage"),
            *exposure_columns(),
            Column("later", "later than it was (s)", 6),
            Column("drawn", "requests with another's fate", 12),
        ),
        rows=tuple(rows),
    )


def _decided(each: Happened | Run, began: float) -> tuple[Cell, ...]:
    return (
        each.outcome,
        each.reason,
        _since(each.ended_at, began),
        each.final_stage,
        *each.exposure.figures,
    )


def _decisions(made: Backtest) -> Section:
    """Every policy's share on one axis of time."""
    began = made.tape.began
    rollouts: list[tuple[str, Happened | Run]] = []
    if made.happened is not None:
        rollouts.append((HAPPENED, made.happened))
    rollouts += [(each.policy, each.run) for each in made.policies]
    told = [
        (name, each.events, each.ended_at, each.outcome, each.reason) for name, each in rollouts
    ]
    shares = Table(
        name="shares",
        title="Shares",
        columns=(
            Column("policy", "policy"),
            Column("start", "from (s)", 6),
            Column("end", "to (s)", 6),
            Column("share", "share (%)"),
        ),
        rows=tuple(
            row for name, events, ended, *_ in told for row in _shares(name, events, began, ended)
        ),
    )
    ends = Table(
        name="ends",
        title="Ends",
        columns=(
            Column("policy", "policy"),
            Column("at", "after (s)", 6),
            Column("outcome", "outcome"),
            Column("words", "in words"),
        ),
        rows=tuple(
            (name, ended - began, outcome.replace("_", " "), _outcome(outcome, reason))
            for name, _, ended, outcome, reason in told
        ),
    )

    def draw() -> tuple[Panel, ...]:
        from .tape_charts import decisions

        return (decisions(shares, ends, made.tape.ends - began),)

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
                f"{_time(judged.exact_until - made.tape.began)}; after that {judged.drawn:,} "
                f"requests have the fate of one of {judged.donors:,} others."
            )
        if judged.tape_ends:
            yield f"{judged.policy}: {judged.tape_ends}."


def _shares(
    name: str, events: Sequence[Event], began: float, ended: float
) -> Iterator[tuple[Cell, ...]]:
    entered = [(event.at, event.percentage) for event in events if isinstance(event, StageEntered)]
    for (at, share), after in zip(entered, [*(at for at, _ in entered[1:]), ended], strict=True):
        if after > at:
            yield name, _since(at, began), _since(after, began), share


def _policy(judged: Judged, facts: TapeFacts, slug: str) -> Section:
    run = _since_it_began(judged.run, facts.began)
    exact = judged.policy == OWN and facts.whole
    text = [f"{run.why[:1].upper()}{run.why[1:]}."]
    if exact:
        gives = "gives back" if judged.same_journal else "does not give back"
        text.append(f"The tape's own plan {gives} its own journal.")
    return Section(
        name=f"policy-{slug}",
        title=judged.policy,
        tone=_tone(run.outcome),
        text=tuple(text),
        facts=(
            Fact(
                label="outcome",
                value=_outcome(run.outcome, run.reason),
                tone=_tone(run.outcome),
            ),
            Fact(label="after", value=_time(run.ended_at)),
            *reach(run.exposure),
        ),
        pictures=(rollout(run, prefix=f"{slug}-", most=200),),
        timeline=moments(run, [(note.at, note.text) for note in run.notes]),
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
    odds = _alarm_table(alarms)
    windows = Table(
        name="windows",
        title="Rollouts that might have been",
        columns=(
            Column("policy", "policy"),
            Column("start", "from (s)", 7),
            Column("end", "to (s)", 7),
            Column("outcome", "outcome"),
            Column("why", "why"),
            Column("bad_requests", "bad requests", 12),
        ),
        rows=tuple(
            (
                each.policy,
                _since(window.start, facts.began),
                _since(window.ended_at, facts.began),
                window.outcome.replace("_", " "),
                window.why,
                window.bad_requests,
            )
            for each in alarms
            for window in each.windows
        ),
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


def _alarm_table(alarms: Sequence[Alarms]) -> Table:
    return Table(
        name="false-alarms",
        title="False alarms",
        columns=(
            Column("policy", "policy"),
            Column("rollouts", "rollouts", 9),
            Column("rolled_back", "rolled back", 9),
            Column("promoted", "promoted", 9),
            Column("unfinished", "neither", 9),
            Column("percent", "rolled back (%)"),
            Column("low", "from (%)"),
            Column("high", "to (%)"),
            Column("per_week", "rollbacks per week"),
            Column("reasons", "reasons"),
        ),
        rows=tuple(
            (
                each.policy,
                len(each.windows),
                each.rolled_back,
                each.promoted,
                each.unfinished,
                100 * each.share,
                100 * each.low,
                100 * each.high,
                each.per_week if each.per_week < float("inf") else None,
                ", ".join(f"{count} {reason}" for reason, count in each.reasons.items()),
            )
            for each in alarms
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


def _outcome(outcome: str, reason: str | None) -> str:
    words = outcome.replace("_", " ")
    return f"{words}, {reason}" if reason else words


def _tone(outcome: str) -> Tone:
    tones: dict[str, Tone] = {"completed": "good", "rolled_back": "bad", "aborted": "bad"}
    return tones.get(outcome, "wait")


def _time(seconds: float) -> str:
    return seconds_in_words(round(seconds, 0 if seconds >= 60 else 1))
