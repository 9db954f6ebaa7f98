"""What a valid response is, and checking it beside the requests."""

from canario.control.violation import Violation

from .body_schema import json_schema_contract, model_contract
from .functions import FlowContract
from .openapi import OpenAPIContract, openapi_contract
from .report import report_contract_violation
from .response import NOT_ABOUT, Contract, NotChecked, Response, ResponseContract

__all__ = [
    "NOT_ABOUT",
    "Contract",
    "FlowContract",
    "NotChecked",
    "OpenAPIContract",
    "Response",
    "ResponseContract",
    "Violation",
    "json_schema_contract",
    "model_contract",
    "openapi_contract",
    "report_contract_violation",
]
