"""What both judges say of those that say nothing: requests without an answer, and workers."""

from __future__ import annotations

from canario.metrics.counts import Counts
from canario.metrics.in_flight import InFlight

from .verdict import Evidence, Verdict, VerdictKind

__all__ = ["silence", "waiting_words"]


def silence(evidence: Evidence, needed: int) -> Verdict | None:
    """The verdict that ends no stage: a worker that serves the release has not been heard, or so
    many requests have come since the canary's last answer that they alone could be judged, and it
    has answered none of them.

    Of an app whose every answer takes minutes, half of the requests come between two answers at
    random, so that `needed` of them in a row are rare and soon over.
    """
    waiting = evidence.in_flight
    if evidence.unheard:
        why = (
            f"{evidence.unheard} worker{'s'[: evidence.unheard > 1]} of this release "
            "cannot be heard, and a stage does not end on the word of the others"
        )
    elif waiting.unanswered >= needed:
        why = (
            f"{waiting.unanswered} requests have come since the last answer, and none of them "
            "was answered"
        )
    else:
        return None
    return Verdict(
        kind=VerdictKind.INSUFFICIENT,
        samples=0,
        needed=needed,
        why=why + waiting_words(evidence.stage, waiting),
        in_flight=waiting.requests,
        overdue=waiting.overdue,
        abandoned=evidence.stage.abandoned,
    )


def waiting_words(counts: Counts, in_flight: InFlight) -> str:
    """What is added to the reason of a verdict where requests wait for longer than they should."""
    said = []
    if in_flight.overdue:
        said.append(f"{in_flight.overdue} of them still waiting for their answer")
    if counts.abandoned:
        said.append(f"{counts.abandoned} never answered")
    return f" ({', '.join(said)})" if said else ""
