"""What `canario tune` has to say, as a report."""

from __future__ import annotations

from collections.abc import Iterator

from canario.control.words import seconds_in_words
from canario_sim.reports.show_tuning import in_words, values_of
from canario_sim.tuning.plan_file import plan_text
from canario_sim.tuning.result import Check, GoalName, Point, Scores, Tuning, json_text

from .report import Case, Cell, Column, Fact, Panel, Picture, Report, Section, Suite, Table
from .tried import conditions_section

__all__ = ["tuned"]

_GOALS: dict[GoalName, str] = {
    "false_rollback": "false rollback",
    "detect": "detection",
    "within": "rolled back in time",
    "at_most": "few enough bad requests",
}
# The same beside a chart, where there is room for a word.
_SHORT: dict[GoalName, str] = {
    "false_rollback": "false",
    "detect": "caught",
    "within": "in time",
    "at_most": "few hurt",
}
RECOMMENDED, PRESENT, OTHER = "recommended", "present", "others on the front"


def tuned(tuning: Tuning) -> Report:
    """The report of a search for the best plan."""
    return Report(
        command="tune",
        title="The recommended plan",
        summary=(*_asked(tuning), *in_words(tuning)),
        ok=tuning.ok,
        verdicts=("Every goal is met", "Not every goal is met"),
        facts=tuple(_facts(tuning)),
        sections=tuple(_sections(tuning)),
        suites=(_suite(tuning),) if tuning.checks else (),
        document=json_text(tuning),
    )


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
        value=f"{_percent(before.false_rollback.value)} → {_percent(now.false_rollback.value)}",
    )
    yield Fact(
        label="detection, before → now",
        value=f"{_percent(before.detect.value)} → {_percent(now.detect.value)}",
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
        tables=(_reasons(tuning),),
        code=plan_text(tuning),
    )
    if tuning.checks:
        yield _held_out(tuning)
    if tuning.impossible:
        yield Section(
            name="impossible",
            title="What cannot be had",
            text=tuple(f"{each.condition}: {each.why}" for each in tuning.impossible),
            tables=(_impossible(tuning),),
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


def _reasons(tuning: Tuning) -> Table:
    return Table(
        name="reasons",
        title="Why each value is what it is",
        columns=(Column("key", "key"), Column("value", "value"), Column("why", "why")),
        rows=tuple((each.key.rpartition(".")[2], each.value, each.why) for each in tuning.reasons),
    )


def _held_out(tuning: Tuning) -> Section:
    table = Table(
        name="checks",
        title="Goals on seeds that the search never saw",
        columns=(
            Column("label", "goal and condition"),
            Column("goal", "goal"),
            Column("condition", "condition"),
            Column("policy", "plan"),
            Column("wanted", "asked for (%)"),
            Column("percent", "found (%)"),
            Column("low", "from (%)"),
            Column("high", "to (%)"),
            Column("met", "met"),
        ),
        rows=tuple(
            (
                f"{_SHORT[each.goal]}, {each.condition}",
                each.goal,
                each.condition,
                each.policy,
                100 * each.wanted,
                100 * each.share.value,
                100 * each.share.low,
                100 * each.share.high,
                each.met,
            )
            for each in tuning.checks
        ),
        tones=tuple("plain" if each.met else "bad" for each in tuning.checks),
    )

    def draw() -> tuple[Panel, ...]:
        from .tuning_charts import checks

        return (checks(table),)

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
                tables=(table,),
                draw=draw,
            ),
        ),
    )


def _impossible(tuning: Tuning) -> Table:
    return Table(
        name="impossible",
        title="What no plan that was tried can do",
        columns=(
            Column("condition", "condition"),
            Column("goal", "goal"),
            Column("best", "best that was found (%)"),
            Column("requests", "requests that it takes", 12),
        ),
        rows=tuple(
            (each.condition, _GOALS[each.goal], 100 * each.best, each.requests)
            for each in tuning.impossible
        ),
    )


def _heat(tuning: Tuning) -> Section:
    heat = tuning.heat
    marks = {heat.recommended: RECOMMENDED, heat.present: PRESENT}
    table = Table(
        name="heat",
        title="Shares for each pair of thresholds",
        columns=(
            Column("max_error_rate", "max_error_rate (%)"),
            Column("max_p95_latency_ms", "max_p95_latency_ms"),
            Column("false_rollback", "false rollback (%)"),
            Column("detect", "detection (%)"),
            Column("mark", "which"),
        ),
        rows=tuple(
            (
                rate,
                latency,
                100 * heat.false_rollback[i][j],
                100 * heat.detect[i][j],
                marks.get((i, j)),
            )
            for i, rate in enumerate(heat.max_error_rate)
            for j, latency in enumerate(heat.max_p95_latency_ms)
        ),
    )

    def draw() -> tuple[Panel, ...]:
        from .tuning_charts import heat_map

        return (heat_map(table, "false_rollback"), heat_map(table, "detect"))

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
                tables=(table,),
                draw=draw,
            ),
        ),
    )


def _front(tuning: Tuning) -> Section:
    points = [*((OTHER, each) for each in tuning.front if each != tuning.recommended)]
    points += [(PRESENT, tuning.present), (RECOMMENDED, tuning.recommended)]
    table = Table(
        name="front",
        title="The Pareto front",
        columns=(
            Column("which", "which"),
            Column("false_rollback", "false rollback (%)"),
            Column("detect", "detection (%)"),
            Column("exposure", "bad requests of a bad release"),
            Column("duration", "to full rollout (s)", 6),
            Column("meets_goals", "meets all goals"),
            Column("limits", "limits"),
            Column("rule", "window or alpha"),
            Column("stages", "stages"),
            Column("interval", "checks every"),
        ),
        rows=tuple(_point(which, each) for which, each in points),
    )

    def draw() -> tuple[Panel, ...]:
        from .tuning_charts import front

        return (front(table),)

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
                tables=(table,),
                draw=draw,
            ),
        ),
    )


def _point(which: str, point: Point) -> tuple[Cell, ...]:
    scores: Scores = point.scores
    limits, rule, stages, interval = values_of(point.deployment)
    return (
        which,
        100 * scores.false_rollback.value,
        100 * scores.detect.value,
        scores.exposure,
        scores.duration_seconds,
        point.meets_goals,
        limits,
        rule,
        stages,
        interval,
    )


def _suite(tuning: Tuning) -> Suite:
    own = [check for check in tuning.checks if check.policy == RECOMMENDED]
    return Suite(
        name="recommended plan",
        about="the goals on seeds that the search never saw",
        cases=tuple(
            Case(
                name=f"{_GOALS[check.goal]}, {check.condition}",
                expected=f"at {'most' if check.goal == 'false_rollback' else 'least'} "
                f"{_percent(check.wanted)}",
                actual=_found(check),
                ok=check.met,
            )
            for check in own
        ),
        properties=(("experiment", tuning.experiment), ("seed", str(tuning.seed))),
    )


def _found(check: Check) -> str:
    share = check.share
    return f"{_percent(share.value)} [{100 * share.low:.3g}–{100 * share.high:.3g}]"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _time(seconds: float) -> str:
    return seconds_in_words(round(seconds))
