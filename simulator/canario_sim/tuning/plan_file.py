"""The recommended plan as a file: ready to use, each value with its reason."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from canario.plan import Plan, Sequential
from canario.printable import printable
from canario_sim.fitting.toml_text import quoted

from .result import Check, Tuning

__all__ = ["plan_text"]

_WIDTH = 96

# What was looked for is written down even where it is what the documentation gives.
_KEPT = ("canary_stages", "rollback_thresholds")


def plan_text(tuning: Tuning) -> str:
    """A plan file in TOML. Names and reasons in its comments are on one line each, or wrapped."""
    reasons = {each.key: each.why for each in tuning.reasons}
    lines = [*_comment(*_head(tuning)), ""]
    document = msgspec.to_builtins(tuning.plan)
    defaults = msgspec.to_builtins(Plan())
    deployment = document.pop("deployment")
    lines += _table(("deployment",), deployment, reasons, defaults["deployment"])
    for name, content in document.items():
        lines += _table((name,), content, reasons, defaults[name])
    return "\n".join(lines).rstrip("\n") + "\n"


def _head(tuning: Tuning) -> Iterator[str]:
    goals = tuning.goals
    yield "Made by canario tune: the best of what it tried for these goals."
    asked = [f"false rollbacks at most {_percent(goals.false_rollback)}"]
    asked.append(f"detection at least {_percent(goals.detect)}")
    if goals.within_seconds is not None:
        asked.append(f"within {goals.within_seconds:g} s")
    if goals.at_most is not None:
        asked.append(f"with at most {goals.at_most:,} bad requests")
    yield "Goals: " + ", ".join(asked) + "."
    yield f"Bad requests: failed, broke a contract or took longer than {tuning.slow_above_ms:g} ms."
    if tuning.held_out:
        yield f"On {tuning.held_out:,} replications of each condition that the search never saw:"
    for check in tuning.checks:
        if check.policy == "recommended":
            yield f"  {_check(check)}"
    for each in tuning.impossible:
        yield f"Cannot be had: {each.why}"


def _check(check: Check) -> str:
    share = check.share
    least = "at most" if check.goal == "false_rollback" else "at least"
    said = f"{_percent(share.value)} [{_percent(share.low)}, {_percent(share.high)}]"
    met = "" if check.met else "  <- missed"
    return f"{check.condition}: {check.goal} {said}, {least} {_percent(check.wanted)} asked{met}"


def _table(
    path: tuple[str, ...],
    content: Mapping[str, Any],
    reasons: Mapping[str, str],
    defaults: Mapping[str, Any] | None,
) -> Iterator[str]:
    """A table's own values, then the tables in it; what is as documented is left out but for the
    thresholds, which are what was looked for."""
    name = ".".join(path)
    own, inner = [], []
    for key, value in content.items():
        default = (defaults or {}).get(key)
        kept = key in _KEPT or (path[-1] == "rollback_thresholds" and value != {})
        if value is None or (value == default and not kept):
            continue
        where = f"{name}.{key}"
        if key == "canary_stages":
            inner.append(list(_stages(where, value, reasons)))
        elif isinstance(value, dict) and key != "contract_budgets":
            theirs = default if isinstance(default, dict) else None
            if value.get("kind") == "sequential":
                theirs = {**msgspec.to_builtins(Sequential()), "kind": None, "alpha": None}
            inner.append(list(_table((*path, key), value, reasons, theirs)))
        else:
            own += [*_comment(*filter(None, [reasons.get(where)])), f"{key} = {_value(value)}"]
    if own:
        yield from _comment(*filter(None, [reasons.get(name)]))
        yield f"[{name}]"
        yield from own
        yield ""
    for lines in inner:
        yield from lines


def _stages(where: str, stages: list[dict[str, Any]], reasons: Mapping[str, str]) -> Iterator[str]:
    yield from _comment(*filter(None, [reasons.get(where)]))
    for stage in stages:
        yield f"[[{where}]]"
        yield from (f"{key} = {_value(value)}" for key, value in stage.items())
        yield ""


def _comment(*texts: str) -> Iterator[str]:
    for text in texts:
        # A name from a file may hold a line break, and what follows it must not be read as TOML.
        plain = printable(text)
        indent = " " * (len(plain) - len(plain.lstrip()))
        yield from textwrap.wrap(
            plain,
            _WIDTH,
            initial_indent="# ",
            subsequent_indent=f"# {indent}  ",
            break_on_hyphens=False,
        )


def _value(value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return f"{value!r}"
        case str():
            return quoted(value)
        case list():
            return "[" + ", ".join(map(_value, value)) + "]"
        case dict():
            inside = ", ".join(f"{_value(str(key))} = {_value(own)}" for key, own in value.items())
            return f"{{ {inside} }}" if inside else "{}"
        case _:
            raise TypeError(f"{value!r} has no form in TOML")


def _percent(share: float) -> str:
    return f"{100 * share:.4g} %"
