"""The calls that the page's reference documents."""

from __future__ import annotations

import inspect
import re
from itertools import count

from tests.requirements.page import BLOCKS
from tests.requirements.proofs import proves

from canario import (
    CanaryDeploymentController,
    DeploymentResult,
    TrafficRouter,
    create_canary_controller,
)
from canario.testing import ManualClock


@proves("call.create_canary_controller")
def test_create_canary_controller() -> None:
    example = re.findall(r"^    (\w+)=", BLOCKS["canary.usage"].text, flags=re.MULTILINE)
    assert set(example) <= set(inspect.signature(create_canary_controller).parameters)
    assert next(iter(inspect.signature(create_canary_controller).parameters)) == "deployment_id"
    assert isinstance(create_canary_controller("v2", environ={}), CanaryDeploymentController)


@proves("call.execute_deployment")
def test_execute_deployment() -> None:
    signature = inspect.signature(CanaryDeploymentController.execute_deployment)
    assert list(signature.parameters)[:2] == ["self", "request_generator"]
    numbers = count()
    controller = create_canary_controller("v2", environ={}, clock=ManualClock())
    result = controller.execute_deployment(
        request_generator=lambda: (f"request-{next(numbers)}", 150.0, True, True)
    )
    assert isinstance(result, DeploymentResult)
    assert result.success


@proves("call.route_request")
def test_route_request() -> None:
    router = TrafficRouter("v2", share=50)
    versions = {key: router.route_request(request_id=key) for key in map(str, range(200))}
    assert set(versions.values()) == {"baseline", "canary"}
    assert versions == {key: router.route_request(key) for key in versions}
