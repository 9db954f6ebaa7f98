"""One release: how it is set up, what happens to it, and all that is told of it."""

from __future__ import annotations

import logging
import queue
import random
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from tests.equivalence.inputs import rows
from tests.equivalence.release.fates import Fate, Trouble, drawn, probe
from tests.equivalence.release.telemetry import LOGS, PROVIDER, SPANS, evaluate, log_events, spans

from canario import (
    CanaryDeploymentController,
    CommandRefusedError,
    Deployment,
    Plan,
    RollbackThresholds,
    Routing,
    Stage,
    __version__,
    current_arm,
    report_contract_violation,
)
from canario.contracts import (
    NOT_ABOUT,
    Violation,
    json_schema_contract,
    model_contract,
    openapi_contract,
)
from canario.plan import ForcedArms, MissingEvidence, Objectives, Sequential, Tracing
from canario.slo import DashboardDataGenerator, SLOMonitor
from canario.tape import TapeRecorder
from canario.telemetry import CanarioCollector, register_instruments
from canario.testing import CapturingSink, ManualClock

__all__ = ["Release"]

_REQUESTS = 600

# What is waited for comes within milliseconds; this only ends a hang.
_LONGEST_SECONDS = 120

_ORDERS = ("pause", "resume", "skip", "pause", "resume", "restart", "promote", "abort")

_SCHEMA = {
    "type": "object",
    "required": ["score"],
    "properties": {"score": {"type": "integer", "minimum": 0, "maximum": 100}},
}

_ENVIRON = {"FORCING": "a secret", "NAMING": "another secret"}


class _Answer(msgspec.Struct):
    score: Annotated[int, msgspec.Meta(ge=0, le=100)]


