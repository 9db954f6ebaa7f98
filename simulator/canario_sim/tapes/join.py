"""Several sessions as one stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import ceil

import numpy as np
from msgspec import structs

from canario.control.events import Event, Unwatched
from canario_sim.streams import Ints

from .recording import Breaking, Noted, Recording, Restart

__all__ = ["joined"]


def joined(sessions: Sequence[Recording]) -> Recording:
    """The sessions as one recording; see `read_tape`."""
    chains: list[Recording] = []
    left = list(sessions)
    while left:
        # Whoever takes another up comes after it, whatever the dates say: one may be set back.
        session = next((one for one in left if not _takes_up_any(one, left)), left[0])
        left = [one for one in left if one is not session]
        for number, before in enumerate(chains):
            if _takes_up(session, before):
                chains[number] = _chained(before, _after(session, before))
                break
        else:
            chains.append(session)
    return chains[0] if len(chains) == 1 else _merged(chains)


def _takes_up_any(session: Recording, others: Sequence[Recording]) -> bool:
    return any(one is not session and _takes_up(session, one) for one in others)


def _takes_up(session: Recording, before: Recording) -> bool:
    """Whether a session goes on with the rollout of the one before, after a restart."""
    past = session.events[: session.restored]
    return (
        len(past) > 0
        and session.plan == before.plan
        and past == before.events
        # A tape that does not say so yet may be that of a forked child, which goes on beside it.
        and (session.takes_up or session.restarts[0].at >= before.ends)
    )


def _after(session: Recording, before: Recording) -> Recording:
    """The session by the clock of the one before, which ended earlier whatever the dates say.

    The clock is moved by whole seconds: so no instant is rounded, and what is decided again is
    decided at the instants of the journal.
    """
    by = ceil(before.ends - session.restarts[0].at)
    if by <= 0:
        return session
    return replace(
        session,
        at=session.at + by,
        ended=session.ended + by,
        broken=tuple(structs.replace(each, at=each.at + by) for each in session.broken),
        journal=session.journal[: session.restored]
        + tuple(
            structs.replace(noted, event=_later(noted.event, by))
            for noted in session.journal[session.restored :]
        ),
        restarts=tuple(structs.replace(each, at=each.at + by) for each in session.restarts),
        unfinished=tuple(structs.replace(each, at=each.at + by) for each in session.unfinished),
    )


def _later(event: Event, by: float) -> Event:
    if isinstance(event, Unwatched) and not event.restart:
        event = structs.replace(event, since=event.since + by)
    return structs.replace(event, at=event.at + by)


def _chained(first: Recording, second: Recording) -> Recording:
    offset = len(first)
    both = _stacked([first, second])
    return replace(
        both,
        broken=first.broken + tuple(_shifted(second.broken, offset)),
        journal=first.journal
        + tuple(
            Noted(noted.position + offset, noted.broken + len(first.broken), noted.event)
            for noted in second.journal[second.restored :]
        ),
        restarts=first.restarts
        + tuple(
            Restart(each.position + offset, each.broken + len(first.broken), each.at, each.past)
            for each in second.restarts
        ),
        closed=second.closed,
        # What the first process had in flight when it ended nobody has waited for since.
        unfinished=second.unfinished,
        whole=first.whole and second.whole,
    )


def _merged(sessions: Sequence[Recording]) -> Recording:
    """Side by side: in the order of time, with the journal of the worker that ended first.

    Of several releases nothing but the traffic is left.
    """
    both = _stacked(sessions)
    order = np.argsort(both.ended, kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    offsets = np.cumsum([0, *map(len, sessions)])
    ended = both.ended[order]
    broken = sorted(
        (
            Breaking(
                int(np.searchsorted(ended, each.at, "right")),
                each.at,
                each.canary,
                each.violation,
                int(place[each.request + offset]) if each.request >= 0 else -1,
            )
            for session, offset in zip(sessions, offsets, strict=False)
            for each in session.broken
        ),
        key=lambda each: each.at,
    )
    one_release = all(session.plan == sessions[0].plan for session in sessions)
    told = min(sessions, key=_when_it_ended)
    instants = np.array([each.at for each in broken])
    return replace(
        both.taken(order),
        broken=tuple(broken),
        journal=tuple(
            Noted(
                # At one instant the rollout decides before it is told what has ended; a contract is
                # broken after its own request is told, so that is searched for from the right.
                int(np.searchsorted(ended, noted.event.at, "left")),
                int(np.searchsorted(instants, noted.event.at, "left")),
                noted.event,
            )
            for noted in (told.journal if one_release else ())
        ),
        plan=told.plan if one_release else None,
        whole=False,
        workers=len(sessions),
        restarts=(),
    )


def _when_it_ended(session: Recording) -> float:
    events = session.events
    return events[-1].at if events and events[-1].terminal else float("inf")


def _stacked(sessions: Sequence[Recording]) -> Recording:
    """One after the other, with routes and users numbered anew."""
    routes: dict[str, int] = {}
    numbers = [
        np.array([*(routes.setdefault(name, len(routes)) for name in each.routes), -1], np.int64)
        for each in sessions
    ]
    identities = np.unique(np.concatenate([each.identities for each in sessions]))
    first = sessions[0]
    return replace(
        first,
        at=np.concatenate([each.at for each in sessions]),
        ended=np.concatenate([each.ended for each in sessions]),
        arm=np.concatenate([each.arm for each in sessions]),
        outcome=np.concatenate([each.outcome for each in sessions]),
        flight=np.concatenate([each.flight for each in sessions]),
        unfinished=sum((each.unfinished for each in sessions), ()),
        latency_ms=np.concatenate([each.latency_ms for each in sessions]),
        bucket=np.concatenate([each.bucket for each in sessions]),
        key=np.concatenate([_users(each, identities) for each in sessions]),
        route=np.concatenate(
            [number[each.route] for each, number in zip(sessions, numbers, strict=True)]
        ),
        routes=tuple(routes),
        identities=identities,
        dropped=sum(each.dropped for each in sessions),
        sources=sum(each.sources for each in sessions),
    )


def _users(session: Recording, identities: Ints) -> Ints:
    numbers = np.append(np.searchsorted(identities, session.identities), -1)
    found: Ints = numbers[session.key]
    return found


def _shifted(broken: Sequence[Breaking], offset: int) -> list[Breaking]:
    return [
        Breaking(
            each.position + offset,
            each.at,
            each.canary,
            each.violation,
            each.request + offset if each.request >= 0 else -1,
        )
        for each in broken
    ]
