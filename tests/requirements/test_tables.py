"""The page's tables: 28 flows and 11 components, under names that its code spells."""

from __future__ import annotations

import pytest
from tests.requirements.page import COMPONENTS, FLOWS, items
from tests.requirements.proofs import proves

from canario import tracing
from canario.tracing import ComponentType, FlowType


def member_of(name: str) -> str:
    """The name of a flow as the page's code spells it: `FlowType.DECALOGO_EVALUATION`."""
    return name.replace("á", "a").replace(" ", "_").upper()


@proves(*items("flow"))
@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in FLOWS for name in FLOWS[group]]
)
def test_a_flow_of_the_page_is_there(group: str, name: str) -> None:
    flow = FlowType[member_of(name)]
    assert flow.value == member_of(name).lower()
    assert tracing.FLOWS[flow] == (group, name)


@proves(*items("component"))
@pytest.mark.parametrize("name", COMPONENTS)
def test_a_component_of_the_page_is_there(name: str) -> None:
    component = ComponentType[member_of(name)]
    assert component.value == member_of(name).lower()
    assert tracing.COMPONENTS[component] == name


def test_there_are_no_flows_and_components_but_those_of_the_page() -> None:
    names = {member_of(name) for group in FLOWS.values() for name in group}
    assert {flow.name for flow in FlowType} == names
    assert {component.name for component in ComponentType} == {member_of(n) for n in COMPONENTS}