class Release:
    """One of the sixty. What is on and what is off follows from its number."""

    def __init__(self, number: int, folder: Path) -> None:
        self.number = number
        self.two_apps = number // 2 % 4 != 3
        self.begins_anew = False
        self.let_go: set[int] = set()
        self.clock = ManualClock(1_700_000_000.0 + number)
        self._kind = kind = number // 2
        self._folder = folder
        self._rng = rng = random.Random(f"release {number}")
        self._lines: list[str] = []
        self._logged: list[str] = []
        self._parked: queue.Queue[threading.Event] = queue.Queue()
        self._parking: threading.Event | None = None
        self._trouble = Trouble(
            strange=rng.choice((0.0, 0.05, 0.2)),
            errors=rng.choice((0, 1, 12)),
            slow=rng.choice((0.0, 0.0, 0.02, 0.12)),
            invalid=rng.choice((0.0, 0.0, 0.0, 0.01, 0.1)),
            may_drop=kind % 3 == 0,
        )
        self._worse = rng.choice((0.0, 0.0, 0.03, 0.3))  # so many more of the canary's fail
        self._plan = self._planned()
        self._journal = folder / f"{number}.jsonl" if kind % 7 in (1, 3, 5) else None
        self._sink = CapturingSink()
        SPANS.clear()
        LOGS.clear()
        PROVIDER.id_generator.begin()  # type: ignore[attr-defined]
        self._listen()
        self.controller = self._begun()
        self._monitor: _Watched | None = None
        self._recorder: TapeRecorder | None = None
        self._tapes: list[Path] = []
        self.options = self._optioned()

    # -- what drives it

    def requests(self, protocol: str) -> Iterator[Fate]:
        """All requests; between them time goes on, and operators do what they do."""
        rng = self._rng
        if self._contracted:
            yield probe()
        for number in range(_REQUESTS):
            self.clock.advance(rng.choice((0.0, 0.001, 0.05, 0.1, 0.2, 0.6)))
            fate = drawn(rng, number, protocol, self._trouble)
            orders = [rng.random() for _ in range(3)]
            yield fate
            if self._contracted:
                yield probe()
            self._operate(number, *orders)
            if self.begins_anew and self._contracted:
                yield probe()

    def serve(self, fate: Fate) -> None:
        """What any app does while it makes its response."""
        arm = current_arm()
        self.clock.advance(fate.seconds)
        if arm == "canary" and fate.luck < self._worse:
            self.clock.advance(0.4 if fate.number % 3 else 0.0)
            fate.status = fate.status if fate.number % 3 else 503
        if fate.end == "reports":
            told = report_contract_violation(
                "two rights share a number", contract="rights", rule="unique", path="/rights"
            )
            self._say(f"reported {told}")
        if fate.number % 4 == 0:
            evaluate(f"plan {fate.number}")
        self._say(f"{arm} serves {fate.number}")

    def answered(self, fate: Fate, answer: list[str]) -> None:
        """What a client has seen."""
        self._say(f"{fate.number} {fate.end} {fate.method} {fate.path}: {' | '.join(answer)}")

    def after(self, fate: Fate) -> None:
        """Called when a request was sent, before the next one is."""
        if fate.route == "/probe":
            # It waits behind the responses before it, and they behind the probe before them: so
            # nothing is checked before all of them are observed.
            if self._parking is not None:
                self._parking.set()
            self._parking = self._parked.get(timeout=_LONGEST_SECONDS)
            if self._monitor is not None and self._monitor.was_violated():
                self._evaluate()
        if fate.number % 40 == 0:
            self._look()
        self.begins_anew = False

    def end(self) -> None:
        """No requests any more."""
        self._depart()
        self.controller.tick()
        self._look()
        self._close()

    # -- what is told of it

    def told(self) -> str:
        """Everything, as text."""
        controller = self.controller
        parts: dict[str, str] = {
            "plan": _json(self._plan),
            "what happened": "\n".join(self._lines),
            "result": _json(controller.result()),
            "events": _json_lines(controller.events),
            "told to sinks": _json_lines(self._sink.events),
            "history": _json_lines(controller.metrics_history),
            "totals": _json_lines([controller.totals("baseline"), controller.totals("canary")]),
            "counters": _json(dict(sorted(controller.counters.items()))),
            "logged": "\n".join(self._logged),
            "log events": log_events(),
            "spans": spans(),
            "Prometheus": self._exposed(),
            "OpenTelemetry metrics": self._measured(),
        }
        if self._monitor is not None:
            parts |= self._monitored(self._monitor)
        if self._journal is not None:
            parts["journal"] = _settled(self._journal.read_text(encoding="utf-8"))
        parts |= {f"tape {path.name}": rows(path) for path in self._tapes}
        text = "".join(f"# {name}\n{text.rstrip()}\n\n" for name, text in parts.items())
        text = re.sub(r" at 0x[0-9a-f]+", "", text).replace(str(self._folder), "FOLDER")
        return re.sub(rf"(?<![\w.]){re.escape(__version__)}(?![\w.])", "VERSION", text)

    def reached(self) -> list[str]:
        """What has happened at all."""
        result = self.controller.result()
        happened = {type(event).__name__ for event in self.controller.events}
        alerts = {str(alert.alert_type) for alert in self._sink.alerts}
        return [
            f"phase {result.phase}",
            f"reason {result.rollback_reason}",
            *(f"event {name}" for name in happened),
            *(f"counter {name}" for name in self.controller.counters),
            *(f"alert {name}" for name in alerts),
        ]

    # -- inside

    @property
    def _contracted(self) -> bool:
        return self._kind % 5 != 0

    def _planned(self) -> Plan:
        rng, kind = self._rng, self._kind
        window, check = rng.choice((10.0, 60.0, 7.3)), rng.choice((1.0, 5.0, 0.7))
        late = MissingEvidence(
            deadline_seconds=15, then=rng.choice(("rollback", "pause", "advance"))
        )
        forced = ForcedArms(trusted_peers=("10.1.0.0/16",), secret_env="FORCING")
        return Plan(
            deployment=Deployment(
                deployment_id=f"release-{self.number}",
                canary_stages=(Stage(5, 20.0), Stage(25, 30.0), Stage(100, 30.0)),
                rollback_thresholds=RollbackThresholds(
                    max_error_rate=rng.choice((5.0, 10.0, 30.0)),
                    max_p95_latency_ms=500.0,
                    metric_window_seconds=window,
                    min_samples=rng.choice((3, 10)),
                    check_interval_seconds=check,
                    contract_budgets={"answers": 8.0} if kind % 4 == 2 else {},
                    abandoned_after_seconds=rng.choice((None, 5.0)),
                    abandoned_after_by_route={"/export": 20.0} if kind % 3 == 2 else {},
                ),
                judge=Sequential(
                    alpha=0.05,
                    bin_seconds=rng.choice((None, 2.0)),
                )
                if kind % 2
                else Deployment().judge,
                missing_evidence=late if kind % 5 == 1 else MissingEvidence(),
                routing=Routing(
                    key_sources=("header:x-user-id", "path:/plans/{id}")
                    if kind % 4 == 1
                    else ("header:x-user-id", "cookie:seen", "query:plan"),
                    anonymous_cookie="bucket" if kind % 6 == 1 else None,
                    forced_arms=forced if kind % 6 in (2, 3) else None,
                ),
            ),
            tracing=Tracing(user_key_secret_env="NAMING" if kind % 4 == 1 else None),
        )

    def _begun(self) -> CanaryDeploymentController:
        return CanaryDeploymentController(
            self._plan, clock=self.clock, journal=self._journal, sinks=[self._sink]
        )

    def _optioned(self) -> dict[str, Any]:
        kind = self._kind
        options: dict[str, Any] = {"environ": _ENVIRON}
        if self._contracted:
            options["contract"] = self._contract(kind % 5)
        if kind % 5 == 3:
            options["contract_max_body"] = 100
        if kind % 5 == 4:
            options["contract_routes"] = ["/evaluate", "/probe"]
        if kind % 5 != 4:
            options["arm_header"] = "X-Canary-Arm"
        if kind % 3:
            if self._monitor is None:
                objectives = Objectives(min_samples=5, aggregation_window_seconds=60)
                self._monitor = _Watched(
                    objectives, clock=self.clock, sinks=[self._sink], version="1.0"
                )
            options["monitor"] = self._monitor
            options["flows"] = {"/evaluate": "decalogo_evaluation"}
        else:
            self._tapes.append(self._folder / f"{self.number}.{len(self._tapes)}.tape")
            self._recorder = TapeRecorder(self._tapes[-1], secret=b"a secret", flush_seconds=0.5)
            options["tape"] = self._recorder
        if kind % 3 == 1:
            options["preflight"] = "both"
        if kind % 3 == 2:
            options["errors"] = {"/evaluate": {404, 422}}
        if kind % 6 == 4:
            options["key"] = _key_of
        if kind % 8 == 7:
            options["caches"] = False
        if kind % 7 == 6:
            options["health_paths"] = ["/ready"]
        options |= {"tracer_provider": PROVIDER} if kind % 4 < 2 else {"spans": False}
        return options

    def _contract(self, kind: int) -> Any:
        if kind == 1:
            return self._checked
        answers = {
            2: json_schema_contract(_SCHEMA, name="answers"),
            3: model_contract(_Answer, name="answers"),
            4: openapi_contract(_openapi(), name="answers"),
        }[kind]
        about: dict[str, Any] = {"/evaluate": answers, "/probe": self._checked}
        return about | ({"/plans/{id}": _SCHEMA} if kind == 2 else {})

    def _checked(self, route: str, status: int, headers: object, body: bytes) -> object:
        if route == "/probe":
            parking = threading.Event()
            self._parked.put(parking)
            parking.wait(_LONGEST_SECONDS)
            return NOT_ABOUT
        if route != "/evaluate" or status != 200:
            return NOT_ABOUT
        if b"high" in body:
            return Violation(message="the score is a word", contract="answers", rule="word")
        return b"104" not in body

    def _operate(self, number: int, first: float, second: float, third: float) -> None:
        controller, monitor = self.controller, self._monitor
        if number % 61 == 60 and self._kind % 3:
            order = _ORDERS[int(first * len(_ORDERS) * (1 if self._kind % 4 == 0 else 0.74))]
            try:
                getattr(controller, order)()
            except CommandRefusedError as error:
                self._say(f"{order}: {error!r}")
        if second < 0.002:
            controller.report_violation("baseline", "by hand")
        if second > 0.9997:
            controller.report_violation("canary", "by hand")
        if number == _REQUESTS // 2 and self._journal is not None and self._kind % 2:
            self._restart()
        if monitor is None:
            return
        if number % 29 == 0:
            monitor.record_recovery("document_processing", first < 0.9, 3000 * third**3)
        if number % 200 == 150 and "decalogo_evaluation" in monitor.flows:
            monitor.set_baseline("decalogo_evaluation")
        if number % 90 == 80:
            monitor.silence(7, flow_name="decalogo_evaluation")
        if number % 70 == 60:
            self._answer_alerts(first)
        if number % 25 == 0:
            self._evaluate()

    def _restart(self) -> None:
        """Another process takes the release up from its journal."""
        self._depart()
        self._close()
        self.clock.advance(40)
        self.controller = self._begun()
        self.options = self._optioned()
        self.begins_anew = True

    def _depart(self) -> None:
        """Let go of the thread that checks; nothing is waiting there any more."""
        if self._parking is not None:
            self._parking.set()
        self._parking = None

    def _close(self) -> None:
        if self._recorder is not None:
            self._say(f"tape closed {self._recorder.close(_LONGEST_SECONDS)}")
        self._say(f"closed {self.controller.close(_LONGEST_SECONDS)}")

    def _evaluate(self) -> None:
        assert self._monitor is not None
        for alert in self._monitor.evaluate_alert_rules():
            self._say(f"alert {_json(alert)}")

    def _answer_alerts(self, lot: float) -> None:
        assert self._monitor is not None
        for alert in self._monitor.get_active_alerts():
            if lot < 0.5:
                self._monitor.acknowledge_alert(alert.alert_id, by="the one on call")
            else:
                self._monitor.resolve_alert(alert.alert_id)

    def _look(self) -> None:
        controller = self.controller
        for arm in ("baseline", "canary"):
            counts, in_flight = controller.counts(arm), controller.in_flight(arm)
            self._say(f"{arm} {_json(counts)} in flight {_json(in_flight)}")
        self._say(f"state {_json(controller.state)} due {controller.due!r}")

    def _monitored(self, monitor: _Watched) -> dict[str, str]:
        generator = DashboardDataGenerator(monitor, self.controller, clock=self.clock)
        flows = monitor.flows
        return {
            "statuses": _json(monitor.check_all_slos()),
            "flows": _json_lines([monitor.totals(flow) for flow in flows]),
            "burn rates": _json_lines([monitor.burn_rates(flow) for flow in flows]),
            "budgets": _json_lines([monitor.error_budget(flow) for flow in flows]),
            "flows' history": _json_lines([monitor.history(flow, 300) for flow in flows]),
            "alerts": _json_lines([*monitor.alert_history(), *monitor.get_active_alerts()]),
            "alerts told to sinks": _json_lines(self._sink.alerts),
            "baselines": _json(monitor.baselines),
            "dashboard": _json(generator.generate_dashboard_data()),
        }

    def _exposed(self) -> str:
        registry = CollectorRegistry()
        registry.register(CanarioCollector(self.controller, self._monitor))
        return generate_latest(registry).decode()

    def _measured(self) -> str:
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        registration = register_instruments(self.controller, self._monitor, meter_provider=provider)
        data = reader.get_metrics_data()
        registration.unregister()
        assert data is not None
        return "\n".join(
            f"{metric.name} [{metric.unit}] {dict(sorted((point.attributes or {}).items()))} "
            f"{getattr(point, 'value', None)!r}"
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        )

    def _listen(self) -> None:
        """Keep what is logged, and print nothing of it."""
        logger = logging.getLogger("canario")
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        logger.handlers = [_Kept(self._logged)]

    def _say(self, what: str) -> None:
        self._lines.append(f"{self.clock() - 1_700_000_000 - self.number:9.4f} {what}")


