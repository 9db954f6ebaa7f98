"""Flagger, Argo and Kayenta by name, with their settings, as a command line gives them."""

from __future__ import annotations

from typing import Any

import msgspec

from canario.config import ConfigError
from canario.config.decode import decode

from .argo import Argo
from .flagger import Flagger
from .kayenta import Kayenta

__all__ = ["PRESETS", "Peer", "peer_named"]

Peer = Flagger | Argo | Kayenta

PRESETS: dict[str, type[Flagger] | type[Argo] | type[Kayenta]] = {
    "flagger": Flagger,
    "argo": Argo,
    "kayenta": Kayenta,
}


def peer_named(text: str, source: str = "peer") -> Peer | None:
    """The peer that `NAME` or `NAME:key=value,key=value` means; None when NAME is no preset.

    Values of a list are separated by `/`, as in `weights=10/50`. Raises `ConfigError`, which names
    `source`, for a key or a value that is none of the peer's.
    """
    name, _, settings = text.partition(":")
    kind = PRESETS.get(name)
    if kind is None:
        return None
    given: dict[str, Any] = {}
    for setting in filter(None, settings.split(",")):
        key, equals, value = setting.partition("=")
        if not equals:
            raise ConfigError(source, text, f"{setting!r} is no key=value; {_keys(kind)}")
        if key in given:
            raise ConfigError(source, text, f"{key} is given twice")
        given[key] = [_value(part) for part in value.split("/")] if "/" in value else _value(value)
    unknown = next((key for key in given if key not in kind.__struct_fields__), None)
    if unknown is not None:
        raise ConfigError(source, text, f"{unknown!r} is no key of {name}; {_keys(kind)}")
    if isinstance(given.get("weights"), int | float):
        given["weights"] = [given["weights"]]
    return decode(given, kind, f"{source} {text}")


def _keys(kind: type[msgspec.Struct]) -> str:
    return f"its keys are {', '.join(kind.__struct_fields__)}"


def _value(text: str) -> int | float | str | None:
    """A number where it is one, nothing for `none`, else the text."""
    if text == "none":
        return None
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
