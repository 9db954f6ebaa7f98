"""Sends plans as many users would: `python -m examples.evaluation_app.users --users 200 --rate 20`.

Arrivals are open-loop: a slow answer does not hold back the next user, as it would not in life.
"""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import math
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from . import plans

try:
    import httpx
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    sys.exit(f"the example needs {error.name}; install it with: pip install '.[examples]'")

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Tally", "arrivals", "is_finished", "is_loopback", "plan_for", "send", "status"]

USER_HEADER = "X-User-Id"
ARM_HEADER = "x-canario-arm"
STATUS_PATH = "/canario/status"

# The states of a rollout that nothing follows.
FINISHED = frozenset({"completed", "rolled_back", "aborted"})

_SECONDS_BETWEEN_REPORTS = 3.0
_TIMEOUT_SECONDS = 15.0
_NO_ARM = "-"


@dataclass
class Tally:
    """What came back so far, by arm."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, arm: str, seconds: float, *, ok: bool) -> None:
        """Count one answer of `arm`, or one that never came."""
        self.answers[arm] += 1
        self.errors[arm] += not ok
        self.milliseconds.setdefault(arm, []).append(1000 * seconds)

    def line(self) -> str:
        """One line of progress."""
        arms = ", ".join(f"{arm} {count}" for arm, count in sorted(self.answers.items()))
        return f"{self.answers.total()} answers, {self.errors.total()} errors ({arms or 'no arm'})"

    def table(self) -> str:
        """A row per arm and one for all."""
        rows = [f"{'arm':<12}{'requests':>10}{'errors':>8}{'p50 ms':>10}{'p95 ms':>10}"]
        rows.extend(
            _row(arm, self.answers[arm], self.errors[arm], self.milliseconds[arm])
            for arm in sorted(self.answers)
        )
        every = [value for values in self.milliseconds.values() for value in values]
        rows.append(_row("all", self.answers.total(), self.errors.total(), every))
        return "\n".join(rows)


def _row(arm: str, answers: int, errors: int, milliseconds: list[float]) -> str:
    p50, p95 = (_quantile(milliseconds, share) for share in (0.5, 0.95))
    return f"{arm:<12}{answers:>10}{errors:>8}{p50:>10.1f}{p95:>10.1f}"


def _quantile(values: Sequence[float], share: float) -> float:
    """The nearest-rank quantile; not a number when there are no values."""
    return sorted(values)[math.ceil(share * len(values)) - 1] if values else math.nan


def plan_for(user: int, visit: int) -> str:
    """What `user` sends on a visit: one of the plans, with a remark that no other visit has."""
    names = list(plans.TITLES)
    text = plans.load(names[user % len(names)])
    chapter = user % 9 + 2
    return f"{text}\nObservación ciudadana {user}-{visit}: se pide revisar el capítulo {chapter}.\n"


def arrivals(rate: float, seconds: float, users: int, seed: int) -> Iterator[tuple[float, int]]:
    """When each request is due and whose it is: a Poisson process, the same for the same seed."""
    drawn = random.Random(seed)
    due = drawn.expovariate(rate)
    while due < seconds:
        yield due, drawn.randrange(users)
        due += drawn.expovariate(rate)


def is_loopback(url: str) -> bool:
    """Whether `url` names this machine and no other."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


async def status(client: httpx.AsyncClient) -> dict[str, Any] | None:
    """What the app says of its rollout, or None where it says nothing."""
    try:
        response = await client.get(STATUS_PATH)
    except httpx.HTTPError:
        return None
    if response.status_code != 200:
        return None
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def is_finished(rollout: dict[str, Any] | None) -> bool:
    """Whether nothing more will happen in the rollout that `status` told of."""
    return rollout is not None and rollout.get("state") in FINISHED


async def send(client: httpx.AsyncClient, user: int, visit: int, tally: Tally) -> None:
    """One request of one user, counted in `tally`; whatever goes wrong is counted too."""
    started = time.perf_counter()
    arm, ok = _NO_ARM, False
    try:
        response = await client.post(
            "/evaluate",
            content=plan_for(user, visit).encode(),
            headers={USER_HEADER: f"user-{user}", "content-type": "text/plain; charset=utf-8"},
        )
        arm, ok = response.headers.get(ARM_HEADER, _NO_ARM), response.status_code == 200
    except httpx.HTTPError:
        pass
    tally.add(arm, time.perf_counter() - started, ok=ok)


async def _arrive(client: httpx.AsyncClient, options: argparse.Namespace, tally: Tally) -> None:
    """Start each request when it is due, then wait for those under way."""
    started = time.perf_counter()
    visits: Counter[int] = Counter()
    async with asyncio.TaskGroup() as requests:
        for due, user in arrivals(options.rate, options.seconds, options.users, options.seed):
            await asyncio.sleep(max(0.0, started + due - time.perf_counter()))
            requests.create_task(send(client, user, visits[user], tally))
            visits[user] += 1


async def _report(client: httpx.AsyncClient, tally: Tally, *, until_done: bool) -> None:
    """Print a line every few seconds; with `until_done`, return once the rollout is finished."""
    while True:
        await asyncio.sleep(_SECONDS_BETWEEN_REPORTS)
        rollout = await status(client) if until_done else None
        state = f"; rollout {rollout.get('state')}" if rollout is not None else ""
        print(tally.line() + state, flush=True)
        if is_finished(rollout):
            return


async def _run(options: argparse.Namespace, tally: Tally) -> None:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    async with httpx.AsyncClient(
        base_url=options.url, timeout=_TIMEOUT_SECONDS, limits=limits, trust_env=False
    ) as client:
        tasks = (
            asyncio.create_task(_arrive(client, options, tally)),
            asyncio.create_task(_report(client, tally, until_done=options.until_done)),
        )
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.evaluation_app.users")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--users", type=int, default=200, help="how many distinct users there are")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second, on average")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long new requests start")
    parser.add_argument("--seed", type=int, default=1, help="of the arrivals")
    parser.add_argument("--until-done", action="store_true", help="stop when the rollout is over")
    parser.add_argument("--allow-remote", action="store_true", help="also load another machine")
    options = parser.parse_args(arguments)
    if options.users < 1 or not 0 < options.rate < math.inf or not 0 < options.seconds < math.inf:
        parser.error("--users, --rate and --seconds must be positive")
    if not (options.allow_remote or is_loopback(options.url)):
        parser.error(f"{options.url} is another machine; --allow-remote if it is meant")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Send until the time is over, the rollout is done or Ctrl-C, and print the table."""
    options = _options(arguments)
    tally = Tally()
    try:
        asyncio.run(_run(options, tally))
    except KeyboardInterrupt:
        print("stopped", flush=True)
    print(tally.table(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
