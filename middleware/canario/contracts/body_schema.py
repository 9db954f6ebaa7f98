"""Contracts by the shape of a body: a JSON Schema or a type, for the statuses that have it."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Literal

from canario.control.violation import Violation

from .body import NotDecodableError, is_json, media_type, parsed
from .quoting import brief
from .response import NOT_ABOUT, Answer, Headers, NotChecked, Response, ResponseContract, bodiless
from .shape import Shape, Wrong, schema_shape, type_shape

__all__ = ["ShapeContract", "json_schema_contract", "model_contract", "violation_of_body"]

OtherTypes = Literal["violation", "ignore"]

SUCCESSES = range(200, 300)


def json_schema_contract(
    schema: Mapping[str, Any] | bool | str | os.PathLike[str],
    *,
    name: str | None = None,
    statuses: Collection[int] = SUCCESSES,
    other_types: OtherTypes = "violation",
) -> ShapeContract:
    """Bodies must be JSON that is valid by a schema, of the draft that its `$schema` names.

    Args:
        schema: The schema, or the path of a JSON file with it. Nothing is ever fetched.
        name: Names the contract, in reports and for budgets; by default the file's name without
            its ending, or the schema's `title`, or "contract".
        statuses: The contract is about responses with these.
        other_types: What a response is whose content type is not JSON: a violation, or nothing
            that the contract is about.

    Raises:
        ImportError: When jsonschema-rs is not installed; it names the extra.
        ValueError: When the schema is not valid or the file cannot be read; it names the file
            and the place in it.
    """
    what, document = "schema", schema
    if isinstance(schema, str | os.PathLike):
        what = os.fspath(schema)
        name = name or Path(what).stem
        document = read_json(Path(what))
    if not isinstance(document, Mapping | bool):
        raise ValueError(f"{what}: is a {type(document).__name__}; a JSON Schema is an object")
    title = document.get("title") if isinstance(document, Mapping) else None
    called = name or (title if isinstance(title, str) and title else "contract")
    return ShapeContract(called, schema_shape(document, what), statuses, other_types)


def model_contract(
    model: Any,
    *,
    name: str | None = None,
    statuses: Collection[int] = SUCCESSES,
    other_types: OtherTypes = "violation",
) -> ShapeContract:
    """Bodies must be JSON that a type takes: a pydantic model or `TypeAdapter`, a
    `msgspec.Struct`, a dataclass, or a hint such as `list[Answer]`.

    Args:
        model: The type.
        name: By default the type's.
        statuses: As for `json_schema_contract`.
        other_types: As for `json_schema_contract`.

    Raises `TypeError` for what is no such type, `ImportError` when pydantic is needed and missing.
    """
    shape = type_shape(model)
    return ShapeContract(
        name or str(getattr(model, "__name__", "contract")), shape, statuses, other_types
    )


class ShapeContract(ResponseContract):
    """The bodies of some statuses are JSON of one shape."""

    def __init__(
        self,
        name: str,
        shape: Shape,
        statuses: Collection[int] = SUCCESSES,
        other_types: OtherTypes = "violation",
    ) -> None:
        if other_types not in ("violation", "ignore"):
            raise ValueError(f"other_types is {other_types!r}; valid are violation and ignore")
        self.name = name
        self._shape = shape
        self._statuses = statuses if isinstance(statuses, range) else frozenset(statuses)
        self._ignores = other_types == "ignore"

    def __repr__(self) -> str:
        return f"<contract {self.name!r}>"

    def may_be_about(self, status: int, headers: Headers) -> bool:
        """See `ResponseContract`."""
        if status not in self._statuses or bodiless(status):
            return False
        kind = media_type(headers) if self._ignores else None
        return kind is None or is_json(kind)

    def check(self, response: Response) -> Answer:
        """See `ResponseContract`."""
        if not self.may_be_about(response.status, response.headers):
            return NOT_ABOUT
        kind = media_type(response.headers)
        if kind is not None and not is_json(kind):
            return Violation(
                message=brief(f"the content type is {kind}, which is not JSON"),
                contract=self.name,
                rule="content-type",
                route=response.route or None,
            )
        return violation_of_body(self.name, self._shape, response)


def violation_of_body(name: str, shape: Shape, response: Response) -> Answer:
    """The first thing that is wrong with a body that should be JSON of a shape."""
    try:
        value = parsed(response.body, response.headers)
    except LookupError as error:
        return NotChecked(brief(f"its charset is not known: {error}"))
    except NotDecodableError as error:
        wrong = Wrong(f"the body is not JSON: {brief(str(error), 120)}", "json", "")
    else:
        first = next(iter(shape(value)), None)
        if first is None:
            return None
        wrong = first
    return Violation(
        message=wrong.message,
        contract=name,
        rule=wrong.rule,
        path=wrong.path,
        route=response.route or None,
    )


def read_json(path: Path) -> Any:
    """The value in a JSON file. Raises `ValueError` that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"{path}: is not valid JSON: {error}") from error
