"""The sequential judge: evidence added up over the rollout, with a bound on false alarms."""

from __future__ import annotations

from math import exp, log

from canario.metrics.counts import NOTHING, Counts
from canario.plan import Deployment, Sequential

from .contracts import ContractRule
from .eprocess import METRICS, EProcess
from .promotion import at_least, log_e_good
from .verdict import Evidence, Trigger, Verdict, VerdictKind

__all__ = ["SequentialJudge"]

# An e-value that is infinite, or too large for a float, is told as this one.
_MOST = 700.0

_TRIGGERS = (Trigger.ERROR_RATE, Trigger.P95_LATENCY) * 2


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
        "_level",
        "_limits",
        "_lowest",
        "_process",
        "_promotion",
        "_seen",
        "_settings",
        "_since",
        "_slow_ms",
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
        self._promotion = settings.promotion_alpha
        self.needed = thresholds.min_samples
        self.begin()

    def begin(self) -> None:
        """Forget all evidence: the rollout starts, or starts again."""
        self._process.begin()
        self._seen = (NOTHING, NOTHING)
        # The evidence of each metric where it was lowest, and what had been seen by then: what
        # came later is what speaks against the canary.
        self._lowest = [0.0] * len(METRICS)
        self._since = [self._seen] * len(METRICS)

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
        if verdict.kind is not VerdictKind.HEALTHY or self._promotion is None:
            return verdict
        return self._proven(evidence, verdict, -log(self._promotion))

    def _judge(self, evidence: Evidence, broken: Verdict | None) -> Verdict:
        """The verdict, given that on contracts, which comes first."""
        self._take_in(evidence)
        if broken is not None:
            return broken
        if self._process.log_e >= self._level:
            return self._unhealthy(evidence)
        stage = evidence.stage
        if min(stage.requests, stage.timed) < self.needed:
            return self._insufficient(stage)
        return self._healthy(evidence)

    def _take_in(self, evidence: Evidence) -> None:
        canary, baseline = self._seen
        self._seen = (evidence.total, evidence.baseline_total)
        self._process.step(
            evidence.total - canary, evidence.baseline_total - baseline, evidence.number
        )
        for metric, log_e in enumerate(self._process.metrics):
            if log_e < self._lowest[metric]:
                self._lowest[metric] = log_e
                self._since[metric] = self._seen

    def _unhealthy(self, evidence: Evidence) -> Verdict:
        shares = self._process.shares()
        metric = shares.index(max(shares))
        canary, baseline = (
            now - then for now, then in zip(self._seen, self._since[metric], strict=True)
        )
        return self._verdict(
            VerdictKind.UNHEALTHY,
            samples=evidence.total.requests,
            needed=0,
            why=self._against(metric, canary, baseline),
            trigger=_TRIGGERS[metric],
        )

    def _insufficient(self, stage: Counts) -> Verdict:
        have = min(stage.requests, stage.timed)
        what = "requests" if stage.requests <= stage.timed else "timed requests"
        return self._verdict(
            VerdictKind.INSUFFICIENT,
            samples=have,
            needed=self.needed,
            why=f"{have} of the {self.needed} {what} that a stage takes, {self._standing()}",
        )

    def _healthy(self, evidence: Evidence) -> Verdict:
        stage = evidence.stage
        within = self._contracts.within(evidence.broken_in_stage, stage.requests)
        return self._verdict(
            VerdictKind.HEALTHY,
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
            samples=n,
            needed=needed,
            why=f"inconclusive: {bad} of {n} requests of the stage {what}, which does not prove "
            f"less than {limit:g} % (evidence {have} of {_number(level)}); it takes at least "
            f"{needed}",
        )

    def _against(self, metric: int, canary: Counts, baseline: Counts) -> str:
        """What speaks against the canary, in words."""
        slow = metric % 2
        did = f"took longer than {self._slow_ms:g} ms" if slow else "failed"
        bad, n = (canary.slow, canary.timed) if slow else (canary.errors, canary.requests)
        said = f"evidence {_number(self._process.log_e)} of {_number(self._level)}: {bad} of {n} "
        said += f"requests {did}{_percent(bad, n)}"
        if metric < 2:
            return f"{said}; at most {self._limits[slow]:g} % may"
        bad, n = (baseline.slow, baseline.timed) if slow else (baseline.errors, baseline.requests)
        return (
            f"{said}, of the baseline's {bad} of {n}{_percent(bad, n)}; at most "
            f"{self._settings.tolerated_ratio:g} times its share may"
        )

    def _standing(self) -> str:
        return f"evidence against it {_number(self._process.log_e)} of {_number(self._level)}"

    def _verdict(
        self,
        kind: VerdictKind,
        *,
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
            why=why,
        )


def _number(log_e: float) -> str:
    return f"{exp(min(log_e, _MOST)):.3g}"


def _percent(bad: int, n: int) -> str:
    return f" ({100 * bad / n:.3g} %)" if n else ""
