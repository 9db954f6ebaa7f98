"""The three ways version three can be broken, one at a time.

Which documents suffer is decided by their text alone, so that a request repeated is a fault
repeated, in any process.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal, get_args

import mmh3
import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from .contract import Evaluation
    from .pipeline import Pipeline
    from .pipeline.document_segmenter import Document
    from .pipeline.finding import Finding

__all__ = ["FAULTS", "Fault", "broken_body", "lot", "slow_down", "with_failing_component"]

Fault = Literal["none", "slow", "failing", "contract"]
FAULTS: tuple[Fault, ...] = get_args(Fault)


def lot(text: str, size: int) -> int:
    """A number below `size`, drawn by the text."""
    return mmh3.hash(text, 0, False) % size


async def slow_down(text: str) -> None:
    """Wait 0.7 to 1.0 seconds, as for a service that was moved far away; no CPU is used."""
    await asyncio.sleep(0.7 + 0.1 * lot(text, 4))


def with_failing_component(pipeline: Pipeline) -> Pipeline:
    """`pipeline` with a responsibility detector that raises for one document in three."""
    sound = pipeline.responsibility_detector

    def responsibility_detector(document: Document) -> list[Finding]:
        if lot(document.text, 3) == 0:
            raise RuntimeError("responsibility_detector: the register of entities has no such name")
        return sound(document)

    return replace(pipeline, responsibility_detector=responsibility_detector)


def broken_body(text: str, evaluation: Evaluation) -> bytes:
    """The JSON of `evaluation`; one in four has a score out of range, one lacks the total."""
    answer: dict[str, Any] = msgspec.to_builtins(evaluation)
    drawn = lot(text, 4)
    if drawn == 0:
        answer["questions"][0]["score"] = 140
    elif drawn == 1:
        del answer["total"]
    return msgspec.json.encode(answer)
