"""Contracts of functions: what they take, what they give, and the same for the same."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from canario.control.violation import Violation
from canario.exchange import current_arm
from canario.host.fork import ForkSafeLock
from canario.host.interrupts import pass_on

from .digest import UndigestibleError, digest
from .quoting import brief
from .report import report_violation
from .shape import Wrong, is_type, shape_of

if TYPE_CHECKING:
    from canario.controller import CanaryDeploymentController

__all__ = ["FlowContract"]

logger = logging.getLogger("canario")

_ITSELF = ("self", "cls")  # no input: the decorators leave it out of the arguments


class FlowContract:
    """What a flow's input and output must be; `trace_flow(..., contract=...)` asks it.

    A JSON Schema or a type is shown the argument where there is one, a list where all are
    positional, a mapping where all are named. With `parameters` it is always shown a mapping, of
    names to arguments. A callable gets the very arguments, or the very
    result, and returns or raises what is wrong: nothing (None or True), False, a text or a
    `Violation`.

    Arguments are compared as they are after the call, so determinism is for flows that leave them
    alone. Safe to use from many threads. It never raises: what a check raises is what is wrong.

    Args:
        input: A JSON Schema, a pydantic or msgspec type, a type hint, or a callable.
        output: The same, for the result.
        deterministic: Whether the same input must give the same output. Versions are not
            compared with each other: each arm has outputs of its own.
        name: Names the contract, for budgets; by default the flow.
        parameters: Names of the positional parameters, `self` left out.
        remembered: How many inputs' digests are kept, the latest used.

    Attributes:
        not_checked: How often determinism could not be checked, since a value has no digest; the
            first time is logged.

    Raises:
        ImportError: When a validator is not installed.
        ValueError: For a schema that is not valid.
        TypeError: For what is none of the above.
    """

    def __init__(
        self,
        input: object = None,  # noqa: A002 - what it is
        output: object = None,
        *,
        deterministic: bool = False,
        name: str | None = None,
        parameters: Sequence[str] | None = None,
        remembered: int = 1024,
    ) -> None:
        if remembered < 1:
            raise ValueError(f"remembered is {remembered!r}; it must be at least 1")
        self.name = name
        self.deterministic = deterministic
        self.not_checked = 0
        self._input = _check_of(input, "input", starred=True)
        self._output = _check_of(output, "output", starred=False)
        self._parameters = None
        if parameters is not None:
            self._parameters = tuple(name for name in parameters if name not in _ITSELF)
        self._remembered = remembered
        self._seen: OrderedDict[tuple[str, str, bytes], bytes] = OrderedDict()
        self._lock = ForkSafeLock()
        self._told: set[str] = set()

    def check_input(
        self, flow: object, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> list[Violation]:
        """What is wrong with the arguments of one call."""
        if self._input is None:
            return []
        kwargs = kwargs or {}
        shown = None if self._input.starred else self._shown(args, kwargs)
        return self._violations(flow, "input", self._input(shown, args, kwargs))

    def check_output(
        self,
        flow: object,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        result: Any,
    ) -> list[Violation]:
        """What is wrong with the result of one call, and whether it differs from an earlier one."""
        found = []
        if self._output is not None:
            found += self._violations(flow, "output", self._output(result, (result,), {}))
        if self.deterministic:
            found += self._changed(str(flow), args, kwargs or {}, result)
        return found

    def report(
        self,
        violations: Iterable[Violation],
        *,
        controller: CanaryDeploymentController | None = None,
    ) -> bool:
        """Report what was found, as `canario.report_contract_violation` does. Never raises.

        True when there was something and all of it was reported.
        """
        told = [report_violation(violation, controller=controller) for violation in violations]
        return bool(told) and all(told)

    def _shown(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        if self._parameters is not None:
            return dict(zip(self._parameters, args, strict=False)) | dict(kwargs)
        if len(args) + len(kwargs) == 1:
            return args[0] if args else next(iter(kwargs.values()))
        if not args:
            return dict(kwargs)
        return {"args": list(args), **kwargs} if kwargs else list(args)

    def _violations(
        self, flow: object, side: str, wrongs: Iterable[Wrong | Violation]
    ) -> list[Violation]:
        name = self.name or str(flow)
        found = []
        try:
            for wrong in wrongs:
                if isinstance(wrong, Violation):
                    found.append(wrong)
                    continue
                rule = side if wrong.rule is None else f"{side}.{wrong.rule}"
                message = f"{side}: {wrong.message}"
                found.append(Violation(message=message, contract=name, rule=rule, path=wrong.path))
        except Exception as error:
            text = brief(f"{side}: {type(error).__name__}: {error}")
            found.append(Violation(message=text, contract=name, rule=side))
        except BaseException as error:  # a validator written in Rust that panics
            pass_on(error)
            self._pass_over(f"{side} of {flow}", error)
        return found

    def _pass_over(self, what: str, error: BaseException) -> None:
        """Count what could not be checked, and log it once per kind."""
        kind = f"the {what} is not checked: its contract raised {type(error).__qualname__}"
        with self._lock:
            self.not_checked += 1
            first = kind not in self._told
            self._told.add(kind)
        if first:
            logger.warning("%s", kind, exc_info=error)

    def _changed(
        self, flow: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any
    ) -> list[Violation]:
        given: Any = (list(args), dict(kwargs))
        if self._parameters is not None:
            given = self._shown(args, kwargs)
        try:
            key, output = (current_arm(), flow, digest(given)), digest(result)
        except UndigestibleError as error:
            with self._lock:
                self.not_checked += 1
                first = self.not_checked == 1
            if first:
                why = error.__cause__
                logger.warning("a run of %s is not checked for determinism: %s", flow, why)
            return []
        with self._lock:
            before = self._seen.setdefault(key, output)
            self._seen.move_to_end(key)
            if len(self._seen) > self._remembered:
                self._seen.popitem(last=False)
        if before == output:
            return []
        message = (
            f"output: the same input {key[2].hex()[:12]} gave {before.hex()[:12]} before "
            f"and {output.hex()[:12]} now"
        )
        return [Violation(message=message, contract=self.name or flow, rule="determinism")]


class _Check:
    """One side's check: a shape is shown a value, a callable gets the arguments themselves."""

    def __init__(self, valid: object, side: str, starred: bool) -> None:
        self.starred = starred and callable(valid) and not is_type(valid)
        self._call: Callable[..., object] | None = None
        if callable(valid) and not is_type(valid):
            self._call = valid
        else:
            self._shape = shape_of(valid, side, lax=True)

    def __call__(
        self, shown: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Iterator[Wrong | Violation]:
        if self._call is None:
            yield from self._shape(shown)
            return
        answer = self._call(*args, **kwargs)
        if answer is None or answer is True:
            return
        if isinstance(answer, Violation):
            yield answer
        else:
            yield Wrong("the contract does not hold" if answer is False else brief(str(answer)))


def _check_of(valid: object, side: str, *, starred: bool) -> _Check | None:
    return None if valid is None else _Check(valid, side, starred)
