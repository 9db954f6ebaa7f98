"""A contract by an OpenAPI document: routes, statuses, content types and schemas."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from canario.control.violation import Violation

from .body import is_json, media_type
from .openapi_document import (
    METHODS,
    OpenAPIDocument,
    read_openapi,
)
from .response import Answer, NotChecked, Response, ResponseContract, bodiless
from .routes import Lookup, normal_route
from .schema import violation_of_body
from .shape import Shape
from .wording import brief

__all__ = ["OpenAPIContract", "openapi_contract"]

Undocumented = Literal["violation", "not_checked"]
_CHOICES = ("violation", "not_checked")


def openapi_contract(
    document: Mapping[str, Any] | str | os.PathLike[str],
    *,
    name: str | None = None,
    undocumented_status: Undocumented = "violation",
    undocumented_route: Undocumented = "not_checked",
) -> OpenAPIContract:
    """Responses must be as an OpenAPI 3.0 or 3.1 document says.

    A response is looked up by its route (whatever its parameters are called, below a server's
    path or not), method, status (`200`, `2XX`, `default`) and content type, and its JSON body
    is held against the schema there. References inside the document are followed, others refused.

    Args:
        document: The document, or the path of a JSON or YAML file with it.
        name: Names the contract; by default the file's name without its ending, or "openapi".
        undocumented_status: What a status is that the operation does not have. A 5xx that it
            does not have is never a violation: the error rate judges it.
        undocumented_route: What a route, or a method of it, is that the document does not have.

    Raises:
        ImportError: When jsonschema-rs, or PyYAML for a YAML file, is not installed.
        ValueError: When the document is not valid; it names the file and the place in it.
    """
    for key, value in (
        ("undocumented_status", undocumented_status),
        ("undocumented_route", undocumented_route),
    ):
        if value not in _CHOICES:
            raise ValueError(f"{key} is {value!r}; valid are {' and '.join(_CHOICES)}")
    what = "OpenAPI document"
    if not isinstance(document, Mapping):
        what = os.fspath(document)
        name = name or Path(what).stem
        document = read_openapi(Path(what))
    return OpenAPIContract(
        name or "openapi",
        _operations(OpenAPIDocument(document, what)),
        status_violates=undocumented_status == "violation",
        route_violates=undocumented_route == "violation",
    )


class Documented(NamedTuple):
    """A documented response.

    `content` maps media types (or `text/*`, `*/*`) to the check of their bodies, None where they
    have no schema; an empty one says nothing of a body.
    """

    content: Mapping[str, Shape | None]


# Upper-case status ("200", "2XX", "DEFAULT") -> response.
Operation = dict[str, Documented]


class OpenAPIContract(ResponseContract):
    """Holds responses against the operations of a document. See `openapi_contract`."""

    def __init__(
        self,
        name: str,
        operations: Mapping[str, Mapping[str, Operation]],
        *,
        status_violates: bool,
        route_violates: bool,
    ) -> None:
        self.name = name
        self._find: Callable[[str], Mapping[str, Operation] | None] = Lookup(operations)
        self._status_violates = status_violates
        self._route_violates = route_violates

    def __repr__(self) -> str:
        return f"<OpenAPI contract {self.name!r}>"

    def check(self, response: Response) -> Answer:
        """See `ResponseContract`. Without a method, it is enough that one operation allows it."""
        methods = self._find(response.route)
        if methods is None:
            return self._undocumented(response, "route")
        if response.method:
            operation = methods.get(response.method.lower())
            if operation is None:
                return self._undocumented(response, "method")
            return self._check(operation, response)
        answers = [self._check(operation, response) for operation in methods.values()]
        if not answers:
            return self._undocumented(response, "method")
        return None if None in answers else answers[0]

    def _check(self, operation: Operation, response: Response) -> Answer:
        status = response.status
        documented = (
            operation.get(str(status))
            or operation.get(f"{status // 100}XX")
            or operation.get("DEFAULT")
        )
        if documented is None:
            if self._status_violates and status < 500:
                known = ", ".join(operation).lower() or "none"
                return self._violation(
                    response, f"the status {status} is not documented, but {known}", "status"
                )
            return NotChecked(f"the status {status} is not documented for {response.route}")
        if not documented.content or bodiless(status):
            return None
        return self._content(documented, response)

    def _content(self, documented: Documented, response: Response) -> Answer:
        kind = media_type(response.headers) or ""
        main = kind.partition("/")[0]
        for key in (kind, f"{main}/*", "*/*"):
            if key in documented.content:
                break
        else:
            known = ", ".join(documented.content)
            message = f"the content type is {kind or 'missing'}; documented are {known}"
            return self._violation(response, message, "content-type")
        shape = documented.content[key]
        if shape is None:
            return None
        if not is_json(kind):
            return NotChecked(f"there is no checking {brief(kind, 60)} against a schema")
        return violation_of_body(self.name, shape, response)

    def _undocumented(self, response: Response, what: str) -> Answer:
        at = f"{response.method} {response.route}".strip()
        if self._route_violates:
            return self._violation(response, f"the {what} of {at!r} is not documented", what)
        return NotChecked(f"the {what} of {brief(at, 100)!r} is not documented")

    def _violation(self, response: Response, message: str, rule: str) -> Violation:
        return Violation(
            message=brief(message),
            contract=self.name,
            rule=rule,
            route=response.route or None,
        )


def _operations(document: OpenAPIDocument) -> dict[str, dict[str, Operation]]:
    """Normal route -> lower-case method -> operation."""
    found: dict[str, dict[str, Operation]] = {}
    written: dict[str, str] = {}
    for template, item, at in document.paths():
        normal = normal_route(template)
        if written.setdefault(normal, template) != template:
            raise ValueError(
                f"{document.what}: paths has {written[normal]} and {template}, which are the same"
            )
        methods = {
            method: _operation(document, item[method], f"{at}/{method}")
            for method in METHODS
            if isinstance(item.get(method), Mapping)
        }
        for prefix in ("", *document.base_paths()):
            # A route that is written out beats one that only a server's path makes the same.
            if prefix == "" or normal_route(prefix + template) not in found:
                found[normal_route(prefix + template)] = methods
    return found


def _operation(document: OpenAPIDocument, operation: Mapping[str, Any], at: str) -> Operation:
    responses = operation.get("responses", {})
    if not isinstance(responses, Mapping):
        raise ValueError(f"{document.what}: {at}/responses is {responses!r}; it must be an object")
    made: Operation = {}
    for status in responses:
        if not str(status).startswith("x-"):
            response, where = document.resolved(responses[status], f"{at}/responses/{status}")
            made[str(status).upper()] = _documented(document, response, where)
    return made


def _documented(document: OpenAPIDocument, response: Mapping[str, Any], at: str) -> Documented:
    content = response.get("content") or {}
    return Documented(
        {
            _plain(kind): document.shape_at(f"{at}/content/{_escaped(kind)}/schema")
            if isinstance(content[kind], Mapping) and "schema" in content[kind]
            else None
            for kind in content
        }
    )


def _plain(kind: str) -> str:
    return kind.partition(";")[0].strip().lower()


def _escaped(part: str) -> str:
    return part.replace("~", "~0").replace("/", "~1")
