"""What `canario simulate --seeds` has to say, as a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from canario_sim.lab.over_seeds import CONFIDENCE, Miss, Share, shares_document
from canario_sim.scenario.expect import Expectation, under
from canario_sim.scenario.scenario import Scenario

from .columns import Field, table
from .report import Case, Cell, Fact, Report, Section, Suite, Table

__all__ = ["sharing"]

_PERCENT = f"{100 * CONFIDENCE:g} %"

_SHARES: Sequence[Field[Share]] = (
    Field("scenario", "scenario", lambda share: share.scenario),
    Field("first_seed", "from seed", lambda share: share.first_seed, 12),
    Field("seeds", "seeds", lambda share: 0 if share.chance is None else share.seeds, 12),
    Field("as_expected", "as expected", lambda share: _stated(share, share.as_expected), 12),
    Field("low", f"share, {_PERCENT} from", lambda share: _stated(share, share.low)),
    Field("high", f"share, {_PERCENT} to", lambda share: _stated(share, share.high)),
    Field("chance", "stated", lambda share: share.chance),
    Field("ok", "as it says", lambda share: _stated(share, share.ok)),
)
_MISSED: Sequence[Field[tuple[Share, Miss, Expectation]]] = (
    Field("scenario", "scenario", lambda each: each[0].scenario),
    Field("seed", "seed", lambda each: each[1].seed, 12),
    Field("name", "what", lambda each: each[2].name),
    Field("expected", "expected", lambda each: each[2].expected, 12),
    Field("actual", "actual", lambda each: each[2].actual, 12),
)


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
        tables=(
            table(
                "shares",
                "Under how many seeds each is as expected",
                _SHARES,
                shares,
                tone=lambda share: "plain" if share.ok else "bad",
            ),
            *_missed(shares),
        ),
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


def _stated(share: Share, value: Cell) -> Cell:
    """Nothing, where the scenario states nothing."""
    return None if share.chance is None else value


def _missed(shares: Sequence[Share]) -> tuple[Table, ...]:
    missed = [
        (share, miss, each)
        for share in shares
        for miss in share.missed
        for each in miss.expectations
    ]
    return (table("missed", "Seeds under which they are not", _MISSED, missed),) if missed else ()


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
