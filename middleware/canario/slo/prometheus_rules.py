"""Prometheus rules from the objectives: recorded ratios, and alerts that need no app to be alive.

The burn-rate alerts are the multi-window, multi-burn-rate ones of the SRE workbook, chapter 5.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from canario.alerts import AlertType
from canario.alerts.runbook import look_at
from canario.plan import Objectives
from canario.yaml_text import dump_yaml

from .burn import BURN_WINDOWS, BurnWindows
from .promql import any_of, duration

__all__ = ["prometheus_rules", "prometheus_rules_yaml"]

Rule = dict[str, Any]

# Of n requests at least n - floor(0.95 n) are above the limit exactly when a share of 0.05 is; a
# ratio of two rates misses a number that binary fractions do not have, so a hair less is asked.
_P95_SHARE = "0.0499999999"

# A rate over less than this has too few scrapes in it.
_LEAST_WINDOW_SECONDS = 60

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


_WINDOWS = sorted(
    {seconds for burn in BURN_WINDOWS for seconds in (burn.long_seconds, burn.short_seconds)}
)


def prometheus_rules(
    objectives: Objectives,
    *,
    flows: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Prometheus rule file, as the document that its YAML holds.

    Args:
        objectives: Where the limits come from.
        flows: The flows that the rules are about; all of them when empty.
        labels: Put on every alert beside `severity`: a team, a service.

    A burn rate that the objective allows for ever gets no rule: at an availability of 90 % even
    an app that is down burns its budget no faster than 10 times. A ratio of fewer requests than
    `objectives.min_samples` fires nothing, as in the process itself.

    Raises:
        ValueError: For a label whose name Prometheus does not take, or that is set here.
    """
    for name in labels or {}:
        if not _LABEL.fullmatch(name) or name in _OWN_LABELS:
            raise ValueError(
                f"labels has {name!r}; a name has letters, digits and _, does not begin with a "
                f"digit, and is none of {', '.join(sorted(_OWN_LABELS))}"
            )
    made = _Rules(objectives, any_of("flow", flows), dict(labels or {}))
    # Rules of one group run in their order, so an alert compares the ratios of its own instant.
    # Groups run in no order: it would see those of the evaluation before, or none.
    slo = [*made.ratios(), *made.burn_rates(), *made.breaches()]
    return {
        "groups": [
            {"name": "canario_slo", "rules": slo},
            {"name": "canario_rollout", "rules": made.rollout()},
        ]
    }


def prometheus_rules_yaml(
    objectives: Objectives,
    *,
    flows: Sequence[str] = (),
    labels: Mapping[str, str] | None = None,
) -> str:
    """`prometheus_rules` as YAML. Raises `ModuleNotFoundError` where PyYAML is missing."""
    return dump_yaml([prometheus_rules(objectives, flows=flows, labels=labels)])


_OWN_LABELS = frozenset(
    {"alertname", "severity", "alert_type", "flow", "deployment_id", "long_window", "short_window"}
)


