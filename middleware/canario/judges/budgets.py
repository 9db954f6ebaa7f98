"""Broken contracts: one is enough, unless the contract has a budget."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

from canario.metrics.counts import Counts
from canario.plan import RollbackThresholds

from .verdict import Trigger, Verdict, VerdictKind

__all__ = ["ContractRule"]


class ContractRule:
    """Judges broken contracts by the plan's `contract_budgets`, the same for every judge."""

    __slots__ = ("_budgets", "_limits")

    def __init__(self, limits: RollbackThresholds) -> None:
        self._limits = limits
        # As it is written, and not as the float next to it: 0.1 % is one in a thousand.
        self._budgets = {
            name: (Fraction(str(budget)) / 100).as_integer_ratio()
            for name, budget in limits.tolerated.items()
        }

    def judge(self, counts: Counts, broken: Mapping[str, int]) -> Verdict | None:
        """The verdict on broken contracts; None when all of them lie within their budgets.

        `broken` is how many of the violations are of each contract that has a budget.
        """
        if not counts.violations:
            return None
        n, needed = counts.requests, self._limits.min_samples
        # Where nobody says which contracts were broken, none is known to have a budget.
        intolerable = counts.violations - sum(broken[name] for name in self._budgets if broken)
        if intolerable:
            return Verdict(
                kind=VerdictKind.UNHEALTHY,
                trigger=Trigger.CONTRACT_VIOLATION,
                observed=intolerable,
                limit=0,
                samples=n,
                needed=0,
                why=f"{intolerable} contract violation{'s'[: intolerable > 1]}; none is allowed",
            )
        for name, (numerator, denominator) in self._budgets.items():
            if n >= needed and broken[name] * denominator > n * numerator:
                share, limit = 100 * broken[name] / n, self._limits.contract_budgets[name]
                return Verdict(
                    kind=VerdictKind.UNHEALTHY,
                    trigger=Trigger.CONTRACT_VIOLATION,
                    observed=share,
                    limit=limit,
                    samples=n,
                    needed=needed,
                    why=f"{broken[name]} of {n} requests broke the contract {name} "
                    f"({share:.4g} %); at most {limit:g} % may",
                    contract=name,
                )
        return None

    def within(self, broken: Mapping[str, int], n: int) -> str:
        """What is said of contracts that were broken within their budgets."""
        return "".join(
            f", {broken[name]} broke the contract {name} ({100 * broken[name] / n:.3g} %)"
            for name in self._budgets
            if broken.get(name)
        )
