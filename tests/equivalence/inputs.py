"""What commands are given: small files that are the same every time, made here."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from tests.equivalence.commands import Shell

__all__ = ["rows", "tape", "write"]

# 1 December 2025, 00:00 UTC.
_START = 1_764_547_200.0

_PLAN = """\
[deployment]
deployment_id = "checkout-v7"

[[deployment.canary_stages]]
percentage = 10
hold_seconds = 120

[[deployment.canary_stages]]
percentage = 50
hold_seconds = 180

[[deployment.canary_stages]]
percentage = 100
hold_seconds = 300
"""

_SEQUENTIAL = """\
[deployment]
deployment_id = "checkout-v8"
judge = { kind = "sequential", alpha = 0.02, bin_seconds = 5 }

[deployment.rollback_thresholds]
max_error_rate = 5
contract_budgets = { summary = 1.0 }
abandoned_after_by_route = { "/export" = 120 }

[deployment.missing_evidence]
deadline_seconds = 600
then = "pause"

[deployment.routing]
key_sources = ["header:x-user-id", "path:/plans/{id}", "client:1"]
anonymous_cookie = "bucket"
forced_arms = { secret_env = "OUR_SECRET", trusted_peers = ["10.0.0.0/8"] }

[slo]
availability_percent = 99.9
min_samples = 20
"""

_CONDITIONS = """\
rates = [4]
regressions = [
    { kind = "errors", points = 20 },
    { kind = "latency", factor = 5 },
    { kind = "contract", rate = 2 },
]

[[profiles]]
name = "steady"
service = { latency = { kind = "lognormal", p50_ms = 80, p95_ms = 160 }, error_rate = 1 }
"""

_GOOD = """\
teaches = "Nothing happens."

[traffic]
kind = "poisson"
rate = 2

[baseline]
latency = { kind = "lognormal", p50_ms = 80, p95_ms = 160 }
error_rate = 0.5
"""

_SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata:
  name: shop
spec:
  service: shop
  indicator:
    metadata: {name: ratio}
    spec:
      ratioMetric:
        counter: true
        good: {metricSource: {type: Prometheus, spec: {query: sum(rate(good_total[5m]))}}}
        total: {metricSource: {type: Prometheus, spec: {query: sum(rate(all_total[5m]))}}}
  timeWindow: [{duration: 30d, isRolling: true}]
  budgetingMethod: Occurrences
  objectives: [{displayName: Availability, target: 0.995}]
"""

_FILES = {
    "plan.toml": _PLAN,
    "sequential.toml": _SEQUENTIAL,
    "conditions.toml": _CONDITIONS,
    "good.toml": _GOOD,
    "unexpected.toml": f'{_GOOD}\n[expect]\noutcome = "rolled_back"\n',
    "slo.yaml": _SLO,
    "text.txt": "This is no file of canario's.\nNeither is this line.\n",
    "empty.log": "",
    "empty/nothing.txt": "",
    "bad/syntax.toml": "[traffic\nrate = 2\n",
    "bad/unknown_key.toml": _GOOD.replace("error_rate", "eror_rate"),
    "bad/unknown_fault.toml": f'{_GOOD}\n[[faults]]\nkind = "erorrs"\nrate = 50\nat = 10\n',
    "bad/rate.toml": _GOOD.replace("rate = 2", "rate = -2"),
    "bad/model.toml": f'{_GOOD}\nmodel = "nowhere:Model"\n',
    "bad/plan_key.toml": _PLAN.replace("hold_seconds = 180", "hold = 180"),
    "bad/plan_stages.toml": _PLAN.replace("percentage = 50", "percentage = 5"),
    "bad/plan_judge.toml": f'{_PLAN}\n[deployment.judge]\nkind = "sequential"\nalpha = 2\n',
    "bad/plan_source.toml": f'{_PLAN}\n[deployment.routing]\nkey_sources = ["headers:x"]\n',
    "bad/plan_window.json": '{"deployment": {"rollback_thresholds": {"min_samples": "many"}}}',
    "bad/plan_whole.toml": "[slo]\navailability_percent = 100\n",
    "bad/journal.jsonl": '{"type": "no_such_event", "at": 3}\n',
    "bad/slo.yaml": _SLO.replace("openslo/v1", "openslo/v1alpha"),
}


def write(shell: Shell) -> None:
    """All files that a command can be given but a tape."""
    for name, text in _FILES.items():
        shell.write(name, text)
    shell.write("access.log", _access_log())
    requests = _requests("records")
    shell.write("records.jsonl", "".join(f"{json.dumps(each)}\n" for each in requests))
    table = io.StringIO()
    writer = csv.DictWriter(table, requests[0].keys())
    writer.writeheader()
    writer.writerows(requests)
    shell.write("records.csv", table.getvalue())


def tape(path: Path, journal: Path | None = None) -> None:
    """Record a release that is rolled back, as a controller without a middleware does."""
    from canario import create_canary_controller
    from canario.tape import TapeRecorder
    from canario.testing import ManualClock

    draw = random.Random("a release").random
    plan = path.with_name("taped.toml")
    plan.write_text(_PLAN, encoding="utf-8")
    clock = ManualClock(_START)
    controller = create_canary_controller(config=plan, clock=clock, journal=journal, environ={})
    recorder = TapeRecorder(path, secret=b"a secret of ours")
    controller.record_to(recorder)

    def request() -> tuple[str, float, bool, bool]:
        clock.advance(draw() * 0.3)
        key = f"user-{int(draw() * 400)}"
        canary = controller.router.route_request(key) == "canary"
        failing = 0.3 if canary and clock() > _START + 200 else 0.004
        return key, 40 + 300 * draw() ** 4, draw() > failing, True

    controller.execute_deployment(request)
    recorder.close(60)
    controller.close(60)


def rows(path: Path) -> str:
    """What a tape holds, table by table; a session's name is another one each time."""
    lines = []
    with sqlite3.connect(path) as base:
        kinds = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') ORDER BY name"
        for (name,) in base.execute(kinds).fetchall():
            found = base.execute(f'SELECT * FROM "{name}"')
            lines += [f"{name}: {', '.join(column for column, *_ in found.description)}"]
            lines += [repr(row) for row in found if row[0] != "session"]
    return "\n".join(lines) + "\n"


def _requests(name: str) -> list[dict[str, object]]:
    rng = random.Random(name)
    at = _START
    made: list[dict[str, object]] = []
    for _ in range(2500):
        at += rng.expovariate(2)
        made.append(
            {
                "at": round(at, 3),
                "latency_ms": round(rng.lognormvariate(4.4, 0.5), 1),
                "status": rng.choices((200, 404, 503, 301), (93, 3, 1, 3))[0],
                "method": rng.choices(("GET", "POST", "HEAD"), (7, 2, 1))[0],
                "route": rng.choice(("/", "/plans/7", "/plans/8/report", "/search?q=a")),
                "key": f"user-{rng.randrange(300)}",
            }
        )
    return made


def _access_log() -> str:
    lines = []
    for number, each in enumerate(_requests("log")):
        at = datetime.fromtimestamp(float(str(each["at"])), UTC).strftime("%d/%b/%Y:%H:%M:%S +0000")
        took = float(str(each["latency_ms"])) / 1000
        lines.append(
            f'10.0.{number % 7}.{number % 211} - - [{at}] "{each["method"]} {each["route"]} '
            f'HTTP/1.1" {each["status"]} {number % 5000} "-" "agent/1.0" {took:.3f}'
        )
    lines.insert(700, "a line that is none")
    return "\n".join(lines) + "\n"
