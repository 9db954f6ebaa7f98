"""Tracing: spans of flows and components, contexts in headers and threads, logs that know them."""

from .contrib import instrument_asgi, instrument_wsgi
from .decorators import trace_component, trace_flow
from .flows import COMPONENTS, FLOWS, ComponentType, FlowType
from .manager import TracingManager, get_tracing_manager, initialize_tracing
from .span_logger import SpanLogger, TraceContextFilter, add_trace_context, create_span_logger
from .threads import ContextThreadPoolExecutor, carry_context

__all__ = [
    "COMPONENTS",
    "FLOWS",
    "ComponentType",
    "ContextThreadPoolExecutor",
    "FlowType",
    "SpanLogger",
    "TraceContextFilter",
    "TracingManager",
    "add_trace_context",
    "carry_context",
    "create_span_logger",
    "get_tracing_manager",
    "initialize_tracing",
    "instrument_asgi",
    "instrument_wsgi",
    "trace_component",
    "trace_flow",
]
