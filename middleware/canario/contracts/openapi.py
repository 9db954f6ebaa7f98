"""A contract by an OpenAPI document: routes, statuses, content types and schemas."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from canario.control.violation import Violation
from canario.routing.template import normal_route

from .body import is_json, media_type
from .body_schema import violation_of_body
from .by_route import Lookup
from .openapi_document import OpenAPIDocument, read_openapi
from .quoting import brief, escaped
from .response import Answer, NotChecked, Response, ResponseContract, bodiless, header
from .shape import Shape

__all__ = ["OpenAPIContract", "openapi_contract"]

Undocumented = Literal["violation", "not_checked"]
_CHOICES = ("violation", "not_checked")

_STATUS = re.compile(r"[1-5](\d\d|XX)|DEFAULT")

_log = logging.getLogger("canario")


def openapi_contract(
    document: Mapping[str, Any] | str | os.PathLike[str],
    *,
    name: str | None = None,
    undocumented_status: Undocumented = "violation",
    undocumented_route: Undocumented = "not_checked",
) -> OpenAPIContract:
    """Responses must be as an OpenAPI 3.0, 3.1 or 3.2 document says.

    A response is looked up by its route (whatever its parameters are called, below a server's
    path or not, with a slash at its end or not), method, status (`200`, `2XX`, `default`) and
    content type, and its JSON body is held against the schema there. Where the document has an
    operation more than once (`/token#refresh` and `/token#password`), one that allows the
    response is enough. References inside the document are followed, others refused. What of the
    document is not used is logged, and is in the contract's `notes`.

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
    read = OpenAPIDocument(document, what)
    made = OpenAPIContract(
        name or "openapi",
        _operations(read),
        status_violates=undocumented_status == "violation",
        route_violates=undocumented_route == "violation",
        notes=tuple(dict.fromkeys(read.notes)),
    )
    for note in made.notes:
        _log.warning("%s: %s", brief(what), brief(note))
    return made


class Media(NamedTuple):
    """One documented kind of body: its media type's parameters (`version=1`), and its check.

    `shape` is None where there is no schema; `unchecked` says why a body cannot be checked.
    """

    parameters: frozenset[str]
    shape: Shape | None
    unchecked: str | None = None


class Documented(NamedTuple):
    """A documented response.

    `content` maps media types (or `text/*`, `application/*+json`, `*/*`) to the kinds of bodies
    that it has; an empty one says nothing of a body.
    """

    content: Mapping[str, Sequence[Media]]


# Upper-case status ("200", "2XX", "DEFAULT") -> response.
Operation = dict[str, Documented]

# Lower-case method -> what is documented of it, mostly once.
Methods = dict[str, list[Operation]]


