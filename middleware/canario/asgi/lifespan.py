"""Lifespan: two apps behind one server, and what is to be done at its end."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from canario.asgi_types import App, Message, Receive, Scope, Send
from canario.gate.gate import Gate
from canario.host.background import flush
from canario.host.interrupts import is_interrupt
from canario.host.logger import information
from canario.routing.router import Arm

from .ending import was_cancelled

__all__ = ["PairedLifespan", "flush_sinks", "give_state"]

logger = information(logging.getLogger("canario"))

# How long the end of a tape, and that of a journal, may take.
_TAPE_SECONDS = 5.0
_JOURNAL_SECONDS = 5.0

State = dict[str, Any]


async def flush_sinks(gate: Gate) -> None:
    """Have what waits for sinks sent, within the time that each of them has for it, and tape and
    journal on the disk. Another lifespan may follow: then all of them go on."""

    def last() -> None:
        flush()
        gate.controller.drain(_JOURNAL_SECONDS)
        if gate.tape is not None:
            gate.tape.close(_TAPE_SECONDS)

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        last()  # another loop than asyncio's; nothing else is to be done on it any more
    else:
        await loop.run_in_executor(None, last)


class PairedLifespan:
    """Runs the lifespans of two apps as one, the canary's inside the baseline's.

    The canary starts when the baseline says that it has started, and both are told to shut down
    in the reverse order. So they need no task of their own, work on any event loop, and a
    cancellation reaches both. When either fails to start, the server is told so, after the one
    that had started was shut down.

    An app that raises before it answers does not support the protocol; the other one is then
    served alone, and when neither supports it the baseline's exception is raised.
    """

    def __init__(
        self, baseline: App, canary: App, scope: Scope, receive: Receive, send: Send
    ) -> None:
        self._baseline = baseline
        self._canary = canary
        self._scope = scope
        # Two apps must not see each other's state, nor the `app` that a framework leaves here.
        self._canary_scope = dict(scope)
        if "state" in scope:
            self._canary_scope["state"] = scope["state"].copy()
        self._receive = receive
        self._send = send
        self._heard: list[Message] = []  # what the server has said so far
        self._read: dict[Arm, int] = {"baseline": 0, "canary": 0}
        self._answered: set[Arm] = set()
        self._failures: list[str] = []
        self._canary_error: BaseException | None = None
        self._announced = False  # the server knows that the start-up is complete
        self._concluded = False  # the server has had its last message

    @property
    def states(self) -> tuple[State, State] | None:
        """What the baseline and the canary keep for their requests; None if the server cannot."""
        if "state" not in self._scope:
            return None
        return self._scope["state"], self._canary_scope["state"]

    async def run(self) -> Any:
        """Serve both until the server shuts down; returns what the baseline returns."""
        try:
            returned = await self._baseline(self._scope, self._hear_baseline, self._tell_baseline)
        except BaseException as error:
            if _is_over(error):
                raise
            if "baseline" not in self._answered:
                return await self._run_canary_alone(error)
            if self._failures:
                await self._conclude()
            raise
        if "baseline" not in self._answered:
            return await self._run_canary_alone(None)
        if self._failures:
            await self._conclude()
        if self._canary_error is not None:
            raise self._canary_error
        return returned

    async def _run_canary_alone(self, unsupported: BaseException | None) -> Any:
        async def tell(message: Message) -> Any:
            self._answered.add("canary")
            return await self._send(message)

        try:
            returned = await self._canary(self._canary_scope, self._hear_canary, tell)
        except BaseException as error:
            if "canary" in self._answered or _is_over(error):
                raise
        else:
            if "canary" in self._answered:
                _say_unsupported("baseline", unsupported)
                return returned
        if unsupported is not None:
            raise unsupported
        return None

    async def _run_canary_within(self) -> None:
        try:
            await self._canary(self._canary_scope, self._hear_canary, self._tell_canary)
        except BaseException as error:
            if _is_over(error):
                raise
            # Kept, and not raised here: this is within the baseline, which has still to shut down.
            if "canary" in self._answered:
                self._canary_error = error
            else:
                _say_unsupported("canary", error)
        if self._announced:
            return
        if self._failures:
            self._heard.append({"type": "lifespan.shutdown"})  # for the baseline, which has started
        else:
            await self._announce({"type": "lifespan.startup.complete"})

    async def _hear_baseline(self) -> Message:
        return await self._hear("baseline")

    async def _hear_canary(self) -> Message:
        return await self._hear("canary")

    async def _hear(self, arm: Arm) -> Message:
        # The server says each thing once, and both are to hear it, whoever listens first.
        while self._read[arm] >= len(self._heard):
            self._heard.append(await self._receive())
        message = self._heard[self._read[arm]]
        self._read[arm] += 1
        return message

    async def _tell_baseline(self, message: Message) -> None:
        self._answered.add("baseline")
        match message["type"]:
            case "lifespan.startup.complete":
                await self._run_canary_within()
            case "lifespan.shutdown.complete":
                await self._conclude()
            case "lifespan.startup.failed" | "lifespan.shutdown.failed":
                self._failures.append(message.get("message", ""))
                await self._conclude()
            case _:
                await self._send(message)

    async def _tell_canary(self, message: Message) -> None:
        self._answered.add("canary")
        match message["type"]:
            case "lifespan.startup.complete":
                await self._announce(message)
            case "lifespan.shutdown.complete":
                pass  # the baseline has still to shut down
            case "lifespan.startup.failed" | "lifespan.shutdown.failed":
                self._failures.append(message.get("message", ""))
            case _:
                await self._send(message)

    async def _announce(self, message: Message) -> None:
        self._announced = True
        await self._send(message)

    async def _conclude(self) -> None:
        """Tell the server how it ended, once."""
        if self._concluded:
            return
        self._concluded = True
        if self._failures:
            # A baseline that is cancelled says that its start-up failed, which the server saw
            # succeed: it is still saying so as long as the canary runs within.
            phase = "shutdown" if self._announced else "startup"
            text = "\n".join(filter(None, self._failures))
            await self._send({"type": f"lifespan.{phase}.failed", "message": text})
        else:
            await self._send({"type": "lifespan.shutdown.complete"})


def _is_over(error: BaseException) -> bool:
    """Whether it is the server's doing, or the process's, and no app's."""
    if isinstance(error, Exception):
        return False
    return is_interrupt(error) or isinstance(error, GeneratorExit) or was_cancelled(error)


def _say_unsupported(arm: Arm, error: BaseException | None) -> None:
    logger.info("the %s does not support lifespan; the other app does", arm, exc_info=error)


def give_state(scope: Scope, baseline: State, canary: State) -> None:
    """Put the canary's lifespan state into a request's, in the place of the baseline's.

    What others have put there for this request stays.
    """
    state = scope.get("state")
    if state is None:
        return
    if state is baseline:  # a server that gives every request the same one
        state = scope["state"] = state.copy()
    missing = object()
    for key, value in list(baseline.items()):
        # The very object: what only equals it may be what somebody has put in its place.
        if state.get(key, missing) is value:
            del state[key]
    for key, value in list(canary.items()):
        state.setdefault(key, value)
