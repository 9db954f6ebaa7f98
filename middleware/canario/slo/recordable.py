"""What may be recorded: errors that name the value and what would be valid."""

from __future__ import annotations

__all__ = ["plain_name"]

# A name is kept for ever, so its length is bounded too.
_LONGEST_NAME = 256


def plain_name(flow_name: object) -> str:
    """The name as plain text, so that a member of an enumeration and its value are one flow.

    Raises `TypeError` for what is no text, `ValueError` for an empty or too long name.
    """
    if not isinstance(flow_name, str):
        raise TypeError(f"flow_name is {flow_name!r}; it must be text")
    name = str(flow_name)
    if not name.strip():
        raise ValueError(f"flow_name is {name!r}; it must not be empty")
    if len(name) > _LONGEST_NAME:
        raise ValueError(
            f"flow_name has {len(name)} characters ({name[:40]!r} ...); "
            f"at most {_LONGEST_NAME} are kept"
        )
    return name