class OpenAPIContract(ResponseContract):
    """Holds responses against the operations of a document. See `openapi_contract`."""

    by_route = True

    def __init__(
        self,
        name: str,
        operations: Mapping[str, Methods],
        *,
        status_violates: bool,
        route_violates: bool,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.notes = notes
        self._find: Callable[[str], Methods | None] = Lookup(_with_either_end(operations))
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
            operations = methods.get(response.method.lower(), [])
        else:
            operations = [operation for each in methods.values() for operation in each]
        if not operations:
            return self._undocumented(response, "method")
        return _any_of([self._check(operation, response) for operation in operations])

    def _check(self, operation: Operation, response: Response) -> Answer:
        status = response.status
        if not operation:
            return NotChecked(f"{response.route} documents no response")
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
        main, _, sub = kind.partition("/")
        suffix = sub.rpartition("+")[2] if "+" in sub else None
        # Of the keys that match the most specific one applies (OpenAPI, Response Object).
        ranges = [kind, f"{main}/*", "*/*"]
        if suffix is not None:
            ranges[1:1] = [f"{main}/*+{suffix}"]
        found = next((documented.content[key] for key in ranges if key in documented.content), None)
        if found is None:
            known = ", ".join(documented.content)
            message = f"the content type is {kind or 'missing'}; documented are {known}"
            return self._violation(response, message, "content-type")
        if len(found) > 1:
            # Told apart by parameters; where the response has those of none, any of them may be.
            sent = _parameters((header(response.headers, b"content-type") or b"").decode("latin-1"))
            told = [media for media in found if media.parameters <= sent]
            most = max((len(media.parameters) for media in told), default=0)
            found = [media for media in told if len(media.parameters) == most] or found
        return _any_of([self._body(media, kind, response) for media in found])

    def _body(self, media: Media, kind: str, response: Response) -> Answer:
        if media.unchecked is not None:
            return NotChecked(media.unchecked)
        if media.shape is None:
            return None
        if not is_json(kind):
            return NotChecked(f"there is no checking {brief(kind, 60)} against a schema")
        return violation_of_body(self.name, media.shape, response)

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


def _any_of(answers: Sequence[Answer]) -> Answer:
    """What several documented possibilities come to: one that allows the response is enough."""
    if None in answers:
        return None
    # One that could not be checked might have allowed it, so no violation is known.
    return next((each for each in answers if isinstance(each, NotChecked)), answers[0])


def _operations(document: OpenAPIDocument) -> dict[str, Methods]:
    """Normal route -> lower-case method -> operations."""
    written: dict[str, Methods] = {}
    below: dict[str, Methods] = {}
    for template, item, at in document.paths():
        # What stands behind the path tells operations of one route apart, and is no part of it.
        path = re.split(r"[?#]", template, maxsplit=1)[0]
        for method, raw, where in document.operations(item, at):
            operation = _operation(document, raw, where)
            routes = [(written, path)]
            routes += [(below, base + path) for base in document.base_paths(item, raw)]
            for found, route in routes:
                methods = found.setdefault(normal_route(route), {})
                methods.setdefault(method, []).append(operation)
        written.setdefault(normal_route(path), {})
    for normal, methods in written.items():
        for method, operations in methods.items():
            if len(operations) > 1:
                document.notes.append(
                    f"{method.upper()} {normal} is documented {len(operations)} times; one that "
                    "allows a response is enough"
                )
    # A route that is written out beats one that only a server's path makes the same.
    return {**below, **written}


def _with_either_end(operations: Mapping[str, Methods]) -> dict[str, Methods]:
    """Routes with and without a slash at their ends; as it is written comes first."""
    ends = {
        route.removesuffix("/") if route.endswith("/") else f"{route}/": methods
        for route, methods in operations.items()
    }
    return {**ends, **operations}


def _operation(document: OpenAPIDocument, operation: Mapping[str, Any], at: str) -> Operation:
    responses = operation.get("responses") or {}
    if not isinstance(responses, Mapping):
        raise ValueError(f"{document.what}: {at}/responses is {responses!r}; it must be an object")
    made: Operation = {}
    for written in responses:
        status = written.upper()
        if _STATUS.fullmatch(status):
            response, where = document.resolved(responses[written], f"{at}/responses/{written}")
            made[status] = _documented(document, response, where)
        elif not status.startswith("X-"):
            document.notes.append(
                f"{at}/responses/{brief(written, 40)} is not used: a status is 200, 2XX or default"
            )
    if not made:
        document.notes.append(f"{at} documents no response, so none of it is checked")
    return made


def _documented(document: OpenAPIDocument, response: Mapping[str, Any], at: str) -> Documented:
    content = response.get("content") or {}
    if not isinstance(content, Mapping):
        raise ValueError(f"{document.what}: {at}/content is {content!r}; it must be an object")
    found: dict[str, list[Media]] = {}
    for kind in content:
        media, where = document.resolved(content[kind] or {}, f"{at}/content/{escaped(kind)}")
        shape, unchecked = None, None
        if "schema" in media:
            shape = document.shape_at(f"{where}/schema")
        elif "itemSchema" in media:
            unchecked = "there is no checking the items of a stream against a schema"
        found.setdefault(_plain(kind), []).append(Media(_parameters(kind), shape, unchecked))
    return Documented(found)


def _plain(kind: str) -> str:
    return kind.partition(";")[0].strip().lower()


def _parameters(kind: str) -> frozenset[str]:
    """`version=1` of `application/json; charset=utf-8; Version="1"`: the charset says nothing of
    what a body holds."""
    found = (part.strip().replace('"', "").lower() for part in kind.split(";")[1:])
    return frozenset(part for part in found if part and not part.startswith("charset"))
