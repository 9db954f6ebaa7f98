"""`canario journal` and `canario store`: what became of a release, from where it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from canario.cli.printing import EPILOG, complain, say, say_builtins

if TYPE_CHECKING:
    from canario.control.events import Event
    from canario.stores import SharedStore

__all__ = ["journal", "store"]

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program.")
_release = click.option("--release", help="Its deployment_id, where a store holds several.")


class _Kept(NamedTuple):
    """The events of a rollout, and what is known beside them."""

    events: Sequence[Event]
    truncated: bool = False
    watched: float | None = None
    pid: int | None = None


@click.command(epilog=EPILOG, short_help="Tell the story of a rollout from its journal.")
@click.argument("kept", metavar="FILE|STORE")
@_release
@_json
def journal(kept: str, *, release: str | None, as_json: bool) -> None:
    """Tell the story of the rollout whose journal is FILE, and where it stands.

    A STORE is an address such as sqlite:///release.db.
    """
    from canario.control.events import Started
    from canario.control.state import Phase, replay
    from canario.control.words import describe, seconds_in_words
    from canario.plan import Deployment

    read = _of_store(kept, release) if "://" in kept else _of_file(Path(kept))
    begun = next((event for event in read.events if isinstance(event, Started)), None)
    deployment = begun.deployment if begun else Deployment()
    try:
        state = replay(deployment, read.events)
    except ValueError as error:
        raise click.ClickException(f"{kept}: {error}") from error
    if as_json:
        say_builtins(
            {
                "state": state,
                "events": read.events,
                "truncated": read.truncated,
                "watched": read.watched,
                "pid": read.pid,
            }
        )
        return
    start = last = begun.at if begun else 0.0
    for event in read.events:
        # Another process may have had another date: its story goes on where the last one ended.
        start -= max(0.0, last - event.at)
        last = event.at
        say(f"{seconds_in_words(event.at - start):>10}  {describe(event, deployment)}")
    say()
    say(f"{state.phase}, {state.share:g} % of the keys go to the canary")
    if state.phase in (Phase.RUNNING, Phase.PAUSED) and read.watched is not None:
        hold = deployment.canary_stages[state.stage].hold_seconds
        stands = read.watched if state.paused_at is None else state.paused_at
        served = seconds_in_words(min(hold, hold - max(0.0, state.ends_at - stands)))
        by = "" if read.pid is None else f", last watched by process {read.pid}"
        say(f"{served} of the {seconds_in_words(hold)} of its stage are served{by}")


@click.group(epilog=EPILOG, short_help="Look into what the workers of a release share.")
def store() -> None:
    """Look into a store, where the workers of a release share its rollout."""


@store.command(epilog=EPILOG)
@click.argument("address", metavar="STORE")
@_json
def status(address: str, *, as_json: bool) -> None:
    """Say which releases STORE holds, where they stand, and which workers were heard."""
    from canario.control.words import seconds_in_words
    from canario.stores.shared import NOBODY

    opened = _opened(address)
    told: list[dict[str, Any]] = []
    for name in _asked(opened.releases, address):
        reading = _asked(lambda name=name: opened.read(name, NOBODY), address)
        fold = _folded(name, reading, address)
        now = max([fold.at or 0.0, *(worker.at for worker in reading.workers)])
        told.append(
            {
                "release": name,
                "phase": fold.rollout.state.phase,
                "stage": fold.rollout.state.stage,
                "share": fold.rollout.state.share,
                "entries": fold.head.number,
                "workers": [
                    {"worker": each.worker, "silent_seconds": round(now - each.at, 3)}
                    for each in sorted(reading.workers)
                ],
            }
        )
    if as_json:
        say_builtins(told)
        return
    if not told:
        say(f"{address} holds no release")
    for each in told:
        say(
            f"{each['release']}: {each['phase']} in stage {each['stage']}, {each['share']:g} % of "
            f"the keys go to the canary; {each['entries']:,} entries"
        )
        for worker in each["workers"]:
            silent = worker["silent_seconds"]
            say(
                f"  worker {worker['worker']}, heard "
                + ("last of all" if silent == 0 else f"{seconds_in_words(silent)} before the last")
            )


def _of_file(file: Path) -> _Kept:
    from canario.control.journal import JournalError, parse_journal

    try:
        read = parse_journal(file.read_bytes())
    except OSError as error:
        raise click.ClickException(f"{file}: cannot be read: {error.strerror}") from error
    except JournalError as error:
        raise click.ClickException(f"{file}: {error}") from error
    if read.truncated:
        complain(
            f"{file} ends in the middle of an event; the {len(read.events)} whole ones "
            f"are read, {len(read.truncated)} bytes are not"
        )
    return _Kept(read.events, bool(read.truncated), read.watched, read.pid)


def _of_store(address: str, release: str | None) -> _Kept:
    from canario.stores.shared import NOBODY

    opened = _opened(address)
    known = _asked(opened.releases, address)
    if release is None and len(known) == 1:
        (release,) = known
    if release not in known:
        there = ", ".join(known) or "none"
        asked = "it holds several" if release is None and known else f"{release!r} is not there"
        raise click.ClickException(
            f"{address}: which release? {asked}; give --release one of: {there}"
            if known
            else f"{address} holds no release"
        )
    assert release is not None
    reading = _asked(lambda: opened.read(release, NOBODY), address)
    fold = _folded(release, reading, address)
    heard = [worker.at for worker in reading.workers]
    return _Kept(tuple(fold.journal), watched=max([fold.at or 0.0, *heard]))


def _folded(release: str, reading: Any, address: str) -> Any:
    from canario.control.events import Started
    from canario.sharing.entry import FormatError, read_events
    from canario.sharing.fold import Fold, entries_of

    try:
        entries = entries_of(reading)
        past = [event for kept in reading.journal for event in read_events(kept)]
        told = [*past, *(event for entry in entries for event in entry.events)]
        begun = next(event for event in told if isinstance(event, Started))
        fold = Fold(begun.deployment)
        fold.begin(reading)
        for entry in entries:
            fold.take(entry)
    except (FormatError, StopIteration) as error:
        raise click.ClickException(
            f"{address}: {release}: {str(error) or 'it has no beginning'}"
        ) from error
    return fold


def _opened(address: str) -> SharedStore:
    from canario.stores import make_store

    scheme, _, path = address.partition(":///")
    if scheme == "sqlite" and not Path(path).exists():  # which would be made
        raise click.ClickException(f"{address}: there is no file {path}")
    try:
        return make_store(address)
    except ValueError as error:
        raise click.ClickException(str(error)) from error


def _asked(ask: Any, address: str) -> Any:
    from canario.stores import StoreError

    try:
        return ask()
    except StoreError as error:
        raise click.ClickException(f"{address}: {error}") from error
