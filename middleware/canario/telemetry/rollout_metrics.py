"""The metrics of canario itself and of a rollout."""

from __future__ import annotations

from .metric import metric

__all__ = ["EVENTS", "INCIDENTS", "ROLLOUT_METRICS"]

# Counted by a controller when they happen, shown from the start: a rate needs its zero.
INCIDENTS = (
    "contract_not_checked",
    "faults",
    "force_refused",
    "forced",
    "journal_failed",
    "no_key",
    "refused_key",
    "sink_dropped",
    "tape_dropped",
)

# The kinds of events in a journal.
EVENTS = (
    "aborted",
    "checked",
    "held",
    "paused",
    "promoted",
    "restarted",
    "resumed",
    "unwatched",
    "rolled_back",
    "stage_entered",
    "started",
)

ROLLOUT_METRICS = (
    metric(
        "canario_build_info",
        "gauge",
        "1",
        "version",
        "Always 1; the label tells the version of canario.",
        "canario.build",
    ),
    metric(
        "canario_requests_total",
        "counter",
        "{request}",
        "deployment_id arm outcome",
        "Requests by arm and outcome: good, error, or neutral, which takes part in no ratio.",
        "canario.requests",
    ),
    metric(
        "canario_slow_requests_total",
        "counter",
        "{request}",
        "deployment_id arm",
        "Requests that took longer than the latency limit of the rollout.",
        "canario.requests.slow",
    ),
    metric(
        "canario_abandoned_requests_total",
        "counter",
        "{request}",
        "deployment_id arm",
        "Requests that nobody answered in time; they are errors, too.",
        "canario.requests.abandoned",
    ),
    metric(
        "canario_requests_in_flight",
        "gauge",
        "{request}",
        "deployment_id arm",
        "Requests that have not been answered.",
        "canario.requests.in_flight",
    ),
    metric(
        "canario_requests_overdue",
        "gauge",
        "{request}",
        "deployment_id arm",
        "Those of them that have waited for longer than the latency limit.",
        "canario.requests.overdue",
    ),
    metric(
        "canario_contract_violations_total",
        "counter",
        "{violation}",
        "deployment_id arm",
        "Responses that broke their contract.",
        "canario.contract.violations",
    ),
    metric(
        "canario_request_duration_seconds",
        "histogram",
        "s",
        "deployment_id arm",
        "Duration of the requests that are timed.",
        "canario.request.duration.buckets",
    ),
    metric(
        "canario_request_p95_seconds",
        "gauge",
        "s",
        "deployment_id arm",
        "95th percentile of the duration in the window, at the last check.",
        "canario.request.duration.p95",
    ),
    metric(
        "canario_rollout_stage",
        "gauge",
        "{stage}",
        "deployment_id",
        "Number of the present stage, the first is 1; 0 before the rollout begins.",
        "canario.rollout.stage",
    ),
    metric(
        "canario_rollout_share_ratio",
        "gauge",
        "1",
        "deployment_id",
        "Share of the keys that reach the canary.",
        "canario.rollout.share",
    ),
    metric(
        "canario_rollout_phase",
        "states",
        "1",
        "deployment_id",
        "Where the rollout stands.",
        "canario.rollout.phase",
    ),
    metric(
        "canario_rollout_verdict",
        "states",
        "1",
        "deployment_id",
        "What the last check came to.",
        "canario.rollout.verdict",
    ),
    metric(
        "canario_rollout_verdict_samples",
        "gauge",
        "{request}",
        "deployment_id",
        "Canary requests in the window at the last check.",
        "canario.rollout.verdict.samples",
    ),
    metric(
        "canario_rollout_events_total",
        "counter",
        "{event}",
        "deployment_id event",
        "Decisions and orders of the rollout, by kind.",
        "canario.rollout.events",
    ),
    metric(
        "canario_incidents_total",
        "counter",
        "{incident}",
        "deployment_id kind",
        "What is out of the ordinary: canario's own faults, requests without a key, ….",
        "canario.incidents",
    ),
    metric(
        "canario_sink_dropped_total",
        "counter",
        "{item}",
        "sink",
        "Events and alerts that a sink had no room for.",
        "canario.sink.dropped",
    ),
)
