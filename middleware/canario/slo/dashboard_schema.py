"""The JSON Schema of the dashboard's document."""

from __future__ import annotations

from typing import Any

from canario.alerts import AlertState, AlertType, Severity
from canario.control.events import RollbackReason
from canario.control.state import Phase
from canario.judges.verdict import VerdictKind

__all__ = ["SCHEMA_VERSION", "dashboard_schema"]

# Grows when a key changes its meaning or goes; a new key alone does not make a new version.
SCHEMA_VERSION = 1

Schema = dict[str, Any]

_INSTANT = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}$"


def dashboard_schema() -> Schema:
    """The JSON Schema (draft 2020-12) of what `generate_dashboard_data` gives.

    Documents may have further keys in later versions, so unknown ones are allowed.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "canario SLO dashboard",
        **_object(
            {
                "timestamp": _instant("When the document was made; UTC."),
                "overall": _overall(),
                "thresholds": _thresholds(),
                "flows": {
                    "type": "object",
                    "description": "Every flow by its name.",
                    "additionalProperties": _flow(),
                },
                "alerts": {
                    "type": "array",
                    "description": "The alerts that are firing.",
                    "items": _alert(),
                },
            },
            {
                "rollout": _rollout(),
                "schema_version": {"const": SCHEMA_VERSION},
                "generator": {"type": "string"},
            },
        ),
    }


def _overall() -> Schema:
    return _object(
        {
            "total_flows": _count("Flows that recorded something."),
            "flows_meeting_slo": _count("Flows that meet every objective."),
            "slo_compliance_percent": _maybe(
                _percent("Flows that meet, of those with data; null when none has any.")
            ),
            "active_alerts": _count("Length of `alerts`."),
        },
        {"flows_without_data": _count("Flows with nothing in the window.")},
    )


def _thresholds() -> Schema:
    return _object(
        {
            "availability_percent": _percent("Least availability."),
            "p95_latency_ms": _number("Greatest p95.", 0),
            "error_rate_percent": _percent("Greatest error rate."),
        },
        {
            "performance_regression_percent": _number("How far the p95 may be above baseline.", 0),
            "p99_recovery_time_ms": _number("Greatest p99 of the time to recover.", 0),
            "aggregation_window_seconds": _number("Length of the window that is judged.", 0),
        },
    )


def _flow() -> Schema:
    return _object(
        {
            "availability": _indicator("", "Percent that succeeded and kept their contract."),
            "p95_latency": _indicator("_ms", "95th percentile of the duration."),
            "error_rate": _indicator("_percent", "Percent that failed."),
            "overall_slo_met": _maybe({"type": "boolean"}),
        },
        {
            "samples": _count("Requests in the window."),
            "contract_violations": _count("Broken contracts in the window."),
            "performance_regression": _object(
                {
                    "value_percent": _maybe(
                        _number("How far the p95 is above baseline; null without a baseline.")
                    ),
                    "threshold_percent": _number("How far it may be.", 0),
                    "slo_met": _maybe({"type": "boolean"}),
                    "baseline": _maybe(_baseline()),
                }
            ),
            "fault_recovery": _object(
                {
                    "p99_ms": _maybe(_number("p99 of the time to recover in the window.", 0)),
                    "threshold_ms": _number("How long it may be.", 0),
                    "slo_met": _maybe({"type": "boolean"}),
                    "recoveries": _count("Recoveries in the window."),
                }
            ),
            "error_budget": _error_budget(),
            "burn_rates": {"type": "array", "items": _burn_rate()},
        },
    )


def _baseline() -> Schema:
    return _object(
        {
            "p95_latency_ms": _number("What the p95 is compared with.", 0),
            "samples": _count("Requests that it rests on."),
            "since": _instant("When it was taken; UTC."),
            "version": _maybe(_text("Version of the service that was measured.")),
        }
    )


def _error_budget() -> Schema:
    return _object(
        {
            "events": _count("Requests of the period, or since the start."),
            "bad": _count("Those that failed or broke their contract."),
            "allowed": _number("How many may be bad.", 0),
            "remaining_percent": _maybe(
                _number("What is left of what is allowed; below 0 when it is overspent.")
            ),
            "burn_rate": _maybe(_number("How many times too fast it is spent now.", 0)),
            "exhausted_in_seconds": _maybe(
                _number("When it is spent at this rate; null while it is not being spent.", 0)
            ),
            "period_seconds": _number("Length of the period.", 0),
        }
    )


def _burn_rate() -> Schema:
    return _object(
        {
            "name": _text("Names the rule, whatever its windows are scaled to."),
            "factor": _number("The rate above which it alerts.", 0),
            "long_seconds": _number("Length of the long window.", 0),
            "short_seconds": _number("Length of the short window.", 0),
            "severity": {"enum": [str(severity) for severity in Severity]},
            "rate": _maybe(_number("Burn rate over the long window.", 0)),
            "short_rate": _maybe(_number("Burn rate over the short window.", 0)),
            "breached": _maybe({"type": "boolean"}),
            "clear": {"type": "boolean", "description": "An alert may end."},
            "samples": _count("Requests of the long window."),
            "bad": _count("Those of them that were bad."),
        }
    )


def _indicator(unit: str, description: str) -> Schema:
    return {
        "description": f"{description} Gray stands for no data (the value is null) or too "
        "little of it; yellow for met with less than 5 % of the allowance left.",
        **_object(
            {
                f"value{unit}": _maybe({"type": "number"}),
                f"threshold{unit}": {"type": "number"},
                "slo_met": _maybe({"type": "boolean"}),
                "status_indicator": {"enum": ["green", "yellow", "red", "gray"]},
            }
        ),
    }


def _alert() -> Schema:
    return _object(
        {
            "id": _text("What `resolve_alert` and `acknowledge_alert` take."),
            "type": {"enum": [str(kind) for kind in AlertType]},
            "severity": {"enum": [str(severity) for severity in Severity]},
            "flow": _text("The flow that it is about."),
            "message": _text("What is wrong, in a sentence."),
            "observed": _maybe({"type": "number"}),
            "limit": {"type": "number"},
            "unit": _text("Of `observed` and `limit`."),
            "samples": _count("Requests that it was observed over."),
            "since": _instant("When it began to fire; UTC."),
            "trace_id": _maybe(_text("Of an example request.")),
            "look_at": {"type": "array", "items": {"type": "string"}},
            "state": {"enum": [str(state) for state in AlertState]},
            "acknowledged": {"type": "boolean"},
        },
        {
            "rule": _text("Tells rules of one type apart."),
            "acknowledged_by": _maybe({"type": "string"}),
            "silenced_until": _maybe(_instant("UTC.")),
        },
    )


def _rollout() -> Schema:
    arm = _object(
        {
            "requests": _count("Requests that say something about the service."),
            "errors": _count("Those that failed."),
            "slow": _count("Those above the latency limit of the rollout."),
            "contract_violations": _count("Broken contracts."),
        }
    )
    return _object(
        {
            "deployment_id": _text("The release."),
            "phase": {"enum": [str(phase) for phase in Phase]},
            "stage": _maybe(_text("The present stage; null before the first.")),
            "share_percent": _percent("Share of the keys that reach the canary."),
            "last_verdict": _maybe({"enum": [str(kind) for kind in VerdictKind]}),
            "rollback_reason": _maybe({"enum": [str(reason) for reason in RollbackReason]}),
            "last_event": _maybe(_text("The last entry of the journal, in words.")),
            "window": _object({"baseline": arm, "canary": arm}),
            "counters": {
                "type": "object",
                "description": "What is out of the ordinary: faults, requests without a key, ….",
                "additionalProperties": {"type": "integer", "minimum": 0},
            },
        }
    )


def _object(required: Schema, optional: Schema | None = None) -> Schema:
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def _number(description: str, least: float | None = None) -> Schema:
    made: Schema = {"type": "number", "description": description}
    return made if least is None else {**made, "minimum": least}


def _percent(description: str) -> Schema:
    return {**_number(description, 0), "maximum": 100}


def _count(description: str) -> Schema:
    return {"type": "integer", "minimum": 0, "description": description}


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


def _instant(description: str) -> Schema:
    return {"type": "string", "pattern": _INSTANT, "description": description}


def _maybe(schema: Schema) -> Schema:
    if "type" in schema and "enum" not in schema:
        return {**schema, "type": [schema["type"], "null"]}
    return {**schema, "enum": [*schema["enum"], None]}
