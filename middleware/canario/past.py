"""A journal that is taken up: whether it is this release's, and what its past has to tell."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from .control.events import Event, StageEntered, Started, Unwatched
from .control.journal import JournalError
from .control.state import Phase, State, replay
from .control.words import describe
from .host.logger import information
from .plan import Deployment

__all__ = ["JournalMismatchError", "refuse_another", "say_past"]

# A deployment restarts a process once or twice in a stage; what ends it more often is told.
_MANY_RESTARTS = 3


class JournalMismatchError(JournalError):
    """A journal that belongs to another release or to another plan than the controller's."""


def refuse_another(deployment: Deployment, events: Sequence[Event]) -> None:
    """Raise `JournalMismatchError` for a journal that was begun under another name or another plan
    than `deployment`, and `JournalError` for one that nobody can have kept."""
    for event in events:
        if isinstance(event, Started) and event.deployment != deployment:
            from .explain import differences  # for errors alone

            raise JournalMismatchError(
                f"it was begun by {event.deployment.deployment_id!r} under another plan than "
                f"this of {deployment.deployment_id!r}: "
                f"{differences(event.deployment, deployment)}; give this release a "
                "journal of its own, or the plan that it was begun with"
            )
    replay(deployment, events)


def say_past(
    deployment: Deployment, state: State, events: Sequence[Event], log: logging.Logger
) -> None:
    """Log what an operator has to know of a rollout that is taken up in `state`."""
    if state.phase.terminal:
        _say_over(deployment, state, events[-1], log)
    else:
        _say_restarts(deployment, events, log)


def _say_over(deployment: Deployment, state: State, last: Event, log: logging.Logger) -> None:
    """Nothing will happen any more, so nothing else says which version everybody gets."""
    served = state.phase is Phase.COMPLETED
    say = information(log).info if served else log.warning
    say(
        "%s: its journal says that this release is over (%s), so the %s; to release again, "
        "give it another deployment_id and a journal of its own",
        deployment.deployment_id,
        describe(last, deployment),
        "canary serves its share" if served else "baseline serves everybody",
    )


def _say_restarts(deployment: Deployment, events: Sequence[Event], log: logging.Logger) -> None:
    """A canary may end its own process, or have a server's timeout do it: each one begins to
    count anew, and never comes to the samples that a judgement takes."""
    times = 0
    for event in events:
        if isinstance(event, StageEntered):
            times = 0
        elif isinstance(event, Unwatched) and event.restart:
            times += 1
    if times >= _MANY_RESTARTS:
        log.warning(
            "%s: the process was replaced %d times in this stage, and what one has counted is "
            "not handed to the next, nor is it counted for a failure that it ended; see why "
            "(server timeouts, crashes, recycling), and abort the release if it is the canary",
            deployment.deployment_id,
            times,
        )
