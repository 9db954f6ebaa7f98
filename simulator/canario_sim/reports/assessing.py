"""What `canario assess` has to say, as a report."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from canario_sim.lab.assessment import Assessment, json_text
from canario_sim.lab.summary import Characteristics, Difference, Estimate, Quantile
from canario_sim.reports.show_assessment import in_words
from canario_sim.world.rehearsal import COUNTED

from .report import Cell, Column, Fact, Panel, Picture, Report, Section, Table
from .tried import conditions_section

__all__ = ["assessing"]

# Conditions whose distribution of time to rollback is drawn: more lines are told apart by nobody.
_DRAWN = 6


def assessing(assessed: Assessment) -> Report:
    """The report of an assessment."""
    policies = tuple(policy.name for policy in assessed.policies)
    healthy = [each for each in assessed.characteristics if each.kind == "healthy"]
    bad = [each for each in assessed.characteristics if each.kind == "regression"]
    sections = []
    if healthy:
        sections.append(_healthy(healthy, policies, assessed.confidence))
    if bad:
        sections += [
            _caught(bad, policies, assessed.confidence),
            _soon(bad, policies),
            _cost(bad, policies, assessed.confidence),
        ]
    if len(policies) > 1:
        sections.append(_compared(assessed, healthy, bad))
    return Report(
        command="assess",
        title=f"How often {_and(policies)} err{'s' if len(policies) == 1 else ''}",
        summary=tuple(in_words(assessed)),
        ok=None,
        facts=tuple(_facts(assessed, healthy, bad)),
        sections=(
            *sections,
            conditions_section(
                assessed.conditions,
                f"Experiment {assessed.experiment}, seed {assessed.seed}. The same command gives "
                "the same numbers.",
            ),
        ),
        document=json_text(assessed),
    )


def _facts(
    assessed: Assessment, healthy: Sequence[Characteristics], bad: Sequence[Characteristics]
) -> Iterator[Fact]:
    replications = max((each.replications for each in assessed.characteristics), default=0)
    yield Fact(label="policies", value=str(len(assessed.policies)))
    yield Fact(label="conditions", value=str(len(assessed.conditions)))
    yield Fact(label="rollouts of each, at most", value=f"{replications:,}")
    if len(assessed.policies) == 1:
        if healthy:
            worst = max(each.rolled_back.value for each in healthy)
            yield Fact(label="false rollback, at worst", value=f"{100 * worst:.3g} %")
        if bad:
            least = min(each.rolled_back.value for each in bad)
            yield Fact(label="detection, at worst", value=f"{100 * least:.3g} %")


def _healthy(
    cells: Sequence[Characteristics], policies: tuple[str, ...], confidence: float
) -> Section:
    table = _odds("false-rollback", "False rollbacks", cells, "rolled back (%)")
    title = "How often a good release is rolled back"
    return Section(
        name="healthy",
        title="Releases as good as what they replace",
        pictures=(
            _picture(
                table,
                title,
                f"Percent of the rollouts, with intervals of {100 * confidence:g} %. "
                "The less, the better.",
                lambda charts: charts.odds(table, policies, title, "rolled back (% of rollouts)"),
            ),
        ),
        tables=(_long("healthy-odds", "All about good releases", cells),),
    )


def _caught(
    cells: Sequence[Characteristics], policies: tuple[str, ...], confidence: float
) -> Section:
    table = _odds("detection", "Detection", cells, "rolled back (%)")
    title = "How often a bad release is rolled back"
    return Section(
        name="regressions",
        title="Releases that are worse: are they caught?",
        pictures=(
            _picture(
                table,
                title,
                f"Percent of the rollouts, with intervals of {100 * confidence:g} %. "
                "The more, the better.",
                lambda charts: charts.odds(table, policies, title, "rolled back (% of rollouts)"),
            ),
        ),
        tables=(_long("regression-odds", "All about bad releases", cells),),
    )


def _soon(cells: Sequence[Characteristics], policies: tuple[str, ...]) -> Section:
    """Distribution of the time to rollback: as ranges for all, as curves for some."""
    ranges = _ranges("time-to-rollback", "Time to rollback", cells, "seconds_to_rollback", "(s)")
    conditions = list(dict.fromkeys(each.condition for each in cells if each.rolled_back_by))
    step = max(1, -(-len(conditions) // _DRAWN))
    drawn = conditions[::step][:_DRAWN]
    points = [point for each in cells for point in each.rolled_back_by]
    longest = max((seconds for seconds, _ in points), default=0.0)
    curves = Table(
        name="rolled-back-by",
        title="Rolled back by then",
        columns=(
            Column("condition", "condition"),
            Column("policy", "policy"),
            Column("seconds", "seconds since the start", 6),
            Column("percent", "rolled back (% of rollouts)"),
        ),
        rows=tuple(
            (each.condition, each.policy, seconds, 100 * share)
            for each in cells
            if each.condition in drawn
            # From nothing at the start to what it stays at.
            for seconds, share in ((0.0, 0.0), *each.rolled_back_by, (longest, _last(each)))
        ),
    )
    which = (
        f" Drawn for {len(drawn)} of the {len(conditions)} conditions."
        if len(drawn) < len(conditions)
        else ""
    )
    pictures = []
    if curves.rows:
        pictures.append(
            _picture(
                curves,
                "Rolled back by then",
                "Percent of all rollouts that had been rolled back so long after their start."
                + which,
                lambda charts: charts.curves(curves, drawn, policies),
            )
        )
    if ranges.rows:
        pictures.append(
            _picture(
                ranges,
                "Time to rollback",
                "Of the rollouts that were rolled back: half of them by the dot, 90 % by the end "
                "of the thick line, 99 % by the end of the thin one.",
                lambda charts: charts.ranges(
                    ranges, policies, "Time to rollback", "seconds from the start", log=True
                ),
            )
        )
    return Section(name="time", title="How soon are they rolled back?", pictures=tuple(pictures))


def _cost(
    cells: Sequence[Characteristics], policies: tuple[str, ...], confidence: float
) -> Section:
    table = _ranges("exposure", "Exposure", cells, "bad_requests", "")
    return Section(
        name="exposure",
        title="What do they cost?",
        pictures=(
            _picture(
                table,
                "Bad requests that the canary served",
                "In half of the rollouts up to the dot, in 90 % up to the end of the thick line, "
                f"in 99 % up to the end of the thin one. {COUNTED}",
                lambda charts: charts.ranges(
                    table, policies, "Bad requests served", "bad requests in a rollout", log=True
                ),
            ),
        ),
        tables=(_costs(cells, confidence),),
    )


def _compared(
    assessed: Assessment, healthy: Sequence[Characteristics], bad: Sequence[Characteristics]
) -> Section:
    """The policies: on average, and each against the first one on the same requests."""
    policies = tuple(policy.name for policy in assessed.policies)
    table = Table(
        name="policies",
        title="Policies, on average over the conditions",
        columns=(
            Column("policy", "policy"),
            Column("false_rollback", "false rollback (%)"),
            Column("detection", "detection (%)"),
            Column("worst_false_rollback", "false rollback, worst condition (%)"),
            Column("worst_detection", "detection, worst condition (%)"),
            Column("bad_requests", "bad requests, median, mean over conditions", 4),
        ),
        rows=tuple(_averages(name, healthy, bad) for name in policies),
    )
    pictures = []
    if healthy and bad:
        pictures.append(
            _picture(
                table,
                "Policies compared",
                "Averages over the conditions. The best place is the upper left corner: every bad "
                "release rolled back, and no good one.",
                lambda charts: charts.policies(table),
            )
        )
    if assessed.differences:
        paired = _differences(assessed.differences)
        title = f"Rolled back more often than by {assessed.differences[0].against}"
        pictures.append(
            _picture(
                paired,
                title,
                "Difference in percentage points on the very same requests, with intervals of "
                f"{100 * assessed.confidence:g} %.",
                lambda charts: charts.differences(paired, policies, title),
            )
        )
    return Section(
        name="policies",
        title="Policies beside each other",
        tables=(table,),
        pictures=tuple(pictures),
    )


def _picture(
    table: Table, title: str, caption: str, draw: Callable[[Any], tuple[Panel, ...]]
) -> Picture:
    def drawn() -> tuple[Panel, ...]:
        from . import odds_charts

        return draw(odds_charts)

    return Picture(name=table.name, title=title, caption=caption, tables=(table,), draw=drawn)


def _odds(name: str, title: str, cells: Sequence[Characteristics], what: str) -> Table:
    return Table(
        name=name,
        title=title,
        columns=(
            Column("condition", "condition"),
            Column("policy", "policy"),
            Column("replications", "rollouts", 9),
            Column("percent", what),
            Column("low", "from (%)"),
            Column("high", "to (%)"),
        ),
        rows=tuple(
            (each.condition, each.policy, each.replications, *_percents(each.rolled_back))
            for each in cells
        ),
    )


def _ranges(
    name: str, title: str, cells: Sequence[Characteristics], field: str, unit: str
) -> Table:
    """Quantiles of those that have any."""
    rows: list[tuple[Cell, ...]] = []
    for each in cells:
        quantiles: tuple[Quantile, ...] = getattr(each, field)
        if quantiles:
            rows.append((each.condition, each.policy, *(q.value for q in quantiles)))
    ends = f" {unit}" if unit else ""
    return Table(
        name=name,
        title=title,
        columns=(
            Column("condition", "condition"),
            Column("policy", "policy"),
            *(Column(f"p{q}", f"{q} %{ends}", 5) for q in (50, 90, 99)),
        ),
        rows=tuple(rows),
    )


def _long(name: str, title: str, cells: Sequence[Characteristics]) -> Table:
    return Table(
        name=name,
        title=title,
        columns=(
            Column("condition", "condition"),
            Column("policy", "policy"),
            Column("replications", "rollouts", 9),
            Column("rolled_back", "rolled back (%)"),
            Column("promoted", "promoted (%)"),
            Column("undecided", "neither (%)"),
            Column("reasons", "reasons"),
            Column("rollback_p50", "to rollback, median (s)", 5),
            Column("promotion_p50", "to full rollout, median (s)", 6),
        ),
        rows=tuple(
            (
                each.condition,
                each.policy,
                each.replications,
                100 * each.rolled_back.value,
                100 * each.promoted.value,
                100 * each.undecided.value,
                ", ".join(f"{count} {reason}" for reason, count in each.reasons.items()),
                _median(each.seconds_to_rollback),
                _median(each.seconds_to_promotion),
            )
            for each in cells
        ),
        folded=len(cells) > 12,
    )


def _costs(cells: Sequence[Characteristics], confidence: float) -> Table:
    columns = [Column("condition", "condition"), Column("policy", "policy")]
    for field, words in (
        ("bad_requests", "bad requests"),
        ("users", "users reached"),
        ("budget_burnt", "% of a month's error budget"),
    ):
        columns += [
            Column(f"{field}_p50", f"{words}, median"),
            Column(f"{field}_p50_low", f"from ({100 * confidence:g} %)"),
            Column(f"{field}_p50_high", "to"),
            Column(f"{field}_p90", f"{words}, 90 %"),
            Column(f"{field}_p99", f"{words}, 99 %"),
        ]
    return Table(
        name="costs",
        title="Bad requests, users and error budget",
        columns=tuple(columns),
        rows=tuple(
            (
                each.condition,
                each.policy,
                *_spread(each.bad_requests),
                *_spread(each.users),
                *_spread(each.budget_burnt),
            )
            for each in cells
        ),
        folded=True,
    )


def _last(each: Characteristics) -> float:
    return each.rolled_back_by[-1][1] if each.rolled_back_by else 0.0


def _spread(quantiles: Sequence[Quantile]) -> tuple[Cell, ...]:
    if not quantiles:
        return (None,) * 5
    median, ninety, most = quantiles
    return (median.value, median.low, median.high, ninety.value, most.value)


def _differences(differences: Sequence[Difference]) -> Table:
    return Table(
        name="differences",
        title="Differences on the same requests",
        columns=(
            Column("condition", "condition"),
            Column("policy", "policy"),
            Column("against", "against"),
            Column("replications", "pairs", 9),
            Column("percent", "rolled back more often (percentage points)"),
            Column("low", "from"),
            Column("high", "to"),
            Column("bad_requests", "more bad requests, on average"),
        ),
        rows=tuple(
            (
                each.condition,
                each.policy,
                each.against,
                each.replications,
                *_percents(each.rolled_back),
                each.bad_requests.value if each.bad_requests else None,
            )
            for each in differences
        ),
    )


def _averages(
    name: str, healthy: Sequence[Characteristics], bad: Sequence[Characteristics]
) -> tuple[Cell, ...]:
    false = [100 * each.rolled_back.value for each in healthy if each.policy == name]
    caught = [100 * each.rolled_back.value for each in bad if each.policy == name]
    cost = [each.bad_requests[0].value for each in bad if each.policy == name and each.bad_requests]
    return (
        name,
        _mean(false),
        _mean(caught),
        max(false, default=None),
        min(caught, default=None),
        _mean(cost),
    )


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _median(quantiles: Sequence[Quantile]) -> float | None:
    return quantiles[0].value if quantiles else None


def _percents(estimate: Estimate) -> tuple[float, float, float]:
    return 100 * estimate.value, 100 * estimate.low, 100 * estimate.high


def _and(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    return f"{len(names)} policies"
