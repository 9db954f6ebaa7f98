"""What `canario simulate --seeds` has to say, as a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from canario_sim.lab.over_seeds import CONFIDENCE, Share, shares_document
from canario_sim.scenario.expect import under
from canario_sim.scenario.scenario import Scenario

from .report import Case, Cell, Column, Fact, Report, Section, Suite, Table

__all__ = ["sharing"]


def sharing(scenarios: Sequence[Scenario], shares: Sequence[Share]) -> Report:
    """The report of scenarios under many seeds each."""
    stated = [share for share in shares if share.chance is not None]
    failed = [share for share in stated if not share.ok]
    several = len(shares) > 1
    return Report(
        command="simulate",
        title=(
            f"{len(shares)} scenarios under {shares[0].seeds} seeds each"
            if several
            else f"{shares[0].scenario} under {shares[0].seeds} seeds"
        ),
        summary=tuple(_summary(stated, failed)),
        ok=not failed if stated else None,
        verdicts=("All as they say", "Not as they say"),
        facts=(
            Fact(label="scenarios", value=str(len(shares))),
            Fact(label="seeds of each", value=str(shares[0].seeds)),
            Fact(
                label="as they say",
                value=f"{len(stated) - len(failed)} of {len(stated)}",
                tone="bad" if failed else "good" if stated else "plain",
            ),
        ),
        tables=(_table(shares), *_missed(shares)),
        sections=tuple(_sections(failed)),
        suites=tuple(map(_suite, scenarios, shares)),
        document=shares_document(shares),
    )


def _summary(stated: Sequence[Share], failed: Sequence[Share]) -> Iterator[str]:
    yield (
        f"{len(stated) - len(failed)} of {len(stated)} scenarios are as expected under as many "
        "seeds as they say."
    )
    for share in failed:
        yield f"{share.scenario}: {share.words}."


def _table(shares: Sequence[Share]) -> Table:
    percent = f"{100 * CONFIDENCE:g} %"
    return Table(
        name="shares",
        title="Under how many seeds each is as expected",
        columns=(
            Column("scenario", "scenario"),
            Column("first_seed", "from seed", 12),
            Column("seeds", "seeds", 12),
            Column("as_expected", "as expected", 12),
            Column("low", f"share, {percent} from"),
            Column("high", f"share, {percent} to"),
            Column("chance", "stated"),
            Column("ok", "as it says"),
        ),
        rows=tuple(_row(share) for share in shares),
        tones=tuple("plain" if share.ok else "bad" for share in shares),
    )


def _row(share: Share) -> tuple[Cell, ...]:
    if share.chance is None:
        return (share.scenario, share.first_seed, 0, None, None, None, None, None)
    return (
        share.scenario,
        share.first_seed,
        share.seeds,
        share.as_expected,
        share.low,
        share.high,
        share.chance,
        share.ok,
    )


def _missed(shares: Sequence[Share]) -> tuple[Table, ...]:
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (share.scenario, miss.seed, each.name, each.expected, each.actual)
        for share in shares
        for miss in share.missed
        for each in miss.expectations
    )
    if not rows:
        return ()
    table = Table(
        name="missed",
        title="Seeds under which they are not",
        columns=(
            Column("scenario", "scenario"),
            Column("seed", "seed", 12),
            Column("name", "what"),
            Column("expected", "expected", 12),
            Column("actual", "actual", 12),
        ),
        rows=rows,
    )
    return (table,)


def _sections(failed: Sequence[Share]) -> Iterator[Section]:
    for share in failed:
        yield Section(
            name=share.scenario,
            title=share.scenario,
            tone="bad",
            text=(f"It is {share.words}.", *(f"Under {miss.words}." for miss in share.missed[:20])),
        )


def _suite(scenario: Scenario, share: Share) -> Suite:
    cases = () if share.chance is None else (_case(share, share.chance),)
    return Suite(
        name=share.scenario,
        about=scenario.teaches,
        cases=cases,
        story=tuple(miss.words for miss in share.missed),
        properties=(
            ("first_seed", str(share.first_seed)),
            ("seeds", str(share.seeds)),
            ("as_expected", str(share.as_expected)),
        ),
    )


def _case(share: Share, chance: float) -> Case:
    return Case(name="as expected", expected=under(chance), actual=share.counted, ok=share.ok)
