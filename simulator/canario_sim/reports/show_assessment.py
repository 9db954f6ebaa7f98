"""An assessment in a terminal: tables for each kind of condition, and what stands out, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from canario.control.words import seconds_in_words
from canario_sim.lab.assessment import Assessment
from canario_sim.lab.summary import Characteristics, Difference, Estimate, Quantile
from canario_sim.terminal import Terminal
from canario_sim.world.rehearsal import COUNTED

__all__ = ["in_words", "show"]


def show(assessed: Assessment, *, intervals: bool = False, console: Console | None = None) -> None:
    """Print it; with `intervals` those of the quantiles too."""
    out = console or Terminal()
    several = len(assessed.policies) > 1
    for kind, title, make in (
        ("healthy", "Releases as good as what they replace", _healthy),
        ("regression", "Releases that are worse: are they caught?", _caught),
        ("regression", "Releases that are worse: what do they cost?", _costs),
    ):
        cells = [each for each in assessed.characteristics if each.kind == kind]
        if cells:
            out.print(Text(title, style="bold"))
            _wide(out, make(cells, _Form(several=several, intervals=intervals)))
            if make is _costs:
                out.print(Text(COUNTED, style="dim"))
            out.print()
    if assessed.differences:
        against = assessed.differences[0].against
        out.print(Text(f"Against {against}, on the very same requests", style="bold"))
        _wide(out, _compared(assessed.differences))
        out.print()
    for line in in_words(assessed):
        out.print(Text(line))
    more = "" if intervals else "; --intervals shows how sure they are"
    out.print(
        Text(
            f"In brackets: {100 * assessed.confidence:g} % confidence. Times and numbers: what "
            f"50 %, 90 % and 99 % of the rollouts stay below{more}.",
            style="dim",
        )
    )


@dataclass(frozen=True)
class _Form:
    """Whether there is a column of policies, and whether quantiles have intervals."""

    several: bool
    intervals: bool

    def three(self, quantiles: Sequence[Quantile], words: Callable[[float], str]) -> str:
        """Median / 90 % / 99 %; once when they are the same."""
        said = [self._one(each, words) for each in quantiles]
        return " / ".join(said if len(set(said)) > 1 else said[:1]) or "–"

    def _one(self, each: Quantile, words: Callable[[float], str]) -> str:
        low, value, high = words(each.low), words(each.value), words(each.high)
        return f"{value} [{low}–{high}]" if self.intervals and low != high else value


def _healthy(cells: Sequence[Characteristics], form: _Form) -> Table:
    table = _table(form, "false rollback", "reasons", "promoted", "neither", "to full rollout")
    for each in cells:
        table.add_row(
            *_names(each, form),
            Text(_share(each.rolled_back), style=_shade(each.rolled_back.value)),
            _reasons(each),
            _share(each.promoted),
            _percent(each.undecided.value),
            form.three(each.seconds_to_promotion, _time),
        )
    return table


def _caught(cells: Sequence[Characteristics], form: _Form) -> Table:
    table = _table(form, "detected", "promoted", "neither", "to rollback")
    for each in cells:
        table.add_row(
            *_names(each, form),
            Text(_share(each.rolled_back), style=_shade(1 - each.rolled_back.value)),
            _share(each.promoted),
            _percent(each.undecided.value),
            form.three(each.seconds_to_rollback, _time),
        )
    return table


def _costs(cells: Sequence[Characteristics], form: _Form) -> Table:
    table = _table(form, "bad requests served", "users reached", "% of a month's error budget")
    for each in cells:
        table.add_row(
            *_names(each, form),
            form.three(each.bad_requests, _whole),
            form.three(each.users, _whole),
            form.three(each.budget_burnt, lambda value: f"{value:.2g}"),
        )
    return table


def _compared(differences: Sequence[Difference]) -> Table:
    heads = ("rollbacks, points of percent", "bad requests, on average")
    table = _table(_Form(several=True, intervals=True), *heads)
    for each in differences:
        bad = each.bad_requests
        table.add_row(
            Text(each.condition),
            Text(each.policy),
            _signed(each.rolled_back, 100),
            "–" if bad is None else _signed(bad, 1),
        )
    return table


def _signed(estimate: Estimate, unit: float) -> str:
    value, low, high = (
        f"{unit * number:+,.1f}" for number in (estimate.value, estimate.low, estimate.high)
    )
    return f"{value} [{low} to {high}]"


def _table(form: _Form, *headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("condition", no_wrap=True)
    if form.several:
        table.add_column("policy", no_wrap=True)
    for heading in headings:
        table.add_column(heading, no_wrap=True, justify="left" if heading == "reasons" else "right")
    return table


def _wide(out: Console, table: Table) -> None:
    """A narrow terminal breaks the lines; a number cut short would be another number."""
    unbounded = out.options.update(max_width=1000)
    before = out.width
    out.width = max(before, out.measure(table, options=unbounded).maximum)
    out.print(table)
    out.width = before


def _names(each: Characteristics, form: _Form) -> list[Text]:
    # Text, not markup: names come from files.
    return [Text(each.condition), *([Text(each.policy)] if form.several else [])]


def in_words(assessed: Assessment) -> list[str]:
    """For each policy its worst false rollback and its worst miss; and what is not there yet."""
    several = len(assessed.policies) > 1
    lines = []
    for policy in assessed.policies:
        own = [each for each in assessed.characteristics if each.policy == policy.name]
        prefix = f"{policy.name}: " if several else ""
        lines += [f"{prefix}{line}" for line in _worst(own)]
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
                f"{_share(worst.rolled_back)} of {worst.replications:,} rollouts."
            )
        else:
            lines.append(f"No good release was rolled back: {_none(healthy)}.")
    if bad:
        worst = min(bad, key=lambda each: each.rolled_back.value)
        if worst.rolled_back.value < 1:
            lines.append(
                f"A bad release is caught least often in {worst.condition}: it is rolled back in "
                f"{_share(worst.rolled_back)} of {worst.replications:,} rollouts and gets to all "
                f"users in {_share(worst.promoted)}."
            )
        else:
            lines.append(
                "Every bad release was rolled back: in "
                f"{_percent(min(each.rolled_back.low for each in bad))} of the rollouts at least."
            )
    return lines


def _none(healthy: Sequence[Characteristics]) -> str:
    bound = max(each.rolled_back.high for each in healthy)
    return f"it happens in {_percent(bound)} of the rollouts at most"


def _share(estimate: Estimate) -> str:
    low, high = _percent(estimate.low, unit=""), _percent(estimate.high, unit="")
    return f"{_percent(estimate.value)} [{low}–{high}]"


def _percent(share: float, unit: str = " %") -> str:
    """One decimal; two for what would look like none or all."""
    percent = 100 * share
    digits = 2 if 0 < percent < 1 or 99 < percent < 100 else 1
    return f"{percent:.{digits}f}{unit}"


def _reasons(each: Characteristics) -> str:
    return ", ".join(
        f"{count} {reason}"
        for reason, count in sorted(each.reasons.items(), key=lambda item: (-item[1], item[0]))
    )


def _time(seconds: float) -> str:
    return seconds_in_words(round(seconds, 0 if seconds >= 60 else 1))


def _whole(value: float) -> str:
    return f"{value:,.0f}"


def _shade(wrong: float) -> str:
    return "green" if wrong <= 0.01 else "yellow" if wrong <= 0.1 else "red"
