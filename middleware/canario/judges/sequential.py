"""The sequential judge: evidence added up over the rollout, with a bound on false alarms."""

from __future__ import annotations

from math import exp, log
from operator import itemgetter

from msgspec import Struct, convert

from canario.metrics.counts import NOTHING, Counts
from canario.metrics.in_flight import NONE_IN_FLIGHT, InFlight
from canario.plan import Deployment, Sequential

from .alternatives import Odds
from .budgets import ContractRule
from .eprocess import METRICS, EProcess, EProcessMemory, Increment
from .promotion import at_least, log_e_good
from .verdict import Evidence, Trigger, Verdict, VerdictKind
from .waiting import silence, waiting_words

__all__ = ["SequentialJudge"]

# An e-value that is infinite, or too large for a float, is told as e to this power: e^710 is too
# large, and JSON, in which journals are kept, has no infinity.
_MOST = 700.0

_Events = tuple[int, int]  # bad ones, and all

# By place in `METRICS`: at even ones are errors, at odd ones slow requests; the first two compare
# with a limit, the others with the baseline.
_TRIGGERS = (Trigger.ERROR_RATE, Trigger.P95_LATENCY) * 2


class SequentialMemory(Struct, frozen=True, array_like=True):
    """All that the judge remembers of earlier checks, to the bit."""

    process: EProcessMemory
    seen: tuple[Counts, Counts]
    in_flight: tuple[InFlight, InFlight]
    lowest: list[float]
    since: list[tuple[Counts, Counts]]
    starts: dict[int, tuple[Counts, Counts]]