class _Watched(SLOMonitor):
    """A monitor whose alerts are evaluated by whoever moves the clock: another thread would come
    at another instant each time. That one asks is seen."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._asked = threading.Event()
        self._violations = 0
        self._thread = threading.current_thread()

    def evaluate_alert_rules(self) -> list[Any]:
        if threading.current_thread() is self._thread:
            return super().evaluate_alert_rules()
        self._asked.set()
        return []

    def record_violation(self, flow_name: str, violation: Violation) -> None:
        super().record_violation(flow_name, violation)
        self._violations += 1

    def was_violated(self) -> bool:
        """Whether it was told of a violation since the last time, and then asked for alerts."""
        if not self._violations:
            return False
        self._violations = 0
        asked = self._asked.wait(_LONGEST_SECONDS)
        self._asked.clear()
        return asked


class _Kept(logging.Handler):
    def __init__(self, lines: list[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.append(f"{record.levelname} {record.name} {record.getMessage()}")


def _key_of(request: Any) -> str | None:
    number = request["equivalence"].number
    if number % 50 == 49:
        raise LookupError("nobody is known by that")
    return None if number % 3 else f"own-{number % 300}"


def _settled(journal: str) -> str:
    """A journal without the process, and without notes that somebody watched that another one
    follows: whether such a one was still waiting, and so is left out, depends on the disk."""
    journal = re.sub(r'"pid":[0-9]+', '"pid":PID', journal)
    return re.sub(r'\{"event":"watched".*\n(?=\{"event":"watched")', "", journal)


def _openapi() -> dict[str, Any]:
    content = {"application/json": {"schema": _SCHEMA}}
    answer = {"responses": {"200": {"description": "told", "content": content}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "answers", "version": "1"},
        "paths": {"/evaluate": {"get": answer, "post": answer}},
    }


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=_plain, order="sorted").decode()


def _json_lines(values: Any) -> str:
    return "\n".join(_json(value) for value in values)


def _plain(value: object) -> object:
    return dict(value) if hasattr(value, "keys") else repr(value)  # type: ignore[call-overload]
