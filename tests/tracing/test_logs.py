"""Records know their span, keep their fields, and are one line each."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import queue
import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.trace import format_span_id, format_trace_id
from tests.tracing.traces import Spans, traced

from canario.tracing import (
    SpanLogger,
    TraceContextFilter,
    add_trace_context,
    create_span_logger,
    trace_flow,
)

RESERVED = [*vars(logging.makeLogRecord({})), "message", "asctime"]


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.all: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(record)

    @property
    def last(self) -> Any:
        return self.all[-1]


@pytest.fixture
def records() -> Iterator[Records]:
    handler = Records()
    logger = logging.getLogger("tests.tracing.logs")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(logging.NOTSET)
    logger.propagate = True


@pytest.fixture
def spans() -> Iterator[Spans]:
    with traced() as made:
        yield made


@pytest.fixture
def logger(records: Records) -> SpanLogger:
    return create_span_logger("tests.tracing.logs")


def line_of(text: str) -> int:
    with open(__file__, encoding="utf-8") as file:
        return next(number for number, line in enumerate(file, 1) if text in line)


def test_a_record_has_the_ids_of_its_span_and_its_fields(
    logger: SpanLogger, records: Records, spans: Spans
) -> None:
    trace_flow("flow")(lambda: logger.info("Processing plan", plan_id="12345", pages=3))()
    record, (span,) = records.last, spans.ended
    assert span.context is not None
    assert record.trace_id == format_trace_id(span.context.trace_id)
    assert record.span_id == format_span_id(span.context.span_id)
    assert record.trace_sampled is True
    assert record.getMessage() == "Processing plan"
    assert record.fields == {"plan_id": "12345", "pages": 3}
    assert (record.plan_id, record.pages) == ("12345", 3)
    assert record.levelno == logging.INFO
    logger.info("outside")
    assert (records.last.trace_id, records.last.span_id, records.last.fields) == ("", "", {})


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error", "critical", "exception"])
def test_the_record_s_place_is_the_user_s_line(
    level: str, logger: SpanLogger, records: Records
) -> None:
    logger.logger.setLevel(logging.DEBUG)
    getattr(logger, level)("here")  # the place
    assert records.last.lineno == line_of('"here")  # the ' + "place")
    assert records.last.funcName == "test_the_record_s_place_is_the_user_s_line"
    assert records.last.pathname == __file__
    logger.log(logging.WARNING, "there")  # another place
    assert records.last.lineno == line_of('"there")  # another ' + "place")


def test_stacklevel_and_stack_info_mean_what_they_mean_in_logging(
    logger: SpanLogger, records: Records
) -> None:
    def helper() -> None:
        logger.info("from a helper", stacklevel=2, stack_info=True)

    helper()
    assert records.last.funcName == "test_stacklevel_and_stack_info_mean_what_they_mean_in_logging"
    assert records.last.stack_info.startswith("Stack (most recent call last)")
    assert records.last.fields == {}


def test_exc_info_means_what_it_means_in_logging(logger: SpanLogger, records: Records) -> None:
    error = ValueError("no")
    try:
        raise error
    except ValueError:
        logger.exception("failed", plan_id=1)
        logger.info("failed", exc_info=True)
        logger.info("failed", exc_info=sys.exc_info())
        logger.exception("failed", exc_info=False)
    logger.info("failed", exc_info=error)
    given = [record.exc_info for record in records.all]
    assert [each and each[1] for each in given] == [error, error, error, None, error]
    assert {str(record.__dict__["fields"]) for record in records.all} == {"plan_id=1", ""}
    assert "ValueError: no" in logging.Formatter().format(records.last)


def test_percent_arguments_and_extra_are_honoured(logger: SpanLogger, records: Records) -> None:
    logger.info("%s has %d of %05.1f", "plan", 3, 2.5, plan_id=7)
    assert records.last.getMessage() == "plan has 3 of 002.5"
    logger.info("%(plan)s", {"plan": "a\nb"})
    assert records.last.getMessage() == "a\\nb"
    logger.info("x", extra={"tenant": "t", "name": "n"}, plan_id=7)
    assert records.last.fields == {"plan_id": 7, "tenant": "t", "name": "n"}
    assert records.last.tenant == "t"
    logger.info("100 % sure")
    assert records.last.getMessage() == "100 % sure"


@pytest.mark.parametrize("name", [*RESERVED, "self", "fields", "trace_id", "span_id", "extra"])
def test_a_reserved_name_is_a_field_and_nothing_else(
    name: str, logger: SpanLogger, records: Records, spans: Spans
) -> None:
    if name in ("exc_info", "stack_info", "stacklevel"):
        return
    with spans.tracer.start_as_current_span("span") as span:
        logger.info("said %s", "so", **{name: "user text"})
    record = records.last
    assert record.fields == {name: "user text"}
    assert record.getMessage() == "said so"
    assert record.name == "tests.tracing.logs"
    assert record.trace_id == format_trace_id(span.get_span_context().trace_id)
    shown = logging.Formatter("%(asctime)s %(name)s %(message)s %(fields)s").format(record)
    assert shown.endswith(f"tests.tracing.logs said so {name}='user text'")


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no")


class Forger:
    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


TEXT = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    ["a\nCRITICAL forged", "a\r\nb", "\x1b[2J", "\x85", "\u2028", "\ud800", "\x00", "\t"]
)
VALUE = TEXT | TEXT.map(Forger) | st.lists(TEXT) | st.integers() | st.none()


@given(message=TEXT, value=VALUE, argument=VALUE, name=TEXT)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_no_text_can_break_or_forge_a_line(
    message: str, value: object, argument: object, name: str, logger: SpanLogger, records: Records
) -> None:
    if name in ("exc_info", "stack_info", "stacklevel"):
        return
    form = logging.Formatter("%(levelname)s %(message)s %(plan)s %(fields)s")
    logger.info(message.replace("%", "") + " %s", argument, plan=value, **{name: value})
    line = form.format(records.last)
    assert len(line.splitlines()) == 1
    assert not re.search("[\x00-\x1f\x7f-\x9f]", line)
    line.encode("utf-8")
    logger.info(message, plan=value)
    assert len(form.format(records.last).splitlines()) == 1
    assert records.last.fields["plan"] is value


def test_readable_text_stays_as_it_is(logger: SpanLogger, records: Records) -> None:
    path = "C:\\Décalogo\\plan 1.pdf – ünïcode 東京 \u00a0"
    logger.info(path, path=path, items=[1, "b"], nothing=Unprintable())
    record = records.last
    assert record.getMessage() == record.path == path
    assert record.items == [1, "b"]
    assert record.nothing == "<Unprintable: RuntimeError in __str__>"
    assert str(record.fields).endswith("nothing='<Unprintable: RuntimeError in __str__>'")


def test_a_level_that_is_off_formats_nothing(logger: SpanLogger, records: Records) -> None:
    logger.debug("%s", Unprintable(), plan=Unprintable())
    assert not logger.isEnabledFor(logging.DEBUG)
    assert records.all == []


def test_bound_fields_are_on_every_record_of_that_logger(
    logger: SpanLogger, records: Records
) -> None:
    bound = logger.bind(tenant="t", plan_id=1)
    bound.info("a", plan_id=2)
    assert records.last.fields == {"tenant": "t", "plan_id": 2}
    logger.info("b")
    assert records.last.fields == {}
    assert bound.name == logger.name == "tests.tracing.logs"


def test_a_host_s_record_factory_is_respected(logger: SpanLogger, records: Records) -> None:
    before = logging.getLogRecordFactory()

    def factory(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = before(*args, **kwargs)
        record.trace_id = record.tenant = "host's"
        return record

    logging.setLogRecordFactory(factory)
    try:
        logger.info("x", tenant="ours")
    finally:
        logging.setLogRecordFactory(before)
    assert records.last.tenant == "host's"
    assert records.last.fields == {"tenant": "ours"}


def test_the_filter_completes_plain_records(records: Records, spans: Spans) -> None:
    records.addFilter(TraceContextFilter())
    form = logging.Formatter("%(message)s [%(trace_id)s %(span_id)s %(fields)s]")
    plain = logging.getLogger("tests.tracing.logs")
    with spans.tracer.start_as_current_span("span") as span:
        plain.info("inside")
    context = span.get_span_context()
    ids = f"{format_trace_id(context.trace_id)} {format_span_id(context.span_id)}"
    assert form.format(records.last) == f"inside [{ids} ]"
    plain.info("outside")
    assert form.format(records.last) == "outside [  ]"


def test_ids_survive_a_queue_to_another_thread(logger: SpanLogger, spans: Spans) -> None:
    waiting: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    received = Records()
    received.addFilter(TraceContextFilter())
    listener = logging.handlers.QueueListener(waiting, received)
    handler = logging.handlers.QueueHandler(waiting)
    logger.logger.addHandler(handler)
    listener.start()
    try:
        with spans.tracer.start_as_current_span("span") as span:
            logger.info("hello", plan_id=1)
    finally:
        listener.stop()
        logger.logger.removeHandler(handler)
    assert received.last.trace_id == format_trace_id(span.get_span_context().trace_id)
    assert received.last.fields == {"plan_id": 1}


def test_structlog_puts_the_ids_on_its_events(spans: Spans) -> None:
    written = io.StringIO()
    log = structlog.wrap_logger(
        structlog.PrintLogger(written),
        processors=[add_trace_context, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.BoundLogger,
    )
    with spans.tracer.start_as_current_span("span") as span:
        log.info("inside", plan_id=1)
        log.info("given", trace_id="mine")
    log.info("outside")
    inside, given, outside = map(json.loads, written.getvalue().splitlines())
    assert inside == {
        "event": "inside",
        "plan_id": 1,
        "trace_id": format_trace_id(span.get_span_context().trace_id),
        "span_id": format_span_id(span.get_span_context().span_id),
        "trace_sampled": True,
    }
    assert given["trace_id"] == "mine"
    assert outside == {"event": "outside"}


def test_a_span_logger_s_records_go_through_structlog_s_formatter(
    logger: SpanLogger, records: Records, spans: Spans
) -> None:
    form = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[
            structlog.stdlib.add_log_level,
            structlog.stdlib.ExtraAdder(),
            add_trace_context,
        ],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.JSONRenderer(),
        ],
    )
    with spans.tracer.start_as_current_span("span") as span:
        logger.info("Processing %s", "plan\n", plan_id="1\n2")
        shown = json.loads(form.format(records.last))
    shown.pop("message", None)  # where pytest's own handler has formatted the record before
    assert shown == {
        "event": "Processing plan\\n",
        "level": "info",
        "plan_id": "1\\n2",
        "fields": {"plan_id": "1\n2"},
        "trace_id": format_trace_id(span.get_span_context().trace_id),
        "span_id": format_span_id(span.get_span_context().span_id),
        "trace_sampled": True,
    }
