"""What `canario tune` has to say, as a report and in a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from canario.control.words import seconds_in_words
from canario.plan import Sequential
from canario_sim.tuning.plan_file import plan_text
from canario_sim.tuning.result import (
    Check,
    GoalName,
    HeatMap,
    Impossible,
    Point,
    Reason,
    Tuning,
    json_text,
)

from .columns import Field, brief, table
from .outcomes import interval, percent
from .report import Case, Fact, Panel, Picture, Report, Section, Suite
from .terminal import Paragraph, grid
from .tried import conditions_section

__all__ = ["in_brief", "told", "tuned"]


class _Words(NamedTuple):
    """What a goal is called: on a page, in a terminal, and beside a chart, where room is short."""

    page: str
    terminal: str
    chart: str


_GOALS: dict[GoalName, _Words] = {
    "false_rollback": _Words("false rollback", "false rollback", "false"),
    "detect": _Words("detection", "detected", "caught"),
    "within": _Words("rolled back in time", "in time", "in time"),
    "at_most": _Words("few enough bad requests", "few hurt", "few hurt"),
}
RECOMMENDED, PRESENT, OTHER = "recommended", "present", "others on the front"

# Points of the front that a terminal shows; all of them are in the other formats.
_POINTS = 12

# Which it is, and the point.
_Marked = tuple[str, Point]

_FRONT: Sequence[Field[_Marked]] = (
    Field("which", "which", lambda each: each[0]),
    brief("", lambda each: Text("" if each[0] == OTHER else each[0], style="bold"), left=True),
    Field(
        "false_rollback",
        "false rollback (%)",
        lambda each: 100 * each[1].scores.false_rollback.value,
    ),
    brief("false rollback", lambda each: interval(each[1].scores.false_rollback)),
    Field("detect", "detection (%)", lambda each: 100 * each[1].scores.detect.value),
    Field("exposure", "bad requests of a bad release", lambda each: each[1].scores.exposure),
    brief("bad requests", lambda each: f"{each[1].scores.exposure:,.1f}"),
    Field("duration", "to full rollout (s)", lambda each: each[1].scores.duration_seconds, 6),
    brief("duration", lambda each: _time(each[1].scores.duration_seconds)),
    Field("meets_goals", "meets all goals", lambda each: each[1].meets_goals),
    Field("limits", "limits", lambda each: _limits(each[1]), brief="limits"),
    Field("rule", "window or alpha", lambda each: _rule(each[1]), brief="window or alpha"),
    Field("stages", "stages", lambda each: _stages(each[1]), brief="stages"),
    Field("interval", "checks every", lambda each: _checks_every(each[1]), brief="checks every"),
)
_REASONS: Sequence[Field[Reason]] = (
    Field("key", "key", lambda each: each.key.rpartition(".")[2]),
    Field("value", "value", lambda each: each.value),
    Field("why", "why", lambda each: each.why),
)
_CHECKS: Sequence[Field[Check]] = (
    Field(
        "label",
        "goal and condition",
        lambda each: f"{_GOALS[each.goal].chart}, {each.condition}",
    ),
    Field("goal", "goal", lambda each: each.goal),
    Field("condition", "condition", lambda each: each.condition),
    Field("policy", "plan", lambda each: each.policy),
    Field("wanted", "asked for (%)", lambda each: 100 * each.wanted),
    Field("percent", "found (%)", lambda each: 100 * each.share.value),
    Field("low", "from (%)", lambda each: 100 * each.share.low),
    Field("high", "to (%)", lambda each: 100 * each.share.high),
    Field("met", "met", lambda each: each.met),
)
# A terminal has the check of the present plan beside that of the recommended one.
_BESIDE: Sequence[Field[tuple[Check, Check | None]]] = (
    brief("condition", lambda pair: pair[0].condition, left=True),
    brief("goal", lambda pair: _GOALS[pair[0].goal].terminal, left=True),
    brief(
        "asked",
        lambda pair: (
            f"{'≤' if pair[0].goal == 'false_rollback' else '≥'} {percent(pair[0].wanted)}"
        ),
    ),
    brief("recommended", lambda pair: interval(pair[0].share)),
    brief("", lambda pair: _met(pair[0]), left=True),
    brief("present", lambda pair: interval(pair[1].share) if pair[1] else ""),
    brief("", lambda pair: _met(pair[1]) if pair[1] else "", left=True),
)
_IMPOSSIBLE: Sequence[Field[Impossible]] = (
    Field("condition", "condition", lambda each: each.condition),
    Field("goal", "goal", lambda each: _GOALS[each.goal].page),
    Field("best", "best that was found (%)", lambda each: 100 * each.best),
    Field("requests", "requests that it takes", lambda each: each.requests, 12),
)


def tuned(tuning: Tuning) -> Report:
    """The report of a search for the best plan."""
    return Report(
        command="tune",
        title="The recommended plan",
        summary=(*_asked(tuning), *_in_words(tuning)),
        ok=tuning.ok,
        verdicts=("Every goal is met", "Not every goal is met"),
        facts=tuple(_facts(tuning)),
        sections=tuple(_sections(tuning)),
        suites=(_suite(tuning),) if tuning.checks else (),
        document=json_text(tuning),
    )


def told(tuning: Tuning) -> Iterator[RenderableType]:
    """A tuning in a terminal: the plan, what else there is, how it does, what cannot be had."""
    yield Text("The Pareto front: nothing is better in all three", style="bold")
    yield _some_of_the_front(tuning)
    yield Text()
    yield Text("The recommended plan", style="bold")
    for each in tuning.reasons:
        yield Text.assemble(f"  {each.key.rpartition('.')[2]} = ", (each.value, "bold"))
        yield Paragraph(each.why, "dim")
    yield Text()
    if tuning.checks:
        seeds = f"On {tuning.held_out:,} replications of each condition that the search never saw"
        yield Text(seeds, style="bold")
        yield grid(_BESIDE, _pairs(tuning))
        yield Text()
    if tuning.impossible:
        yield Text("What cannot be had", style="bold")
        for none in tuning.impossible:
            yield Paragraph(none.why, first=2)
        yield Text()
    yield from map(Text, _in_words(tuning))
    repeated = f", {tuning.repeated:,} of them because some had to wait for more requests"
    yield Text(
        f"In brackets: {100 * tuning.confidence:g} % confidence. Bad requests failed, broke a "
        f"contract or took longer than {tuning.slow_above_ms:g} ms. {tuning.candidates:,} "
        f"candidates from {tuning.rehearsals:,} rehearsals{repeated if tuning.repeated else ''}.",
        style="dim",
    )


def _some_of_the_front(tuning: Tuning) -> Grid:
    """Evenly from one end to the other, with the recommended plan and the present one."""
    front: Sequence[Point] = tuning.front
    if len(front) > _POINTS:
        step = (len(front) - 1) / (_POINTS - 1)
        front = [front[round(number * step)] for number in range(_POINTS)]
    marked: list[_Marked] = [(OTHER, point) for point in front]
    for mark, point in ((RECOMMENDED, tuning.recommended), (PRESENT, tuning.present)):
        marked = [each for each in marked if each[1] != point]
        marked.append((mark, point))
    marked.sort(key=lambda each: (each[1].scores.false_rollback.value, each[1].scores.exposure))
    return grid(_FRONT, marked)


def _pairs(tuning: Tuning) -> Iterator[tuple[Check, Check | None]]:
    present = {
        (check.goal, check.condition): check
        for check in reversed(tuning.checks)
        if check.policy == PRESENT
    }
    for check in tuning.checks:
        if check.policy == RECOMMENDED:
            yield check, present.get((check.goal, check.condition))


def _met(check: Check) -> Text:
    style = "good" if check.shown else "wait" if check.met else "bad"
    return Text("met" if check.met else "missed", style=style)


def _limits(point: Point) -> str:
    limits = point.deployment.rollback_thresholds
    return (
        f"{limits.max_error_rate:g} %, {limits.max_p95_latency_ms:g} ms, "
        f"{limits.min_samples} samples"
    )


def _rule(point: Point) -> str:
    judge = point.deployment.judge
    if isinstance(judge, Sequential):
        return f"alpha {judge.alpha:g}"
    return f"{point.deployment.rollback_thresholds.metric_window_seconds:g} s"


def _stages(point: Point) -> str:
    return ", ".join(
        f"{stage.percentage:g} % {stage.hold_seconds:g} s"
        for stage in point.deployment.canary_stages
    )


def _checks_every(point: Point) -> str:
    return f"{point.deployment.rollback_thresholds.check_interval_seconds:g} s"


def in_brief(best: Point) -> str:
    """The best plan by now on a line: its thresholds, and where it does worst."""
    limits, scores = best.deployment.rollback_thresholds, best.scores
    sequential = isinstance(best.deployment.judge, Sequential)
    return (
        f"the best plan by now allows {limits.max_error_rate:g} % of errors and a p95 of "
        f"{limits.max_p95_latency_ms:g} ms in {limits.metric_window_seconds:g} s, judged by "
        f"{'evidence' if sequential else 'thresholds'}; where it does worst it rolls back "
        f"{interval(scores.false_rollback)} of good releases and {interval(scores.detect)} of bad "
        "ones"
    )


def _in_words(tuning: Tuning) -> Iterator[str]:
    own = [check for check in tuning.checks if check.policy == "recommended"]
    missed = [check for check in own if not check.met]
    if not tuning.recommended.meets_goals:
        yield "No plan that was tried meets every goal; the recommended one comes closest."
    for check in missed:
        yield (
            f"{_GOALS[check.goal].terminal} is missed under {check.condition}: "
            f"{percent(check.share.value)} instead of {percent(check.wanted)}, "
            f"{100 * check.short_by:.3g} points short."
        )
    if own and not missed:
        open_ = sum(not check.shown for check in own)
        yield "The recommended plan meets every goal on seeds that the search never saw" + (
            f"; of {open_} of {len(own)} shares the interval goes beyond what is asked, which "
            "more --held-out replications would narrow."
            if open_
            else ", with all of every interval."
        )
    before, now = tuning.present.scores, tuning.recommended.scores
    yield (
        f"Against the present plan: false rollbacks {percent(now.false_rollback.value)} instead "
        f"of {percent(before.false_rollback.value)}, {now.exposure:,.1f} bad requests of a bad "
        f"release instead of {before.exposure:,.1f}, "
        f"{_time(now.duration_seconds)} to full rollout instead of "
        f"{_time(before.duration_seconds)}."
    )
    if not tuning.complete:
        yield "Stopped early: the search is not complete."


def _asked(tuning: Tuning) -> Iterator[str]:
    goals = tuning.goals
    asked = [
        f"at most {100 * goals.false_rollback:g} % of good releases are rolled back",
        f"at least {100 * goals.detect:g} % of bad ones are",
    ]
    if goals.within_seconds is not None:
        asked.append(f"within {seconds_in_words(goals.within_seconds)}")
    if goals.at_most is not None:
        asked.append(f"with at most {goals.at_most:,} bad requests")
    yield f"Asked for: {', '.join(asked)}."


def _facts(tuning: Tuning) -> Iterator[Fact]:
    now, before = tuning.recommended.scores, tuning.present.scores
    yield Fact(
        label="false rollback, before → now",
        value=f"{_short(before.false_rollback.value)} → {_short(now.false_rollback.value)}",
    )
    yield Fact(
        label="detection, before → now",
        value=f"{_short(before.detect.value)} → {_short(now.detect.value)}",
    )
    yield Fact(
        label="bad requests of a bad release",
        value=f"{before.exposure:,.3g} → {now.exposure:,.3g}",
    )
    yield Fact(
        label="to full rollout",
        value=f"{_time(before.duration_seconds)} → {_time(now.duration_seconds)}",
    )
    yield Fact(label="plans tried", value=f"{tuning.candidates:,}")


def _sections(tuning: Tuning) -> Iterator[Section]:
    yield Section(
        name="plan",
        title="The plan, value by value",
        tables=(table("reasons", "Why each value is what it is", _REASONS, tuning.reasons),),
        code=plan_text(tuning),
    )
    if tuning.checks:
        yield _held_out(tuning)
    if tuning.impossible:
        yield Section(
            name="impossible",
            title="What cannot be had",
            text=tuple(f"{each.condition}: {each.why}" for each in tuning.impossible),
            tables=(
                table(
                    "impossible",
                    "What no plan that was tried can do",
                    _IMPOSSIBLE,
                    tuning.impossible,
                ),
            ),
        )
    yield _heat(tuning)
    yield _front(tuning)
    yield conditions_section(
        tuning.conditions,
        f"{tuning.candidates:,} plans under {len(tuning.conditions)} conditions, "
        f"{tuning.replications:,} rollouts of each, from {tuning.rehearsals:,} rehearsals. "
        f"A bad request failed, broke a contract or took longer than "
        f"{tuning.slow_above_ms:g} ms. Experiment {tuning.experiment}, seed {tuning.seed}.",
    )


def _held_out(tuning: Tuning) -> Section:
    found = table(
        "checks",
        "Goals on seeds that the search never saw",
        _CHECKS,
        tuning.checks,
        tone=lambda each: "plain" if each.met else "bad",
    )

    def draw() -> tuple[Panel, ...]:
        from .tuning_charts import checks

        return (checks(found),)

    return Section(
        name="held-out",
        title="How it does on seeds that the search never saw",
        pictures=(
            Picture(
                name="checks",
                title="Goals and what was found",
                caption=f"{tuning.held_out:,} rollouts under each condition, with intervals of "
                f"{100 * tuning.confidence:g} %. The upright line is what is asked for: false "
                "rollbacks to the left of it, all else to the right.",
                tables=(found,),
                draw=draw,
            ),
        ),
    )


def _heat(tuning: Tuning) -> Section:
    heat = tuning.heat
    size = len(heat.max_error_rate), len(heat.max_p95_latency_ms)
    cells = table(
        "heat",
        "Shares for each pair of thresholds",
        _heat_fields(heat),
        ((i, j) for i in range(size[0]) for j in range(size[1])),
    )

    def draw() -> tuple[Panel, ...]:
        from .tuning_charts import heat_map

        return (heat_map(cells, "false_rollback"), heat_map(cells, "detect"))

    return Section(
        name="heat",
        title="Thresholds: what a little more or less would do",
        pictures=(
            Picture(
                name="heat",
                title="False rollbacks and detection by threshold",
                caption="All else as in the recommended plan, which has the solid frame; the "
                "dashed one is the present plan's pair. Under the condition that is worst for "
                f"it, of {heat.replications:,} rollouts. The darker or redder, the worse.",
                tables=(cells,),
                draw=draw,
            ),
        ),
    )


def _heat_fields(heat: HeatMap) -> Sequence[Field[tuple[int, int]]]:
    """Of a pair of thresholds, by their places."""
    marks = {heat.recommended: RECOMMENDED, heat.present: PRESENT}
    return (
        Field("max_error_rate", "max_error_rate (%)", lambda at: heat.max_error_rate[at[0]]),
        Field(
            "max_p95_latency_ms", "max_p95_latency_ms", lambda at: heat.max_p95_latency_ms[at[1]]
        ),
        Field(
            "false_rollback",
            "false rollback (%)",
            lambda at: 100 * heat.false_rollback[at[0]][at[1]],
        ),
        Field("detect", "detection (%)", lambda at: 100 * heat.detect[at[0]][at[1]]),
        Field("mark", "which", lambda at: marks.get(at)),
    )


def _front(tuning: Tuning) -> Section:
    marked: list[_Marked] = [(OTHER, each) for each in tuning.front if each != tuning.recommended]
    marked += [(PRESENT, tuning.present), (RECOMMENDED, tuning.recommended)]
    points = table("front", "The Pareto front", _FRONT, marked)

    def draw() -> tuple[Panel, ...]:
        from .tuning_charts import front

        return (front(points),)

    return Section(
        name="front",
        title="What can be had for what",
        pictures=(
            Picture(
                name="front",
                title="The Pareto front",
                caption="No plan that was tried is better than one of these in false rollbacks, "
                "in bad requests or in time without being worse in another. The larger a circle, "
                "the longer a rollout takes.",
                tables=(points,),
                draw=draw,
            ),
        ),
    )


def _suite(tuning: Tuning) -> Suite:
    own = [check for check in tuning.checks if check.policy == RECOMMENDED]
    return Suite(
        name="recommended plan",
        about="the goals on seeds that the search never saw",
        cases=tuple(
            Case(
                name=f"{_GOALS[check.goal].page}, {check.condition}",
                expected=f"at {'most' if check.goal == 'false_rollback' else 'least'} "
                f"{_short(check.wanted)}",
                actual=_found(check),
                ok=check.met,
            )
            for check in own
        ),
        properties=(("experiment", tuning.experiment), ("seed", str(tuning.seed))),
    )


def _found(check: Check) -> str:
    share = check.share
    return f"{_short(share.value)} [{100 * share.low:.3g}–{100 * share.high:.3g}]"


def _short(share: float) -> str:
    return f"{100 * share:.3g} %"


def _time(seconds: float) -> str:
    return seconds_in_words(round(seconds))
