"""Responses that break their contract."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from canario.control.violation import Violation
from canario.spec import Percent

from .clustering import Clustering
from .targets import Targeted

__all__ = ["ByKey", "ByPayload", "ByRate", "ByRoute", "ContractFailure", "Single"]


class _ContractFailure(Targeted, frozen=True, kw_only=True, tag_field="kind"):
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
            route=self.route or (self.routes[0] if self.routes and len(self.routes) == 1 else None),
        )


class ByRate(_ContractFailure, frozen=True, kw_only=True, tag="rate"):
    """A share of the responses, independently of each other unless they cluster."""

    rate: Annotated[Percent, Meta(description="Responses that break it, in percent.")]
    clustering: Annotated[
        Clustering | None, Meta(description="Whose responses break it together; none: nobody's.")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clustering is not None:
            self.clustering.check(self.rate, "rate")


class ByKey(_ContractFailure, frozen=True, kw_only=True, tag="keys"):
    """Every response to certain keys."""

    # The field of `Targeted`, but here it must be given; so are `routes` and `payloads` below.
    keys: Annotated[tuple[str, ...], Meta(min_length=1, description="The keys.")]


class ByRoute(_ContractFailure, frozen=True, kw_only=True, tag="routes"):
    """Every response of certain routes."""

    routes: Annotated[tuple[str, ...], Meta(min_length=1, description="The routes.")]


class ByPayload(_ContractFailure, frozen=True, kw_only=True, tag="payloads"):
    """Every response to certain classes of payload."""

    payloads: Annotated[tuple[str, ...], Meta(min_length=1, description="The classes.")]


class Single(_ContractFailure, frozen=True, kw_only=True, tag="single"):
    """One response: that to the arm's first request from `at` on; with both arms one on each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.lasts is not None:
            raise ValueError(f"for is {self.lasts!r}; a single failure happens once, leave it out")
        if self.targets:
            raise ValueError("a single failure takes no keys, routes and payloads")


ContractFailure = ByRate | ByKey | Single | ByRoute | ByPayload
