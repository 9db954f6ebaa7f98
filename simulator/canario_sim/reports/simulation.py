"""What `canario simulate` has to say, as a report and in a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from msgspec.structs import replace
from rich.console import RenderableType
from rich.rule import Rule
from rich.text import Text

from canario.control.words import seconds_in_words
from canario.printable import printable
from canario_sim.scenario.expect import Expectation, under
from canario_sim.scenario.scenario import Scenario
from canario_sim.world.carrier import Note
from canario_sim.world.feedback import in_words
from canario_sim.world.rehearsal import COUNTED, FIGURES, Run

from .columns import Field, brief, table
from .json_text import reports
from .outcomes import after, ending, figure_fields, outcome_tone, plain_outcome, reach
from .report import Case, Fact, Panel, Picture, Report, Section, Suite, Table, Tone
from .rollout_picture import Span, rollout
from .terminal import grid, moment_line, strip
from .timeline import moments, timeline

__all__ = ["closing", "heading", "simulation", "told"]

# Checks that are drawn of all rollouts of one report together, and of each at least.
_POINTS = 4000
_LEAST = 80

# Rollouts that get a section of their own; a table has all of them.
_SECTIONS = 20

# The line of an exposure that is no success.
_BAD_ONES = "of its requests: bad ones"

# Columns of a terminal's share over time.
_STRIP = 60

# Starts and ends of faults that a section's timeline has; the first ones of more.
_NOTES = 12
_FIRST_NOTES = 4

_REHEARSALS: Sequence[Field[Run]] = (
    Field("scenario", "scenario", lambda run: run.scenario, brief="scenario"),
    Field("outcome", "outcome", lambda run: run.outcome),
    brief("outcome", lambda run: _outcome(run), left=True),
    Field("reason", "reason", lambda run: run.reason),
    Field("ended_at", "after (s)", lambda run: run.ended_at, 6),
    brief("after", lambda run: after(run.ended_at), left=True),
    *figure_fields(lambda run: run.exposure),
    Field("as_expected", "as expected", lambda run: _as_expected(run)),
    brief("as expected", lambda run: _seen(run), left=True),
)
_OVERVIEW: Sequence[Field[Run]] = (
    Field("scenario", "scenario", lambda run: run.scenario),
    Field("outcome", "outcome", lambda run: plain_outcome(run.outcome)),
    Field("ended_at", "after (s)", lambda run: run.ended_at, 6),
    Field("bad_requests", "bad requests", lambda run: run.exposure.bad_requests, 12),
)
_EXPECTED: Sequence[Field[tuple[Run, Expectation]]] = (
    Field("name", "what", lambda each: each[1].name),
    Field("expected", "expected", lambda each: each[1].expected, 12),
    Field("actual", "actual", lambda each: each[1].actual, 12),
    Field("ok", "as expected", lambda each: "yes" if each[1].ok else _as_expected(each[0])),
)
_JOURNAL: Sequence[Field[tuple[float, str]]] = (
    Field("at", "at (s)", lambda line: line[0], 7),
    Field("what", "what happened", lambda line: line[1]),
)
# What, a number, and of how many it is a part.
_EXPOSURE: Sequence[Field[tuple[str, int, int]]] = (
    Field("what", "what", lambda part: part[0]),
    Field("part", "number", lambda part: part[1], 12),
    Field("whole", "of", lambda part: part[2], 12),
    Field("percent", "percent", lambda part: 100 * part[1] / part[2] if part[2] else 0.0),
    Field("words", "in words", lambda part: f"{part[1]:,} of {part[2]:,}"),
)


def simulation(rehearsed: Sequence[tuple[Scenario | None, Run]]) -> Report:
    """The report of rehearsals, each with its scenario where there is one."""
    runs = [run for _, run in rehearsed]
    stated = [run for run in runs if run.expectations]
    several = len(runs) > 1
    chosen = _chosen(rehearsed)
    most = max(_LEAST, min(400, _POINTS // len(chosen)))
    sections = [_section(scenario, run, most, several=several) for scenario, run in chosen]
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
        tables=(
            (table("rehearsals", "All rehearsals", _REHEARSALS, runs, tone=_expected_tone),)
            if several
            else ()
        ),
        sections=tuple(sections),
        suites=tuple(_suite(scenario, run) for scenario, run in rehearsed),
        document=reports(runs),
    )


def heading(scenario: Scenario) -> Iterator[RenderableType]:
    """A scenario's name in a terminal, what it teaches, and how much there is to be rehearsed."""
    yield Rule(Text(printable(scenario.name), style="bold"), align="left")
    yield Text(_prose(scenario.teaches), style="italic")
    if scenario.weakness:
        yield Text(f"a weakness: {_prose(scenario.weakness)}", style="wait")
    number = float(f"{scenario.most_requests:.3g}")
    most = f"up to some {number:,.0f} requests in {seconds_in_words(scenario.horizon)}"
    yield Text(most, style="dim")
    yield Text()


def told(run: Run, *, verbose: bool = False, watched: bool = False) -> Iterator[RenderableType]:
    """A rehearsal in a terminal: its timeline, unless it has been watched, and whom it reached."""
    if not watched:
        lines = moments(run.events, _notes(run), whole=verbose, hint=" (-v)")
        yield from map(moment_line, lines)
    yield Text()
    if run.history:
        yield strip(run.history, _STRIP, title="share over time ")
    yield Text(f"the canary {run.exposure.words}", style="dim")
    for line in in_words(run.feedback) if run.feedback else ():
        yield Text(line, style="dim")
    for each in run.expectations:
        if not each.ok:
            chance = f", {under(run.chance)}" if run.by_chance else ""
            missed = Text(f"{_miss(run, each)}{chance}", style="wait" if run.by_chance else "bad")
            missed.stylize("" if run.by_chance else "bold")
            yield missed
    yield Text()


