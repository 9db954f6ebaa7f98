"""A world in which requests act on each other, from one instant to the next."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import numpy as np

from canario.arms import ARMS
from canario.metrics.in_flight import Seen
from canario_sim.chance.buckets import Buckets
from canario_sim.chance.requests import Ahead, Fates, Requests
from canario_sim.scenario.scenario import Settled
from canario_sim.streams import Flags
from canario_sim.world import jit
from canario_sim.world.flights import CANARY, GIVEN_UP, Flights
from canario_sim.world.unfinished import Patience, of_arm

from . import steps
from .attempts import Attempts, Signal
from .call_draws import CallDraws, codes
from .columns import Columns, Queue, Rules, State
from .first_state import first_state, grown, rules_of

__all__ = ["COMPILED_AFTER", "MADE_AFTER", "Loop", "Retries"]

# A process that has carried so many attempts interpreted loads the compiled steps: it has taken
# about as long as that will take. So it goes by what is behind it, and wastes about as much again
# at most, whatever is to come.
COMPILED_AFTER = 20_000

# Where no process of this installation has compiled them yet: that takes a quarter of a minute.
MADE_AFTER = 500_000

# Gives retries their fates: `Requests` whose own are void, in order of arrival.
Retries = Callable[[Requests], tuple[Fates, Fates]]


class Loop:
    """What there is at an instant of a scenario, and what comes of it.

    Args:
        scenario: Its clients, servers and dependencies.
        seed: Of back-off, calls and pauses.
        ahead: The requests.
        retries: Gives retries their fates.
        buckets: Those of the requests.
        patience: How long requests are waited for.
        compiled: Whether to run compiled from the start (True) or never (False).
    """

    def __init__(
        self,
        scenario: Settled,
        seed: int,
        ahead: Ahead,
        retries: Retries,
        buckets: Buckets,
        patience: Patience,
        *,
        compiled: bool | None = None,
    ) -> None:
        self._ahead = ahead
        self._retries = retries
        self._buckets = buckets
        self._compiled = compiled
        self._steps: Any = steps
        # Interpreted at first: most rehearsals end before loading compiled code would pay.
        self._columns = Columns(False)
        self._rules = rules_of(scenario, seed, patience, self._columns)
        self._state = first_state(scenario, seed, self._rules, len(buckets), self._columns)
        self._draws = CallDraws(scenario, seed)
        self._queue = self._draws.queue(ahead.requests[:0], buckets, self._columns)
        self.signals: list[Signal] = []
        if compiled:
            self._compile()

    def count(self, what: int) -> int:
        """One of the numbers of `steps`: FIRST, RETRIES and so on."""
        return int(self._state.n[what])

    @property
    def exposed(self) -> Flags:
        """For each key, whether it has reached the canary."""
        return np.array(self._state.exposed, np.bool_)

    def advance(self, until: float, weight: int) -> tuple[Attempts, int | None]:
        """Let happen what happens before `until`, or up to the canary's next broken contract.

        Args:
            until: What happens at this instant is still to come.
            weight: Buckets below it go to the canary.

        Returns:
            What has ended; and which of it, if any, is a response of the canary that breaks its
            contract. What stands behind that has ended at the same instant.
        """
        parts: list[Attempts] = []
        if self._compiled is None and not self._columns.compiled and _pays():
            self._compile()
        while True:
            why = self._steps.advance(self._state, self._rules, self._queue, until, weight)
            if why == steps.MORE:
                self._load(until)
            elif why == steps.FATES:
                self._give_fates()
            elif why == steps.GROW:
                self._state = grown(self._state, self._rules, self._columns)
            else:
                before = sum(map(len, parts))
                parts.append(self._taken())
                if why == steps.BROKE:
                    place = before + int(self._state.n[steps.BREACH]) - 1
                    self._state.n[steps.BREACH] = 0
                    return Attempts.joined(parts), place
                if why == steps.REACHED:
                    return Attempts.joined(parts), None

    def look(self, at: float, *, settle: bool) -> Seen:
        """See `canario.control.open_requests.Flights`."""
        s, r = self._state, self._rules
        self._steps.look(
            s.n, s.jobs, s.times, s.answered, s.seen, r.patience, r.row, r.limit_ms, at, settle
        )
        seen = list(map(int, s.seen))
        return Seen(of_arm(*seen[: steps.LOOK]), of_arm(*seen[steps.LOOK :]))

    def under_way(self) -> Attempts:
        """Attempts that have arrived and are not over, in no order; they are done at inf."""
        state, row = self._state, self._rules.row
        jobs = np.array(state.jobs, np.int64).reshape(-1, row)
        free = np.array(state.free[: state.n[steps.FREE]], np.int64) // row
        there = (jobs[:, steps.J_WHOSE] == steps.CLIENT) & (jobs[:, steps.J_NUMBER] > 0)
        there &= jobs[:, steps.J_FLAGS] & steps.OVER == 0
        # A place that is free holds the job that was last there.
        there[free] = False
        mine = jobs[there]
        code = CANARY * mine[:, steps.J_ARM] + (mine[:, steps.J_FLAGS] & GIVEN_UP)
        return Attempts(
            Flights(
                np.array(state.times, np.float64).reshape(-1, row)[there, steps.J_AT],
                np.full(len(mine), inf),
                code.astype(np.uint16),
                mine[:, steps.J_ROUTE].astype(np.uint16),
            ),
            np.zeros(len(mine), np.bool_),
            mine[:, steps.J_KEY],
            mine[:, steps.J_NUMBER],
        )

    def _load(self, until: float) -> None:
        """Read requests, at least to `until`."""
        self._ahead.reach(until)
        requests = self._ahead.requests
        if not len(requests):
            self._state.n[steps.ENDED] = 1
        self._queue = self._draws.queue(requests, self._buckets, self._columns)
        self._state.n[steps.NEXT] = 0
        self._ahead.forget(len(requests))

    def _compile(self) -> None:
        """From now on compiled, where numba is installed."""
        made = jit.compiled(steps)
        if made is None:
            return
        self._steps, self._columns = made, Columns(True)
        self._rules = self._columns.all_of(Rules, self._rules._asdict())
        self._state = self._columns.all_of(State, self._state._asdict())
        self._queue = self._columns.all_of(Queue, self._queue._asdict())

    def _give_fates(self) -> None:
        """To the retries that are on their way: in order of arrival, each by the next draws."""
        state, n = self._state, self._state.n
        # Of one instant they arrive in the order in which they were made, as `fresh` has them: a
        # job's place says which memory was free.
        jobs = sorted(state.fresh[: n[steps.FRESH]], key=lambda job: state.times[job + steps.J_AT])
        n[steps.FRESH] = 0
        numbers = np.array(
            [state.jobs[job + steps.J_KEY : job + steps.J_FATE] for job in jobs], np.int64
        )
        key, _, route, payload, session = numbers.T
        void = np.zeros(len(jobs))
        nothing = Fates(void, void.astype(np.bool_), void.astype(np.uint8))
        requests = Requests(
            np.array([state.times[job + steps.J_AT] for job in jobs]),
            key,
            nothing,
            nothing,
            route.astype(np.uint16),
            payload.astype(np.uint8),
            session,
        )
        fates = self._retries(requests)
        fates_codes = np.stack([codes(each) for each in fates], 1).tolist()
        draws = self._draws.fates_and_calls(fates, again=True).tolist()
        for job, code, drawn in zip(jobs, fates_codes, draws, strict=True):
            state.jobs[job + steps.J_FLAGS] |= steps.FATED
            for arm in range(len(ARMS)):
                state.jobs[job + steps.J_FATE + arm] = code[arm]
            for place, value in enumerate(drawn, start=job + steps.J_DRAWS):
                state.times[place] = value

    def _taken(self) -> Attempts:
        """What was told, and is no longer kept."""
        global _carried
        state = self._state
        number, signals = int(state.n[steps.TOLD]), int(state.n[steps.SIGNALS])
        state.n[steps.TOLD] = state.n[steps.SIGNALS] = 0
        _carried += number
        told = np.array(state.told[: steps.TELLING * number], np.int64).reshape(-1, steps.TELLING)
        times = np.array(state.told_times[: steps.TELLING * number], np.float64)
        times = times.reshape(-1, steps.TELLING)
        for place in range(0, steps.SIGNAL * signals, steps.SIGNAL):
            at, kind, of, value = map(float, state.signals[place : place + steps.SIGNAL])
            scaled = kind == steps.SCALED
            arm, dependency = (int(of), -1) if scaled else (int(of) % 2, int(of) // 2)
            self.signals.append(Signal(at, int(kind), arm, dependency, value))
        code = told[:, steps.T_CODE]
        return Attempts(
            Flights(
                # Copies, or one column would keep the whole table.
                times[:, steps.T_AT].copy(),
                times[:, steps.T_DONE].copy(),
                (code & ~steps.NEUTRAL).astype(np.uint16),
                told[:, steps.T_ROUTE].astype(np.uint16),
            ),
            code & steps.NEUTRAL > 0,
            told[:, steps.T_KEY].copy(),
            told[:, steps.T_NUMBER].copy(),
        )


_carried = 0


def _pays() -> bool:
    """Whether to go on with the compiled steps."""
    if _carried <= COMPILED_AFTER or not jit.installed():
        return False
    return _carried > MADE_AFTER or jit.kept(steps)
