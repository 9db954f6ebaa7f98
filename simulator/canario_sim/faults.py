"""The kinds of fault that a scenario may declare, under the name that the docs have for them."""

from .scenario.faults import *  # noqa: F403
from .scenario.faults import __all__ as __all__