class SequentialJudge:
    """Rolls back when the evidence against the canary has reached 1/α, see `eprocess`.

    Whatever the traffic and however often it checks: a canary whose requests fail, or are slow,
    independently of each other and within the limits is rolled back with probability α at most,
    over the whole rollout; with `bin_seconds` bins, and not requests, must be independent.
    Contracts are judged as by the thresholds.

    It remembers what it has seen, and takes in what has come since with each check.
    """

    __slots__ = (
        "_contracts",
        "_in_flight",
        "_level",
        "_limits",
        "_lowest",
        "_process",
        "_promotion",
        "_seen",
        "_settings",
        "_since",
        "_slow_ms",
        "_stages",
        "_starts",
        "needed",
    )

    def __init__(self, deployment: Deployment, settings: Sequential) -> None:
        thresholds = deployment.rollback_thresholds
        errors = settings.max_error_rate
        self._settings = settings
        self._contracts = ContractRule(thresholds)
        self._process = EProcess(deployment, settings)
        self._level = -log(settings.alpha)
        self._limits = (
            thresholds.max_error_rate if errors is None else errors,
            settings.max_slow_share,
        )
        self._slow_ms = thresholds.max_p95_latency_ms
        self._stages = [stage.name for stage in deployment.canary_stages]
        self._promotion = settings.promotion_alpha
        self.needed = thresholds.min_samples
        self.begin()

    def begin(self) -> None:
        """Forget all evidence: the rollout starts, or starts again."""
        self._process.begin()
        self._seen = (NOTHING, NOTHING)
        self._in_flight = (NONE_IN_FLIGHT, NONE_IN_FLIGHT)
        # The evidence of each metric where it was lowest, and what had been seen by then: what
        # came later is what speaks against the canary.
        self._lowest = [0.0] * len(METRICS)
        self._since = [self._seen] * len(METRICS)
        self._starts: dict[int, tuple[Counts, Counts]] = {}  # what had been seen, by stage

    def memory(self) -> SequentialMemory:
        """See `RememberingJudge`."""
        return SequentialMemory(
            self._process.memory(),
            self._seen,
            self._in_flight,
            self._lowest,
            self._since,
            self._starts,
        )

    def recall(self, memory: object) -> None:
        """See `RememberingJudge`. Raises `msgspec.ValidationError` for what is no memory of it."""
        its = convert(memory, SequentialMemory)
        self._process.recall(its.process)
        self._seen, self._in_flight = its.seen, its.in_flight
        self._lowest, self._since = list(its.lowest), list(its.since)
        self._starts = dict(its.starts)

    def broken(self, evidence: Evidence) -> Verdict | None:
        """Judge the contracts alone: what else is wrong waits for the next check."""
        return self._contracts.judge(evidence.window, evidence.broken)

    def check(self, evidence: Evidence) -> Verdict:
        """Take in what has come since the last check, and judge."""
        return self._judge(evidence, self.broken(evidence))

    def end_of_stage(self, evidence: Evidence) -> Verdict:
        """Judge what ends a stage: no evidence against it, and enough requests of its own.

        Where the window is too short for the budgets of contracts the whole stage is judged by
        them, as by the thresholds. With a `promotion_alpha` there must be evidence for the stage
        as well; with too little of that the verdict is that nothing can be said yet.
        """
        broken = self.broken(evidence)
        window = evidence.window
        if broken is None and min(window.requests, window.timed) < self.needed:
            broken = self._contracts.judge(evidence.stage, evidence.broken_in_stage)
        verdict = self._judge(evidence, broken)
        if verdict.kind is not VerdictKind.HEALTHY:
            return verdict
        silent = silence(evidence, self.needed)
        if silent is not None:
            return silent
        if self._promotion is None:
            return verdict
        return self._proven(evidence, verdict, -log(self._promotion))

    def _judge(self, evidence: Evidence, broken: Verdict | None) -> Verdict:
        """The verdict, given that on contracts, which comes first."""
        self._take_in(evidence)  # whatever is said: the next check begins where this one ended
        if broken is not None:
            return broken
        if self._process.log_e >= self._level:
            return self._unhealthy(evidence)
        # A socket that stands has been answered: that is a sample as good as any.
        stage, standing = evidence.stage, evidence.in_flight.standing_in_stage
        if min(stage.requests, stage.timed) + standing < self.needed:
            return self._insufficient(evidence)
        return self._healthy(evidence)

    def _take_in(self, evidence: Evidence) -> None:
        before, flew = self._seen, self._in_flight
        self._starts.setdefault(evidence.number, before)
        self._seen = (evidence.total, evidence.baseline_total)
        self._in_flight = (evidence.in_flight, evidence.baseline_in_flight)
        canary, baseline = (now - then for now, then in zip(self._seen, before, strict=True))
        arrived, baseline_arrived = (
            # Who left, or was answered with a 4xx, has arrived as well.
            came.requests + came.neutral + now.all - then.all
            for came, now, then in zip((canary, baseline), self._in_flight, flew, strict=True)
        )
        self._process.step(
            Increment(
                canary,
                baseline,
                evidence.number,
                evidence.in_flight,
                arrived,
                baseline_arrived,
            )
        )
        for metric, log_e in enumerate(self._process.metrics):
            if log_e < self._lowest[metric]:
                self._lowest[metric] = log_e
                self._since[metric] = self._judged()

    def _unhealthy(self, evidence: Evidence) -> Verdict:
        shares = self._process.shares()
        metric = shares.index(max(shares))
        return self._verdict(
            VerdictKind.UNHEALTHY,
            evidence=evidence,
            samples=evidence.total.requests,
            needed=0,
            why=self._against(metric, evidence.in_flight)
            if metric < 2
            else self._against_baseline(metric),
            trigger=_TRIGGERS[metric],
        )

    def _insufficient(self, evidence: Evidence) -> Verdict:
        stage = evidence.stage
        have = min(stage.requests, stage.timed) + evidence.in_flight.standing_in_stage
        what = "requests" if stage.requests <= stage.timed else "timed requests"
        return self._verdict(
            VerdictKind.INSUFFICIENT,
            evidence=evidence,
            samples=have,
            needed=self.needed,
            why=f"{have} of the {self.needed} {what} that a stage takes, {self._standing()}",
        )

    def _healthy(self, evidence: Evidence) -> Verdict:
        stage = evidence.stage
        within = self._contracts.within(evidence.broken_in_stage, stage.requests)
        return self._verdict(
            VerdictKind.HEALTHY,
            evidence=evidence,
            samples=stage.requests,
            needed=self.needed,
            why=f"{stage.errors} of {stage.requests} requests of the stage failed, {stage.slow} "
            f"of {stage.timed} were slow{within}, {self._standing()}",
        )

    def _proven(self, evidence: Evidence, verdict: Verdict, level: float) -> Verdict:
        """The verdict, or that the stage has not proven to be within the limits."""
        stage = evidence.stage
        errors, slow = self._limits
        asked = [
            (stage.errors, stage.requests, "failed", errors),
            (stage.slow, stage.timed, "were slow", slow),
        ]
        lacking = [
            (at_least(bad, n, limit / 100, level), bad, n, what, limit)
            for bad, n, what, limit in asked
            if log_e_good(bad, n, limit / 100) < level
        ]
        if not lacking:
            return verdict
        needed, bad, n, what, limit = max(lacking)
        have = _number(log_e_good(bad, n, limit / 100))
        return self._verdict(
            VerdictKind.INSUFFICIENT,
            evidence=evidence,
            samples=n,
            needed=needed,
            why=f"inconclusive: {bad} of {n} requests of the stage {what}, which does not prove "
            f"less than {limit:g} % (evidence {have} of {_number(level)}); it takes at least "
            f"{needed}",
        )

    def _against(self, metric: int, waiting: InFlight) -> str:
        """What speaks against the canary by itself, in words; what is overdue is slow already."""
        bad, n = _events(metric, self._judged()[0] - self._since[metric][0])
        if metric:
            bad, n = bad + waiting.slow, n + waiting.timed
        said = self._said(metric, bad, n)
        return f"{self._reached()}: {said}; at most {self._limits[metric]:g} % may"

    def _against_baseline(self, metric: int) -> str:
        """What speaks against the canary beside the baseline, in words.

        They are compared check by check, and that is why the counts told are those of one stage:
        within it either arm has its part of every hour, so the shares of the sums compare alike.
        Over several, the arm that got its requests in the worse hour would look the worse for it.
        """
        stages = self._by_stage(metric)
        number = max(stages, key=lambda stage: self._speaks(*stages[stage]))
        where = f", above all of stage {self._stages[number]}" if len(stages) > 1 else ""
        (bad, n), (theirs, of) = stages[number]
        return (
            f"{self._reached()}{where}: {self._said(metric, bad, n)}, of the baseline's {theirs} "
            f"of {of}{_percent(theirs, of)}; at most {self._settings.tolerated_ratio:g} times its "
            "share may"
        )

    def _by_stage(self, metric: int) -> dict[int, tuple[_Events, _Events]]:
        """Both arms' events since the evidence was lowest, of each stage that had any."""
        stages, ends = {}, [*self._starts.values(), self._judged()][1:]
        for (number, start), end in zip(self._starts.items(), ends, strict=True):
            canary, baseline = (
                _beyond(_events(metric, to), _events(metric, since), _events(metric, begun))
                for to, since, begun in zip(end, self._since[metric], start, strict=True)
            )
            if canary[1] or baseline[1]:
                stages[number] = (canary, baseline)
        return stages

    def _speaks(self, canary: _Events, baseline: _Events) -> float:
        """How loudly a stage speaks against the canary: log of its best alternative's factor."""
        (bad, n), (theirs, of) = canary, baseline
        weighted = self._settings.tolerated_ratio * n
        if not of:
            return 0.0
        return max(Odds().log_factors(bad, bad + theirs, weighted / (weighted + of)))

    def _judged(self) -> tuple[Counts, Counts]:
        """What both arms did up to the last check that has been taken in."""
        canary, baseline = self._process.waiting
        return self._seen[0] - canary, self._seen[1] - baseline

    def _reached(self) -> str:
        return f"evidence {_number(self._process.log_e)} of {_number(self._level)}"

    def _said(self, metric: int, bad: int, n: int) -> str:
        did = f"took longer than {self._slow_ms:g} ms" if metric % 2 else "failed"
        return f"{bad} of {n} requests {did}{_percent(bad, n)}"

    def _standing(self) -> str:
        return f"evidence against it {_number(self._process.log_e)} of {_number(self._level)}"

    def _verdict(
        self,
        kind: VerdictKind,
        *,
        evidence: Evidence,
        samples: int,
        needed: int,
        why: str,
        trigger: Trigger | None = None,
    ) -> Verdict:
        return Verdict(
            kind=kind,
            trigger=trigger,
            observed=exp(min(self._process.log_e, _MOST)),
            limit=1 / self._settings.alpha,
            samples=samples,
            needed=needed,
            why=why + waiting_words(evidence.stage, evidence.in_flight),
            in_flight=evidence.in_flight.requests,
            overdue=evidence.in_flight.overdue,
            abandoned=evidence.stage.abandoned,
        )


def _events(metric: int, counts: Counts) -> _Events:
    """How many were bad of how many, by the metric's own measure."""
    return (counts.slow, counts.timed) if metric % 2 else (counts.errors, counts.requests)


def _beyond(end: _Events, since: _Events, start: _Events) -> _Events:
    """What came up to `end`, from whichever is the later of two beginnings."""
    begun = max(since, start, key=itemgetter(1))  # totals only grow, so the later one has more
    # A stage that was over before the evidence was lowest has brought nothing since.
    return max(end[0] - begun[0], 0), max(end[1] - begun[1], 0)


def _number(log_e: float) -> str:
    return f"{exp(min(log_e, _MOST)):.3g}"


def _percent(bad: int, n: int) -> str:
    return f" ({100 * bad / n:.3g} %)" if n else ""