class _Rules:
    """The groups of one rule file."""

    def __init__(self, objectives: Objectives, matcher: str, labels: dict[str, str]) -> None:
        self.objectives = objectives
        self.matcher = matcher
        self.labels = labels
        self.window = duration(max(objectives.aggregation_window_seconds, _LEAST_WINDOW_SECONDS))

    def ratios(self) -> list[Rule]:
        """What the alerts compare, recorded once for all of them."""
        bad = [
            self._ratio("bad_requests", "requests", window) for window in map(duration, _WINDOWS)
        ]
        here = [
            ("bad_requests", "requests"),
            ("errors", "requests"),
            ("slow_requests", "timed_requests"),
        ]
        mine = [self._ratio(part, whole, self.window) for part, whole in here]
        ratios = [*bad, *(rule for rule in mine if rule not in bad)]
        return [*ratios, *self._counts()]

    def _counts(self) -> list[Rule]:
        """How many requests the ratios rest on, where they have to rest on more than one."""
        if not self._has_floor:
            return []
        long = [duration(burn.long_seconds) for burn in self._burns()]
        asked = [("requests", window) for window in (*long, self.window)]
        return [
            {"record": _counted(what, window), "expr": self._sum("increase", what, window)}
            for what, window in dict.fromkeys([*asked, ("timed_requests", self.window)])
        ]

    def burn_rates(self) -> list[Rule]:
        """Two windows for each burn rate: the long one is sure, the short one ends it soon."""
        rules = []
        for burn in self._burns():
            long, short = duration(burn.long_seconds), duration(burn.short_seconds)
            limit = self._burn_limit(burn)
            ratios = [_recorded("bad_requests", window) for window in (long, short)]
            rules.append(
                self._alert(
                    "CanarioErrorBudgetBurn",
                    AlertType.BURN_RATE,
                    str(burn.severity).lower(),
                    " and ".join(f"{ratio} > {limit:.12g}" for ratio in ratios)
                    + self._floor("requests", long),
                    f"{{{{ $labels.flow }}}} spends its error budget more than {burn.factor:g} "
                    f"times too fast: {{{{ $value | humanizePercentage }}}} of its requests were "
                    f"bad in {long}",
                    {"long_window": long, "short_window": short},
                )
            )
        return rules

    def breaches(self) -> list[Rule]:
        """The objectives themselves, over the aggregation window."""
        limits = self.objectives
        share = "{{ $value | humanizePercentage }}"
        seconds = "{{ $value | humanizeDuration }}"
        return [
            self._breach(
                "CanarioAvailabilityDegraded",
                AlertType.AVAILABILITY_DEGRADED,
                f"{_recorded('bad_requests', self.window)} "
                f"> {_times(1, _rest(limits.availability_percent)):.12g}"
                + self._floor("requests", self.window),
                f"{share} of its requests were bad; its availability is to be at least "
                f"{limits.availability_percent:g} %",
            ),
            self._breach(
                "CanarioLatencyExceeded",
                AlertType.LATENCY_EXCEEDED,
                f"{_recorded('slow_requests', self.window)} >= {_P95_SHARE}"
                + self._floor("timed_requests", self.window),
                f"{share} of its requests took longer than {limits.p95_latency_ms:g} ms; its p95 "
                "is to be at most that, so less than 5 % may",
            ),
            self._breach(
                "CanarioErrorRateExceeded",
                AlertType.ERROR_RATE_EXCEEDED,
                f"{_recorded('errors', self.window)} "
                f"> {_times(1, Decimal(str(limits.error_rate_percent))):.12g}"
                + self._floor("requests", self.window),
                f"{share} of its requests failed; at most {limits.error_rate_percent:g} % may",
            ),
            self._alert(
                "CanarioContractViolation",
                AlertType.CONTRACT_VIOLATION,
                "critical",
                self._new_violations(),
                "{{ $labels.flow }} broke a contract; none may be broken",
            ),
            self._breach(
                "CanarioPerformanceRegression",
                AlertType.PERFORMANCE_REGRESSION,
                f"max by (flow) (canario_slo_performance_regression_ratio{self.matcher}) "
                f"> {_times(1, Decimal(str(limits.performance_regression_percent))):.12g}",
                f"its p95 is {share} above its baseline; "
                f"{limits.performance_regression_percent:g} % may be",
            ),
            self._breach(
                "CanarioFaultRecovery",
                AlertType.FAULT_RECOVERY,
                f"max by (flow) (canario_slo_p99_recovery_seconds{self.matcher}) "
                f"> {limits.p99_recovery_time_ms / 1000:.12g}",
                f"its p99 of recovery is {seconds}; at most "
                f"{limits.p99_recovery_time_ms:g} ms may pass",
            ),
        ]

    def rollout(self) -> list[Rule]:
        """What a release came to, and canario's own health."""
        phase = 'canario_rollout_phase{canario_rollout_phase="rolled_back"}'
        faults = 'increase(canario_incidents_total{kind="faults"}[15m])'
        return [
            self._plain(
                "CanarioRolledBack",
                "critical",
                f"max by (deployment_id) ({phase}) == 1",
                "{{ $labels.deployment_id }} was rolled back",
                "`canario journal` on its journal tells why",
            ),
            self._plain(
                "CanarioFaults",
                "warning",
                f"sum by (deployment_id) ({faults}) > 0",
                "canario itself failed while it guarded {{ $labels.deployment_id }}; requests "
                "were served all the same",
                "The log of `canario` has each kind of fault once, with its traceback",
            ),
        ]

    def _ratio(self, part: str, whole: str, window: str) -> Rule:
        sums = [self._sum("rate", name, window) for name in (part, whole)]
        return {"record": _recorded(part, window), "expr": " / ".join(sums)}

    def _sum(self, function: str, name: str, window: str) -> str:
        return f"sum by (flow) ({function}(canario_slo_{name}_total{self.matcher}[{window}]))"

    @property
    def _has_floor(self) -> bool:
        return self.objectives.min_samples > 1  # a ratio has one request at least

    def _floor(self, what: str, window: str) -> str:
        """What an expression asks for beside its ratio: one bad request in a quiet hour pages
        nobody. A burn rate asks it of its long window, as the monitor does."""
        if not self._has_floor:
            return ""
        return f" and {_counted(what, window)} >= {self.objectives.min_samples}"

    def _burns(self) -> list[BurnWindows]:
        return [burn for burn in BURN_WINDOWS if self._burn_limit(burn) < 1]

    def _burn_limit(self, burn: BurnWindows) -> float:
        return _times(burn.factor, _rest(self.objectives.availability_percent))

    def _new_violations(self) -> str:
        """A counter that begins above zero has no increase yet: a new series counts too."""
        count = f"canario_slo_contract_violations_total{self.matcher}"
        window = self.window
        return (
            f"sum by (flow) (increase({count}[{window}])) > 0 "
            f"or sum by (flow) ({count} unless {count} offset {window}) > 0"
        )

    def _breach(self, name: str, kind: AlertType, expr: str, text: str) -> Rule:
        rule = self._alert(name, kind, _SEVERITIES[kind], expr, f"{{{{ $labels.flow }}}}: {text}")
        return {"alert": rule.pop("alert"), "expr": rule.pop("expr"), "for": "1m", **rule}

    def _alert(
        self,
        name: str,
        kind: AlertType,
        severity: str,
        expr: str,
        text: str,
        labels: Mapping[str, str] | None = None,
    ) -> Rule:
        steps = "\n".join(f"{n}. {step}" for n, step in enumerate(look_at(kind), start=1))
        rule = self._plain(name, severity, expr, text, steps)
        rule["labels"] |= {"alert_type": str(kind), **(labels or {})}
        return rule

    def _plain(self, name: str, severity: str, expr: str, text: str, steps: str) -> Rule:
        return {
            "alert": name,
            "expr": expr,
            "labels": {**self.labels, "severity": severity},
            "annotations": {"summary": text, "look_at": steps},
        }


_SEVERITIES: Mapping[AlertType, str] = {
    AlertType.AVAILABILITY_DEGRADED: "critical",
    AlertType.LATENCY_EXCEEDED: "warning",
    AlertType.ERROR_RATE_EXCEEDED: "critical",
    AlertType.PERFORMANCE_REGRESSION: "warning",
    AlertType.FAULT_RECOVERY: "critical",
}


def _recorded(part: str, window: str) -> str:
    return f"flow:canario_slo_{part}:ratio_rate{window}"


def _counted(what: str, window: str) -> str:
    return f"flow:canario_slo_{what}:increase{window}"


def _rest(percent: float) -> Decimal:
    return 100 - Decimal(str(percent))


def _times(factor: float, percent: Decimal) -> float:
    """A multiple of a percentage as a ratio, exact as it is written."""
    return float(Decimal(str(factor)) * percent / 100)
