"""Exceptions that are no failure of the code that they come through, but an order to it to stop.

What canario calls that is not its own (validators, sinks, `route=`, a user's `pk`) may raise
anything, and a panic of a Rust extension is no `Exception`. So it is caught as `BaseException`
where a request is served; but a Ctrl-C that comes in that moment has to reach the process.
"""

from __future__ import annotations

__all__ = ["is_interrupt", "pass_on"]

# Their timeouts and exits are thrown into whatever a greenlet is doing.
_GREEN = frozenset({"eventlet", "gevent", "greenlet"})


def is_interrupt(error: BaseException) -> bool:
    """True for what a signal, the end of the process or a greenlet's timeout has thrown in."""
    if isinstance(error, Exception):
        return False
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return True
    return any(kind.__module__.partition(".")[0] in _GREEN for kind in type(error).__mro__)


def pass_on(error: BaseException) -> None:
    """Raise `error` again when it is an interrupt: whoever catches everything calls this first."""
    if is_interrupt(error):
        raise error
