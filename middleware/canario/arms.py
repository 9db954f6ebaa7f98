"""The two arms of a rollout, in the order that every table, array and file has them."""

from __future__ import annotations

from typing import Literal

__all__ = ["ARMS", "Arm", "ArmOrBoth"]

Arm = Literal["baseline", "canary"]
ArmOrBoth = Literal["baseline", "canary", "both"]
ARMS: tuple[Arm, Arm] = ("baseline", "canary")
