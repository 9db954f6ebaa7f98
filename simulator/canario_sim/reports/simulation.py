"""What `canario simulate` has to say, as a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from canario.control.events import (
    Aborted,
    Checked,
    Event,
    Held,
    Promoted,
    RolledBack,
    StageEntered,
    Started,
)
from canario.control.words import describe, seconds_in_words
from canario.judges.verdict import VerdictKind
from canario_sim.reports.timeline import reports, timeline
from canario_sim.scenario.expect import under
from canario_sim.scenario.scenario import Scenario
from canario_sim.world.rehearsal import COUNTED, FIGURES, Exposure, Run

from .report import Case, Column, Fact, Moment, Panel, Picture, Report, Section, Suite, Table, Tone
from .rollout_picture import Span, rollout

__all__ = [
    "BAD_ONES",
    "exposure_columns",
    "moments",
    "outcome",
    "reach",
    "simulation",
    "tone_of",
]

# Checks that are drawn of all rollouts of one report together, and of each at least.
_POINTS = 4000
_LEAST = 80

# A line of verdicts that a timeline shows of each stage before it goes on to what followed.
_VERDICTS = 3

# Rollouts that get a section of their own; a table has all of them.
_SECTIONS = 20

# The line of an exposure that is no success.
BAD_ONES = "of its requests: bad ones"


def simulation(rehearsed: Sequence[tuple[Scenario | None, Run]]) -> Report:
    """The report of rehearsals, each with its scenario where there is one."""
    runs = [run for _, run in rehearsed]
    stated = [run for run in runs if run.expectations]
    several = len(runs) > 1
    told = _told(rehearsed)
    most = max(_LEAST, min(400, _POINTS // len(told)))
    sections = [_section(scenario, run, most, several=several) for scenario, run in told]
    if several:
        sections.insert(0, _overview(runs))
    return Report(
        command="simulate",
        title=f"{len(runs)} rehearsals" if several else f"Rehearsal of {runs[0].scenario}",
        summary=tuple(_summary(rehearsed)),
        ok=all(run.ok for run in runs) if stated else None,
        verdicts=(
            "Not as expected by chance"
            if any(run.by_chance for run in runs)
            else "All as expected",
            "Not as expected",
        ),
        facts=_facts(runs) if several else (),
        tables=(_table(runs),) if several else (),
        sections=tuple(sections),
        suites=tuple(_suite(scenario, run) for scenario, run in rehearsed),
        document=reports(runs),
    )


def outcome(run: Run) -> str:
    """`rolled back, error_rate`."""
    words = run.outcome.replace("_", " ")
    return f"{words}, {run.reason}" if run.reason else words


def tone_of(run: Run) -> Tone:
    """Of its outcome."""
    tones: dict[str, Tone] = {"completed": "good", "rolled_back": "bad", "aborted": "bad"}
    return tones.get(run.outcome, "wait")


def moments(run: Run, notes: Iterable[tuple[float, str]] = ()) -> tuple[Moment, ...]:
    """The timeline; where verdicts change again and again, the rest is counted."""
    lines = [Moment(at=at, text=text, tone="fault") for at, text in notes]
    shown = left_out = 0
    told = dict(enumerate(timeline_of(run)))
    for number, (event, text) in told.items():
        last = number + 1 == len(told) or not isinstance(told[number + 1][0], Checked)
        if isinstance(event, StageEntered):
            shown = 0
        if isinstance(event, Checked):
            if shown >= _VERDICTS and not last:
                left_out += 1
                continue
            shown += 1
        if left_out:
            lines.append(Moment(at=event.at, text=f"… {left_out} more changes of verdict"))
            left_out = 0
        lines.append(Moment(at=event.at, text=text, tone=_tone(event)))
    return tuple(sorted(lines, key=lambda line: line.at))


def timeline_of(run: Run) -> list[tuple[Event, str]]:
    """Every event of the journal, in words."""
    started = run.events[0]
    assert isinstance(started, Started)
    return [(event, describe(event, started.deployment)) for event in run.events]


def _tone(event: Event) -> Tone:
    match event:
        case Checked(verdict=verdict):
            tones: dict[VerdictKind, Tone] = {
                VerdictKind.HEALTHY: "good",
                VerdictKind.UNHEALTHY: "bad",
            }
            return tones.get(verdict.kind, "wait")
        case RolledBack() | Aborted():
            return "bad"
        case Promoted():
            return "good"
        case Held():
            return "wait"
        case _:
            return "plain"


def _told(
    rehearsed: Sequence[tuple[Scenario | None, Run]],
) -> list[tuple[Scenario | None, Run]]:
    """Those that get a section: where there are too many, those first that are not as expected."""
    order = sorted(range(len(rehearsed)), key=lambda number: _rank(rehearsed[number][1]))
    return [rehearsed[number] for number in sorted(order[:_SECTIONS])]


def _rank(run: Run) -> tuple[bool, bool]:
    return run.ok, run.as_expected


def _section(scenario: Scenario | None, run: Run, most: int, *, several: bool) -> Section:
    prefix = f"{run.scenario}-" if several else ""
    faults = _faults(scenario, run.seed) if scenario else ()
    text = [scenario.teaches] if scenario else []
    if scenario and scenario.weakness:
        text.append(f"A weakness: {scenario.weakness}")
    notes = [(note.at, note.text) for note in run.notes if note.at <= run.ended_at]
    # What comes again and again is counted where it is shaded.
    if len(notes) > 12:
        notes = [*notes[:4], (notes[4][0], f"… {len(notes) - 4} more starts and ends of faults")]
    tables = [_expected(run, prefix)] if run.expectations else []
    return Section(
        name=run.scenario,
        title=run.scenario,
        text=tuple(text),
        tone=_expected_tone(run, tone_of(run)),
        facts=_facts_of(run),
        tables=(*tables, _journal(run, prefix)),
        pictures=(
            rollout(run, faults, prefix=prefix, most=most),
            _exposure(run, prefix),
        ),
        timeline=moments(run, notes),
    )


def _faults(scenario: Scenario, seed: int | None) -> tuple[Span, ...]:
    # Those that begin by chance are shaded from where they began.
    settled = scenario.settled(scenario.seed if seed is None else seed)
    return tuple(
        (start, end, fault.arm, fault.words)
        for fault in settled.faults
        for start, end in settled.occurrences(fault)
    )


def _facts_of(run: Run) -> tuple[Fact, ...]:
    expected: tuple[Fact, ...] = ()
    if run.expectations:
        expected = (
            Fact(
                label="as expected",
                value=_as_expected(run) or "",
                tone=_expected_tone(run, "good"),
            ),
        )
    return (
        Fact(label="outcome", value=outcome(run), tone=tone_of(run)),
        Fact(label="after", value=_time(run.ended_at)),
        *reach(run.exposure),
        *expected,
    )


def exposure_columns() -> tuple[Column, ...]:
    """Of `Exposure.figures`."""
    return tuple(Column(name, title, 12) for name, title in FIGURES.items())


def reach(exposure: Exposure) -> tuple[Fact, ...]:
    """Whom a canary has reached."""
    served, bad, in_flight, users = (f"{figure:,}" for figure in exposure.figures)
    return (
        Fact(label="requests served", value=served),
        Fact(label="bad requests served", value=bad),
        Fact(label="in flight at the end", value=in_flight),
        *(
            Fact(label=label, value=f"{number:,}", tone="bad")
            for label, number in (
                ("of them overdue", exposure.overdue),
                ("never answered", exposure.abandoned),
            )
            if number
        ),
        Fact(label="users reached", value=users),
    )


def _as_expected(run: Run) -> str | None:
    if not run.expectations:
        return None
    return "by chance not" if run.by_chance else "yes" if run.ok else "no"


def _expected_tone(run: Run, good: Tone) -> Tone:
    return "bad" if not run.ok else "wait" if run.by_chance else good


def _facts(runs: Sequence[Run]) -> tuple[Fact, ...]:
    stated = [run for run in runs if run.expectations]
    missed = any(not run.ok for run in stated)
    chance = sum(run.by_chance for run in stated)
    return (
        Fact(label="rehearsed", value=str(len(runs))),
        Fact(
            label="as expected",
            value=f"{sum(run.as_expected for run in stated)} of {len(stated)}",
            tone="bad" if missed else "good" if stated else "plain",
        ),
        *((Fact(label="not by chance", value=str(chance), tone="wait"),) if chance else ()),
        Fact(label="rolled back", value=str(sum(run.outcome == "rolled_back" for run in runs))),
        Fact(label="promoted", value=str(sum(run.outcome == "completed" for run in runs))),
    )


def _summary(rehearsed: Sequence[tuple[Scenario | None, Run]]) -> Iterable[str]:
    if len(rehearsed) == 1:
        run = rehearsed[0][1]
        yield (f"After {_time(run.ended_at)}: {run.why}. The canary {run.exposure.words}.")
        yield from _misses([run])
        return
    runs = [run for _, run in rehearsed]
    stated = [run for run in runs if run.expectations]
    good = sum(run.as_expected for run in stated)
    yield f"{len(runs)} releases were rehearsed; {good} of {len(stated)} came to what was expected."
    if chance := sum(run.by_chance for run in stated):
        yield f"By chance {chance} did not, as their files say that some seeds do not."
    if len(runs) > _SECTIONS:
        yield f"The table has all of them, the sections below tell of {_SECTIONS}."
    yield from _misses(runs)


def _misses(runs: Iterable[Run]) -> Iterable[str]:
    for run in runs:
        for each in run.expectations:
            if not each.ok:
                by_chance = "by chance " if run.by_chance else ""
                seeds = f" {under(run.chance)}" if run.by_chance else ""
                yield (
                    f"{run.scenario} is {by_chance}not as expected: {each.name} is {each.actual}, "
                    f"expected {each.expected}{seeds}."
                )


def _table(runs: Sequence[Run]) -> Table:
    return Table(
        name="rehearsals",
        title="All rehearsals",
        columns=(
            Column("scenario", "scenario"),
            Column("outcome", "outcome"),
            Column("reason", "reason"),
            Column("ended_at", "after (s)", 6),
            *exposure_columns(),
            Column("as_expected", "as expected"),
        ),
        rows=tuple(
            (
                run.scenario,
                run.outcome,
                run.reason,
                run.ended_at,
                *run.exposure.figures,
                _as_expected(run),
            )
            for run in runs
        ),
        tones=tuple(_expected_tone(run, "plain") for run in runs),
    )


def _expected(run: Run, prefix: str) -> Table:
    return Table(
        name=f"{prefix}expected",
        title="Expected and actual",
        columns=(
            Column("name", "what"),
            Column("expected", "expected", 12),
            Column("actual", "actual", 12),
            Column("ok", "as expected"),
        ),
        rows=tuple(
            (each.name, each.expected, each.actual, "yes" if each.ok else _as_expected(run))
            for each in run.expectations
        ),
        tones=tuple(
            "plain" if each.ok else _expected_tone(run, "plain") for each in run.expectations
        ),
    )


def _journal(run: Run, prefix: str) -> Table:
    return Table(
        name=f"{prefix}journal",
        title="Faults and the whole journal",
        columns=(Column("at", "at (s)", 7), Column("what", "what happened")),
        rows=tuple((at, text) for at, text in timeline(run) if at <= run.ended_at),
        folded=True,
    )


def _overview(runs: Sequence[Run]) -> Section:
    """How long each took and how it ended."""
    table = Table(
        name="overview",
        title="Outcomes",
        columns=(
            Column("scenario", "scenario"),
            Column("outcome", "outcome"),
            Column("ended_at", "after (s)", 6),
            Column("bad_requests", "bad requests", 12),
        ),
        rows=tuple(
            (run.scenario, run.outcome.replace("_", " "), run.ended_at, run.exposure.bad_requests)
            for run in runs
        ),
    )

    def draw() -> tuple[Panel, ...]:
        from .run_charts import overview

        return (overview(runs, table),)

    picture = Picture(
        name="overview",
        title="How long each rollout went on",
        caption="To its end or, where it waits, to the end of the rehearsal.",
        tables=(table,),
        draw=draw,
    )
    return Section(name="overview", title="Overview", pictures=(picture,))


def _exposure(run: Run, prefix: str) -> Picture:
    """Whom the canary has reached, as parts of what there was."""
    reached, total = run.exposure, run.canary.requests + run.baseline.requests
    sent = reached.canary_requests + reached.in_flight
    table = Table(
        name=f"{prefix}exposure",
        title="Exposure",
        columns=(
            Column("what", "what"),
            Column("part", "number", 12),
            Column("whole", "of", 12),
            Column("percent", "percent"),
            Column("words", "in words"),
        ),
        rows=tuple(
            (what, part, whole, 100 * part / whole if whole else 0.0, f"{part:,} of {whole:,}")
            for what, part, whole in (
                ("requests that the canary served", reached.canary_requests, total),
                (BAD_ONES, reached.bad_requests, reached.canary_requests),
                ("beside them: in flight at the end", reached.in_flight, sent),
                ("users that it reached", reached.users, reached.population),
            )
        ),
    )

    def draw() -> tuple[Panel, ...]:
        from .run_charts import exposure

        return (exposure(table),)

    return Picture(
        name=f"{prefix}exposure",
        title="Exposure",
        caption=f"Whom the canary had reached when the rehearsal ended. {COUNTED} A bad request "
        "failed, was slower than the plan's limit, or broke a contract.",
        tables=(table,),
        draw=draw,
    )


def _suite(scenario: Scenario | None, run: Run) -> Suite:
    cases = [
        Case(
            name=each.name,
            expected=str(each.expected),
            actual=str(each.actual),
            ok=each.ok,
            by_chance="" if each.ok or not run.by_chance else f"expected {under(run.chance)}",
        )
        for each in run.expectations
    ]
    # A rehearsal that states nothing has been made, and that is all that can be said of it.
    return Suite(
        name=run.scenario,
        about=scenario.teaches if scenario else "",
        cases=tuple(cases),
        story=tuple(f"{seconds_in_words(at):>15}  {text}" for at, text in timeline(run)),
        properties=(
            ("seed", str(run.seed)),
            ("outcome", run.outcome),
            ("reason", run.reason or ""),
            ("ended_at_seconds", f"{run.ended_at:g}"),
            *zip(FIGURES, map(str, run.exposure.figures), strict=True),
            ("chance", f"{run.chance:g}"),
            ("by_chance", str(run.by_chance).lower()),
        ),
    )


def _time(seconds: object) -> str:
    assert isinstance(seconds, int | float)
    return seconds_in_words(round(seconds, 0 if seconds >= 60 else 1))
