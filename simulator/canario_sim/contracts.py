"""Responses that break their contract."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from canario.control.violation import Violation

from .spec import Percent
from .window import Timed

__all__ = ["ByKey", "ByRate", "ContractFailure", "Single"]


class _ContractFailure(Timed, frozen=True, kw_only=True, tag_field="kind"):
    """Responses that break their contract, whether the request succeeds or not."""

    detail: Annotated[str, Meta(min_length=1, description="What is wrong, in words.")] = (
        "the response broke its contract"
    )
    contract: Annotated[
        str, Meta(min_length=1, description="Name of the contract, for the plan's budgets.")
    ] = "contract"
    rule: Annotated[str | None, Meta(description="The rule of it that does not hold.")] = None
    path: Annotated[str | None, Meta(description="JSON pointer to what breaks it in the body.")] = (
        None
    )
    route: Annotated[str | None, Meta(description="Template of the route that answered.")] = None

    @property
    def violation(self) -> Violation:
        """What is reported of each of them."""
        return Violation(
            message=self.detail,
            contract=self.contract,
            rule=self.rule,
            path=self.path,
            route=self.route,
        )


class ByRate(_ContractFailure, frozen=True, kw_only=True, tag="rate"):
    """A share of the responses, independently of each other."""

    rate: Annotated[Percent, Meta(description="Responses that break it, in percent.")]


class ByKey(_ContractFailure, frozen=True, kw_only=True, tag="keys"):
    """Every response to certain keys."""

    keys: Annotated[tuple[str, ...], Meta(min_length=1, description="The keys.")]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.keys:
            raise ValueError("keys is empty; name at least one")


class Single(_ContractFailure, frozen=True, kw_only=True, tag="single"):
    """One response: that to the arm's first request from `at` on; with both arms one on each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lasts is not None:
            raise ValueError(f"for is {self.lasts!r}; a single failure happens once, leave it out")


ContractFailure = ByRate | ByKey | Single
