"""A rehearsal drawn in the terminal as it goes: its share, both arms, and what has happened."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from canario.control.rollout import ArmSnapshot, MetricsSnapshot
from canario.control.words import seconds_in_words
from canario_sim.console import Terminal
from canario_sim.scenario.scenario import Scenario
from canario_sim.world.carrier import Carrier
from canario_sim.world.driver import Driver

from .outcomes import VERDICTS
from .report import Moment
from .terminal import block, columns_of, moment_line, strip
from .timeline import deployment_of, moments

__all__ = ["Watch", "default_speed"]

_LINES = 10  # of what has happened, the latest
_FRAME = 1 / 20  # seconds between two drawings, at least
_LONGEST = 20.0  # seconds that a rollout without a hitch is watched
_SLOW_LIMIT = 5.0  # percent of the requests: the p95 rule


def default_speed(scenario: Scenario) -> float:
    """Rehearsed seconds for each second of watching."""
    return max(1.0, scenario.plan.deployment.hold_seconds / _LONGEST)


class Watch:
    """Is called with a driver at each of its steps, and shows it.

    In a terminal it `draws`, at a pace that eyes can follow; elsewhere it prints each line as it
    happens, at once unless a speed is given.

    Args:
        scenario: What is rehearsed.
        speed: Rehearsed seconds for each second; None for `default_speed` in a terminal, and for
            no waiting elsewhere.
        console: Where.
        clock: Seconds of the watcher's time.
        sleep: Waits so many of them.
    """

    def __init__(
        self,
        scenario: Scenario,
        speed: float | None,
        *,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._console = console or Terminal()
        self.draws = self._console.is_terminal
        self._speed = speed or (default_speed(scenario) if self.draws else None)
        self._scenario = scenario
        self._clock = clock
        self._sleep = sleep
        self._live: Live | None = None
        self._started = self._drawn = 0.0
        self._lines: list[Moment] = []
        self._told = self._noted = 0
        self.now = 0.0

    def __enter__(self) -> Self:
        self._started = self._clock()
        self._drawn = -_FRAME
        if self.draws:
            # What it has drawn goes when it is over: the timeline that stays tells the whole.
            self._live = Live(console=self._console, auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, driver: Driver[Carrier]) -> None:
        """Show the rollout as it is now, when the watcher's time has come."""
        self.now = driver.now
        if self._speed is not None:
            ahead = self.now / self._speed - (self._clock() - self._started)
            if ahead > 0:
                self._sleep(ahead)
        fresh = self._news(driver)
        self._lines += fresh
        if self._live is None:
            for line in fresh:
                self._console.print(moment_line(line))
            return
        over = driver.controller.state.phase.terminal
        if over or self._clock() - self._drawn >= _FRAME:
            self._drawn = self._clock()
            self._live.update(self._frame(driver), refresh=True)

    def _news(self, driver: Driver[Carrier]) -> tuple[Moment, ...]:
        """What has happened since the last call."""
        events, notes = driver.controller.events, driver.notes
        lines = moments(
            events[self._told :],
            notes[self._noted :],
            deployment=deployment_of(events),
            whole=True,
        )
        self._told, self._noted = len(events), len(notes)
        return lines

    def _frame(self, driver: Driver[Carrier]) -> Group:
        history = driver.controller.metrics_history
        limits = driver.controller.deployment.rollback_thresholds
        stage = driver.controller.deployment.canary_stages[driver.controller.state.stage]
        columns = max(10, min(self._console.width - 44, 100))
        rows = [
            Text.assemble(
                (self._scenario.name, "bold"),
                f"   {stage.name}   {seconds_in_words(round(driver.now))}   × {self._speed:g}",
            )
        ]
        if history:
            latest = history[-1]
            rows += [
                strip(history, columns, title="share        "),
                *_arms(history, "error rate", limits.max_error_rate, _error_rate, columns),
                *_arms(
                    history,
                    f"over {limits.max_p95_latency_ms:g} ms",
                    _SLOW_LIMIT,
                    _slow_share,
                    columns,
                ),
                Text.assemble("verdict      ", (latest.verdict, VERDICTS[latest.verdict])),
            ]
        rows.append(Text())
        rows += map(moment_line, self._lines[-_LINES:])
        for row in rows:
            row.truncate(self._console.width, overflow="ellipsis")
        return Group(*rows)


def _arms(
    history: Sequence[MetricsSnapshot],
    title: str,
    limit: float,
    rate: Callable[[ArmSnapshot], float | None],
    columns: int,
) -> list[Text]:
    """A line of blocks for each arm, a full one where the canary's limit is reached."""
    lines = []
    for arm in ("canary", "baseline"):
        line = Text(f"{title if arm == 'canary' else '':<13}")
        for part in columns_of(history, columns):
            known = [value for each in part if (value := rate(getattr(each, arm))) is not None]
            most = max(known, default=None)
            above = arm == "canary" and most is not None and most > limit
            style = "bad" if above else "wait" if arm == "canary" else "blue"
            line.append(" " if most is None else block(most, limit), style=style)
        now = rate(getattr(history[-1], arm))
        line.append(f"  {arm} " + ("no requests" if now is None else f"{now:.3g} %"))
        if arm == "canary":
            line.append(f", limit {limit:g} %", style="dim")
        lines.append(line)
    return lines


def _error_rate(arm: ArmSnapshot) -> float | None:
    return arm.error_rate


def _slow_share(arm: ArmSnapshot) -> float | None:
    return arm.slow_rate