def closing(runs: Sequence[Run]) -> Iterator[RenderableType]:
    """The table of all rehearsals in a terminal."""
    yield grid(_REHEARSALS, runs)
    failed = sum(not run.ok for run in runs)
    chance = sum(run.by_chance for run in runs)
    good = sum(bool(run.expectations) and run.as_expected for run in runs)
    by_chance = f"{chance} by chance not, " if chance else ""
    yield Text()
    yield Text(f"{len(runs)} rehearsed, {good} as expected, {by_chance}{failed} not")


def _outcome(run: Run) -> Text:
    return Text(ending(run, raw=True), style=outcome_tone(run.outcome))


def _seen(run: Run) -> Text:
    if not run.expectations:
        return Text("nothing stated", style="dim")
    if run.by_chance:
        return Text("by chance not", style="wait")
    return Text("yes", style="good") if run.ok else Text("NO", style="bold red")


def _miss(run: Run, each: Expectation) -> str:
    by_chance = "by chance " if run.by_chance else ""
    return f"{by_chance}not as expected: {each.name} is {each.actual}, expected {each.expected}"


def _prose(text: str) -> str:
    """Sentences on one line, as files may have them on several."""
    return printable(" ".join(text.split()))


def _notes(run: Run) -> list[Note]:
    return [note for note in run.notes if note.at <= run.ended_at]


def _chosen(
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
    notes = _notes(run)
    # What comes again and again is counted where it is shaded.
    if len(notes) > _NOTES:
        left_out = len(notes) - _FIRST_NOTES
        more = f"… {left_out} more starts and ends of faults"
        notes = [*notes[:_FIRST_NOTES], replace(notes[_FIRST_NOTES], text=more)]
    tables = [_expected(run, prefix)] if run.expectations else []
    return Section(
        name=run.scenario,
        title=run.scenario,
        text=tuple(text),
        tone=_expected_tone(run, outcome_tone(run.outcome)),
        facts=_facts_of(run),
        tables=(*tables, _journal(run, prefix)),
        pictures=(
            rollout(run, faults, prefix=prefix, most=most),
            _exposure(run, prefix),
        ),
        timeline=moments(run.events, notes),
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
        Fact(label="outcome", value=ending(run), tone=outcome_tone(run.outcome)),
        Fact(label="after", value=after(run.ended_at)),
        *reach(run.exposure),
        *expected,
    )


def _as_expected(run: Run) -> str | None:
    if not run.expectations:
        return None
    return "by chance not" if run.by_chance else "yes" if run.ok else "no"


def _expected_tone(run: Run, good: Tone = "plain") -> Tone:
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
        yield (f"After {after(run.ended_at)}: {run.why}. The canary {run.exposure.words}.")
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
                seeds = f" {under(run.chance)}" if run.by_chance else ""
                yield f"{run.scenario} is {_miss(run, each)}{seeds}."


def _expected(run: Run, prefix: str) -> Table:
    return table(
        f"{prefix}expected",
        "Expected and actual",
        _EXPECTED,
        ((run, each) for each in run.expectations),
        tone=lambda each: "plain" if each[1].ok else _expected_tone(run),
    )


def _journal(run: Run, prefix: str) -> Table:
    lines = (line for line in timeline(run) if line[0] <= run.ended_at)
    title = "Faults and the whole journal"
    return table(f"{prefix}journal", title, _JOURNAL, lines, folded=True)


def _overview(runs: Sequence[Run]) -> Section:
    """How long each took and how it ended."""
    outcomes = table("overview", "Outcomes", _OVERVIEW, runs)

    def draw() -> tuple[Panel, ...]:
        from .run_charts import overview

        return (overview(runs, outcomes),)

    picture = Picture(
        name="overview",
        title="How long each rollout went on",
        caption="To its end or, where it waits, to the end of the rehearsal.",
        tables=(outcomes,),
        draw=draw,
    )
    return Section(name="overview", title="Overview", pictures=(picture,))


def _exposure(run: Run, prefix: str) -> Picture:
    """Whom the canary has reached, as parts of what there was."""
    reached, total = run.exposure, run.canary.requests + run.baseline.requests
    sent = reached.canary_requests + reached.in_flight
    parts = table(
        f"{prefix}exposure",
        "Exposure",
        _EXPOSURE,
        (
            ("requests that the canary served", reached.canary_requests, total),
            (_BAD_ONES, reached.bad_requests, reached.canary_requests),
            ("beside them: in flight at the end", reached.in_flight, sent),
            ("users that it reached", reached.users, reached.population),
        ),
    )

    def draw() -> tuple[Panel, ...]:
        from .run_charts import exposure

        return (exposure(parts, bad=_BAD_ONES),)

    return Picture(
        name=f"{prefix}exposure",
        title="Exposure",
        caption=f"Whom the canary had reached when the rehearsal ended. {COUNTED} A bad request "
        "failed, was slower than the plan's limit, or broke a contract.",
        tables=(parts,),
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
