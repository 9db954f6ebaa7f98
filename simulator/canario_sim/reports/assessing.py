"""What `canario assess` has to say, as a report and in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from canario_sim.lab.assessment import Assessment, json_text
from canario_sim.lab.experiment import Kind
from canario_sim.lab.summary import Characteristics, Difference, Estimate, Quantile
from canario_sim.world.rehearsal import COUNTED

from .columns import Field, brief, table
from .outcomes import after, interval, percent, reasons_in_words
from .report import Fact, Panel, Picture, Report, Section, Table, Tone
from .terminal import grid
from .tried import OPEN, conditions_section

__all__ = ["assessing", "told", "verdicts"]

# Conditions whose distribution of time to rollback is drawn: more lines are told apart by nobody.
_DRAWN = 6

_Fields = Sequence[Field[Characteristics]]


def _names(*, several: bool = True) -> tuple[Field[Any], ...]:
    """Of what a row is about; a terminal leaves out the policy where there is one."""
    return (
        Field("condition", "condition", attrgetter("condition"), brief="condition"),
        Field("policy", "policy", attrgetter("policy"), brief="policy" if several else None),
    )


_REPLICATIONS: Field[Characteristics] = Field(
    "replications", "rollouts", lambda each: each.replications, 9
)
_ODDS: _Fields = (
    *_names(),
    _REPLICATIONS,
    Field("percent", "rolled back (%)", lambda each: 100 * each.rolled_back.value),
    Field("low", "from (%)", lambda each: 100 * each.rolled_back.low),
    Field("high", "to (%)", lambda each: 100 * each.rolled_back.high),
)
# Condition, policy, instant (s), percent.
_CURVES: Sequence[Field[tuple[str, str, float, float]]] = (
    Field("condition", "condition", lambda point: point[0]),
    Field("policy", "policy", lambda point: point[1]),
    Field("seconds", "seconds since the start", lambda point: point[2], 6),
    Field("percent", "rolled back (% of rollouts)", lambda point: point[3]),
)
_DIFFERENCES: Sequence[Field[Difference]] = (
    *_names(),
    Field("against", "against", lambda each: each.against),
    Field("replications", "pairs", lambda each: each.replications, 9),
    Field(
        "percent",
        "rolled back more often (percentage points)",
        lambda each: 100 * each.rolled_back.value,
    ),
    Field("low", "from", lambda each: 100 * each.rolled_back.low),
    Field("high", "to", lambda each: 100 * each.rolled_back.high),
    brief("rollbacks, points of percent", lambda each: _signed(each.rolled_back, 100)),
    Field(
        "bad_requests",
        "more bad requests, on average",
        lambda each: each.bad_requests.value if each.bad_requests else None,
    ),
    brief(
        "bad requests, on average",
        lambda each: _signed(each.bad_requests, 1) if each.bad_requests else "–",
    ),
)


def _odds_fields(kind: Kind, *, several: bool = True, intervals: bool = False) -> _Fields:
    """All about releases of a kind; a terminal has intervals, and what matters of that kind."""
    healthy = kind == "healthy"
    three = partial(_three, words=after, intervals=intervals)
    return (
        *_names(several=several),
        _REPLICATIONS,
        Field("rolled_back", "rolled back (%)", lambda each: 100 * each.rolled_back.value),
        brief("false rollback" if healthy else "detected", _shaded),
        *([brief("reasons", _often_first, left=True)] if healthy else []),
        Field("promoted", "promoted (%)", lambda each: 100 * each.promoted.value),
        brief("promoted", lambda each: interval(each.promoted)),
        Field("undecided", "neither (%)", lambda each: 100 * each.undecided.value),
        brief("neither", lambda each: percent(each.undecided.value)),
        Field("reasons", "reasons", lambda each: reasons_in_words(each.reasons)),
        Field(
            "rollback_p50",
            "to rollback, median (s)",
            lambda each: _median(each.seconds_to_rollback),
            5,
        ),
        Field(
            "promotion_p50",
            "to full rollout, median (s)",
            lambda each: _median(each.seconds_to_promotion),
            6,
        ),
        brief("to full rollout", lambda each: three(each.seconds_to_promotion))
        if healthy
        else brief("to rollback", lambda each: three(each.seconds_to_rollback)),
    )


def _cost_fields(
    confidence: float, *, several: bool = True, intervals: bool = False
) -> Iterator[Field[Characteristics]]:
    yield from _names(several=several)
    for name, title, heading, words in (
        ("bad_requests", "bad requests", "bad requests served", _whole),
        ("users", "users reached", "users reached", _whole),
        ("budget_burnt", "% of a month's error budget", "% of a month's error budget", _two),
    ):
        for end, of, place, attribute in (
            ("p50", f"{title}, median", 0, "value"),
            ("p50_low", f"from ({100 * confidence:g} %)", 0, "low"),
            ("p50_high", "to", 0, "high"),
            ("p90", f"{title}, 90 %", 1, "value"),
            ("p99", f"{title}, 99 %", 2, "value"),
        ):
            yield Field(f"{name}_{end}", of, partial(_quantile, name, place, attribute))
        yield brief(heading, partial(_three_of, name, words=words, intervals=intervals))


def told(assessed: Assessment, *, intervals: bool = False) -> Iterator[RenderableType]:
    """An assessment in a terminal; with `intervals` those of the quantiles too."""
    form = {"several": len(assessed.policies) > 1, "intervals": intervals}
    worse = "Releases that are worse: "
    for kind, title, fields, note in (
        ("healthy", "Releases as good as what they replace", _odds_fields("healthy", **form), ""),
        ("regression", f"{worse}are they caught?", _odds_fields("regression", **form), ""),
        (
            "regression",
            f"{worse}what do they cost?",
            tuple(_cost_fields(assessed.confidence, **form)),
            COUNTED,
        ),
    ):
        cells = [each for each in assessed.characteristics if each.kind == kind]
        if cells:
            yield Text(title, style="bold")
            yield grid(fields, cells)
            if note:
                yield Text(note, style="dim")
            yield Text()
    if assessed.differences:
        against = assessed.differences[0].against
        yield Text(f"Against {against}, on the very same requests", style="bold")
        yield grid(_DIFFERENCES, assessed.differences)
        yield Text()
    yield from map(Text, _in_words(assessed))
    more = "" if intervals else "; --intervals shows how sure they are"
    yield Text(
        f"In brackets: {100 * assessed.confidence:g} % confidence. Times and numbers: what "
        f"50 %, 90 % and 99 % of the rollouts stay below{more}.",
        style="dim",
    )


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
        summary=tuple(_in_words(assessed)),
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
    odds = table("false-rollback", "False rollbacks", _ODDS, cells)
    title = "How often a good release is rolled back"
    return Section(
        name="healthy",
        title="Releases as good as what they replace",
        pictures=(
            _picture(
                odds,
                title,
                f"Percent of the rollouts, with intervals of {100 * confidence:g} %. "
                "The less, the better.",
                lambda charts: charts.odds(odds, policies, title, "rolled back (% of rollouts)"),
            ),
        ),
        tables=(_long("healthy-odds", "All about good releases", "healthy", cells),),
    )


def _caught(
    cells: Sequence[Characteristics], policies: tuple[str, ...], confidence: float
) -> Section:
    odds = table("detection", "Detection", _ODDS, cells)
    title = "How often a bad release is rolled back"
    return Section(
        name="regressions",
        title="Releases that are worse: are they caught?",
        pictures=(
            _picture(
                odds,
                title,
                f"Percent of the rollouts, with intervals of {100 * confidence:g} %. "
                "The more, the better.",
                lambda charts: charts.odds(odds, policies, title, "rolled back (% of rollouts)"),
            ),
        ),
        tables=(_long("regression-odds", "All about bad releases", "regression", cells),),
    )


def _soon(cells: Sequence[Characteristics], policies: tuple[str, ...]) -> Section:
    """Distribution of the time to rollback: as ranges for all, as curves for some."""
    ranges = _ranges("time-to-rollback", "Time to rollback", cells, "seconds_to_rollback", "(s)")
    conditions = list(dict.fromkeys(each.condition for each in cells if each.rolled_back_by))
    step = max(1, -(-len(conditions) // _DRAWN))
    drawn = conditions[::step][:_DRAWN]
    points = [point for each in cells for point in each.rolled_back_by]
    longest = max((seconds for seconds, _ in points), default=0.0)
    curves = table(
        "rolled-back-by",
        "Rolled back by then",
        _CURVES,
        (
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
    ranges = _ranges("exposure", "Exposure", cells, "bad_requests", "")
    return Section(
        name="exposure",
        title="What do they cost?",
        pictures=(
            _picture(
                ranges,
                "Bad requests that the canary served",
                "In half of the rollouts up to the dot, in 90 % up to the end of the thick line, "
                f"in 99 % up to the end of the thin one. {COUNTED}",
                lambda charts: charts.ranges(
                    ranges, policies, "Bad requests served", "bad requests in a rollout", log=True
                ),
            ),
        ),
        tables=(
            table(
                "costs",
                "Bad requests, users and error budget",
                tuple(_cost_fields(confidence)),
                cells,
                folded=True,
            ),
        ),
    )


def _compared(
    assessed: Assessment, healthy: Sequence[Characteristics], bad: Sequence[Characteristics]
) -> Section:
    """The policies: on average, and each against the first one on the same requests."""
    policies = tuple(policy.name for policy in assessed.policies)
    averages = table(
        "policies",
        "Policies, on average over the conditions",
        _averages(healthy, bad),
        policies,
    )
    pictures = []
    if healthy and bad:
        pictures.append(
            _picture(
                averages,
                "Policies compared",
                "Averages over the conditions. The best place is the upper left corner: every bad "
                "release rolled back, and no good one.",
                lambda charts: charts.policies(averages),
            )
        )
    if assessed.differences:
        paired = table(
            "differences", "Differences on the same requests", _DIFFERENCES, assessed.differences
        )
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
        tables=(averages,),
        pictures=tuple(pictures),
    )


def _picture(
    drawn_from: Table, title: str, caption: str, draw: Callable[[Any], tuple[Panel, ...]]
) -> Picture:
    def drawn() -> tuple[Panel, ...]:
        from . import odds_charts

        return draw(odds_charts)

    return Picture(
        name=drawn_from.name, title=title, caption=caption, tables=(drawn_from,), draw=drawn
    )


def _ranges(name: str, title: str, cells: Sequence[Characteristics], of: str, unit: str) -> Table:
    """Quantiles of those that have any."""
    ends = f" {unit}" if unit else ""
    fields: _Fields = (
        *_names(),
        *(
            Field(f"p{q}", f"{q} %{ends}", partial(_quantile, of, place, "value"), 5)
            for place, q in enumerate((50, 90, 99))
        ),
    )
    return table(name, title, fields, (each for each in cells if getattr(each, of)))


def _long(name: str, title: str, kind: Kind, cells: Sequence[Characteristics]) -> Table:
    return table(name, title, _odds_fields(kind), cells, folded=len(cells) > OPEN)


def _averages(
    healthy: Sequence[Characteristics], bad: Sequence[Characteristics]
) -> Sequence[Field[str]]:
    """Of a policy, over the conditions."""

    def shares(cells: Sequence[Characteristics], policy: str) -> list[float]:
        return [100 * each.rolled_back.value for each in cells if each.policy == policy]

    def medians(policy: str) -> list[float]:
        return [
            each.bad_requests[0].value
            for each in bad
            if each.policy == policy and each.bad_requests
        ]

    return (
        Field("policy", "policy", str),
        Field("false_rollback", "false rollback (%)", lambda name: _mean(shares(healthy, name))),
        Field("detection", "detection (%)", lambda name: _mean(shares(bad, name))),
        Field(
            "worst_false_rollback",
            "false rollback, worst condition (%)",
            lambda name: max(shares(healthy, name), default=None),
        ),
        Field(
            "worst_detection",
            "detection, worst condition (%)",
            lambda name: min(shares(bad, name), default=None),
        ),
        Field(
            "bad_requests",
            "bad requests, median, mean over conditions",
            lambda name: _mean(medians(name)),
        ),
    )


def _last(each: Characteristics) -> float:
    return each.rolled_back_by[-1][1] if each.rolled_back_by else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _median(quantiles: Sequence[Quantile]) -> float | None:
    return quantiles[0].value if quantiles else None


def _quantile(of: str, place: int, attribute: str, each: Characteristics) -> float | None:
    quantiles: tuple[Quantile, ...] = getattr(each, of)
    return getattr(quantiles[place], attribute) if quantiles else None


def _three_of(
    of: str, each: Characteristics, *, words: Callable[[float], str], intervals: bool
) -> str:
    return _three(getattr(each, of), words=words, intervals=intervals)


def _three(quantiles: Sequence[Quantile], *, words: Callable[[float], str], intervals: bool) -> str:
    """Median / 90 % / 99 %; once when they are the same."""

    def one(each: Quantile) -> str:
        low, value, high = words(each.low), words(each.value), words(each.high)
        return f"{value} [{low}–{high}]" if intervals and low != high else value

    said = [one(each) for each in quantiles]
    return " / ".join(said if len(set(said)) > 1 else said[:1]) or "–"


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _two(value: float) -> str:
    return f"{value:.2g}"


def _signed(estimate: Estimate, unit: float) -> str:
    value, low, high = (
        f"{unit * number:+,.1f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low} to {high}]"


def _shaded(each: Characteristics) -> Text:
    """How often it is rolled back, coloured by how wrong that is."""
    share = each.rolled_back.value
    wrong = share if each.kind == "healthy" else 1 - share
    tone: Tone = "good" if wrong <= 0.01 else "wait" if wrong <= 0.1 else "bad"
    return Text(interval(each.rolled_back), style=tone)


def _often_first(each: Characteristics) -> str:
    return reasons_in_words(
        dict(sorted(each.reasons.items(), key=lambda item: (-item[1], item[0])))
    )


def verdicts(assessed: Assessment) -> list[str]:
    """For each policy its worst false rollback and its worst miss."""
    several = len(assessed.policies) > 1
    lines = []
    for policy in assessed.policies:
        own = [each for each in assessed.characteristics if each.policy == policy.name]
        prefix = f"{policy.name}: " if several else ""
        lines += [f"{prefix}{line}" for line in _worst(own)]
    return lines


def _in_words(assessed: Assessment) -> list[str]:
    """For each policy its worst false rollback and its worst miss; and what is not there yet."""
    lines = verdicts(assessed)
    if any(each.kind == "regression" and each.promoted.value for each in assessed.characteristics):
        lines.append("What a release costs after it has been promoted is in none of the numbers.")
    if not assessed.complete:
        done = sum(
            each.replications
            for each in assessed.characteristics
            if each.policy == assessed.policies[0].name
        )
        lines.append(f"Stopped after {done:,} of {assessed.planned:,} replications.")
    return lines


def _worst(cells: Sequence[Characteristics]) -> list[str]:
    healthy = [each for each in cells if each.kind == "healthy"]
    bad = [each for each in cells if each.kind == "regression"]
    lines = []
    if healthy:
        worst = max(healthy, key=lambda each: each.rolled_back.value)
        if worst.rolled_back.value:
            lines.append(
                f"A good release is rolled back most often in {worst.condition}: in "
                f"{interval(worst.rolled_back)} of {worst.replications:,} rollouts."
            )
        else:
            lines.append(f"No good release was rolled back: {_none(healthy)}.")
    if bad:
        worst = min(bad, key=lambda each: each.rolled_back.value)
        if worst.rolled_back.value < 1:
            lines.append(
                f"A bad release is caught least often in {worst.condition}: it is rolled back in "
                f"{interval(worst.rolled_back)} of {worst.replications:,} rollouts and gets to all "
                f"users in {interval(worst.promoted)}."
            )
        else:
            lines.append(
                "Every bad release was rolled back: in "
                f"{percent(min(each.rolled_back.low for each in bad))} of the rollouts at least."
            )
    return lines


def _none(healthy: Sequence[Characteristics]) -> str:
    bound = max(each.rolled_back.high for each in healthy)
    return f"it happens in {percent(bound)} of the rollouts at most"


def _and(names: Sequence[str]) -> str:
    if len(names) <= 3:
        return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1]
    return f"{len(names)} policies"
