"""What a valid response is, and checking it beside the requests."""

from canario.control.violation import Violation

from .checker import Contract, ContractChecker, Response

__all__ = ["Contract", "ContractChecker", "Response", "Violation"]
