"""YAML, read safely and written for people. PyYAML comes with `canario[openslo]`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from canario.printable import printable_lines

__all__ = ["dump_yaml", "load_yaml"]

_MISSING = "YAML needs PyYAML; install it with: pip install 'canario[openslo]'"


def dump_yaml(documents: Sequence[Any]) -> str:
    """The documents as a stream of YAML. Raises `ModuleNotFoundError` where PyYAML is missing."""
    yaml = _yaml()

    def dump(*, unicode: bool) -> str:
        text: str = yaml.safe_dump_all(
            documents,
            sort_keys=False,
            allow_unicode=unicode,
            width=100,
            explicit_start=len(documents) > 1,
        )
        return text

    text = dump(unicode=True)
    # What turns the direction of a line around is among the characters that YAML lets through.
    return text if printable_lines(text) == text else dump(unicode=False)


def load_yaml(text: str) -> list[Any]:
    """The documents of a stream of YAML, without tags that make objects.

    Raises `ValueError`, which says where, for what is no such text, and `ModuleNotFoundError`
    where PyYAML is missing.
    """
    yaml = _yaml()
    try:
        return list(yaml.safe_load_all(text))
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def _yaml() -> Any:
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(_MISSING, name="yaml") from error
    return yaml
