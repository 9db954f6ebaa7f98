"""Contracts by OpenAPI documents: what is documented is what is valid."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from canario.contracts import NotChecked, OpenAPIContract, Response, openapi_contract
from canario.control.violation import Violation

JSON = ((b"content-type", b"application/json"),)

OLD: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "plans", "version": "1"},
    "servers": [{"url": "https://example.org/api/v1/"}],
    "paths": {
        "/plans/{plan_id}": {
            "get": {
                "responses": {
                    "200": {"$ref": "#/components/responses/Plan"},
                    "4XX": {"description": "no", "content": {"application/problem+json": {}}},
                }
            },
            "put": {"responses": {"204": {"description": "done"}, "default": {"description": ""}}},
        },
        "/export": {
            "get": {
                "responses": {
                    "200": {
                        "description": "a file",
                        "content": {
                            "text/*": {"schema": {"type": "string"}},
                            "application/json; charset=utf-8": {
                                "schema": {"$ref": "#/components/schemas/Plan"}
                            },
                        },
                    }
                }
            }
        },
    },
    "components": {
        "responses": {
            "Plan": {
                "description": "a plan",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Plan"}}},
            }
        },
        "schemas": {
            "Plan": {
                "type": "object",
                "required": ["title", "note", "secret"],
                "properties": {
                    "title": {"type": "string"},
                    "note": {"type": "string", "nullable": True},
                    "secret": {"type": "string", "writeOnly": True},
                    "nullable": {"type": "boolean"},
                    "share": {"type": "number", "minimum": 0, "exclusiveMinimum": True},
                    "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Plan"}},
                },
                "example": {"type": "not a type", "$ref": "not a reference"},
            }
        },
    },
}

GOOD = b'{"title": "t", "note": null}'


def asked(
    contract: OpenAPIContract,
    route: str = "/plans/{plan_id}",
    status: int = 200,
    body: bytes = GOOD,
    method: str = "GET",
    headers: Any = JSON,
) -> Any:
    return contract.check(Response("canary", route, status, headers, body, None, method))


@pytest.fixture(scope="module")
def contract() -> OpenAPIContract:
    return openapi_contract(OLD)


@pytest.mark.parametrize(
    "route",
    [
        "/plans/{plan_id}",
        "/plans/{id}",
        "/plans/{id:int}",
        "/plans/<int:id>",
        "/plans/<id>",
        "/api/v1/plans/{id}",
        "plans/<uuid:id>",
    ],
)
def test_a_route_is_matched_whatever_its_parameters_are_called(
    contract: OpenAPIContract, route: str
) -> None:
    assert asked(contract, route) is None
    assert asked(contract, route, body=b"[]").rule == "type"


@pytest.mark.parametrize(
    ("body", "rule", "path"),
    [
        (b'{"title": 1, "note": null}', "type", "/title"),
        (b'{"title": "t"}', "required", ""),
        (b'{"title": "t", "note": "n", "nullable": null}', "type", "/nullable"),
        (b'{"title": "t", "note": "n", "share": 0}', "exclusiveMinimum", "/share"),
        (b'{"title": "t", "note": "n", "parts": [{"title": "t", "note": 1}]}', "type",
         "/parts/0/note"),
        (b"", "json", ""),
    ],
)  # fmt: skip
def test_a_violation_names_rule_and_path(
    contract: OpenAPIContract, body: bytes, rule: str, path: str
) -> None:
    answer = asked(contract, body=body)
    assert isinstance(answer, Violation)
    assert (answer.contract, answer.rule, answer.path) == ("openapi", rule, path)
    assert answer.route == "/plans/{plan_id}"


def test_a_status_is_matched_exactly_by_its_class_or_by_default(contract: OpenAPIContract) -> None:
    problem = ((b"content-type", b"application/problem+json; charset=utf-8"),)
    assert asked(contract, status=404, body=b"anything", headers=problem) is None
    assert asked(contract, status=404, body=b"{}").rule == "content-type"
    assert asked(contract, status=302).rule == "status"
    assert asked(contract, status=418, method="PUT", body=b"") is None
    assert asked(contract, status=204, method="PUT", body=b"") is None


def test_an_undocumented_status_may_be_left_unchecked_and_a_5xx_is() -> None:
    lenient = openapi_contract(OLD, undocumented_status="not_checked")
    assert isinstance(asked(lenient, status=302), NotChecked)
    assert isinstance(asked(openapi_contract(OLD), status=503), NotChecked)


def test_a_route_or_method_that_is_not_documented_is_not_checked_unless_wanted(
    contract: OpenAPIContract,
) -> None:
    strict = openapi_contract(OLD, undocumented_route="violation")
    for route, method, rule in (("/none", "GET", "route"), ("/export", "POST", "method")):
        assert isinstance(asked(contract, route, method=method), NotChecked)
        assert asked(strict, route, method=method).rule == rule
    assert isinstance(asked(contract, ""), NotChecked)


def test_content_types_are_matched_with_wildcards(contract: OpenAPIContract) -> None:
    text = ((b"content-type", b"text/csv"),)
    assert isinstance(asked(contract, "/export", body=b"a,b", headers=text), NotChecked)
    assert asked(contract, "/export") is None
    assert asked(contract, "/export", body=b"{}").rule == "required"
    image = ((b"content-type", b"image/png"),)
    assert asked(contract, "/export", headers=image).rule == "content-type"
    assert asked(contract, "/export", headers=()).rule == "content-type"


def test_without_a_method_one_operation_that_allows_it_is_enough(contract: OpenAPIContract) -> None:
    assert asked(contract, status=204, method="", body=b"") is None
    assert contract("/export", 200, JSON, b"{}").rule == "required"  # type: ignore[union-attr]


def test_a_file_names_the_contract(tmp_path: Path) -> None:
    as_json, as_yaml = tmp_path / "plans.json", tmp_path / "plans.yaml"
    as_json.write_text(json.dumps(OLD))
    # As people write it: statuses are numbers, and YAML reads dates.
    text = yaml.safe_dump(OLD).replace("'200':", "200:")
    as_yaml.write_text(text.replace("version: '1'", "version: 2026-11-24"))
    for path in (as_json, as_yaml):
        answer = asked(openapi_contract(path), body=b"{}")
        assert (answer.contract, answer.rule) == ("plans", "required")


def changed(path: str, value: Any) -> dict[str, Any]:
    document = copy.deepcopy(OLD)
    *parts, last = path.split(".")
    table = document
    for part in parts:
        table = table[part]
    table[last] = value
    return document


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "openapi is ''"),
        ({"swagger": "2.0"}, "must be an OpenAPI document"),
        (changed("paths", []), r"paths is \[\]"),
        (changed("components.schemas.Plan.properties.title", {"type": "strng"}),
         "not a valid JSON Schema at .*/Plan/properties/title"),
        (changed("components.schemas.Plan.properties.title", {"$ref": "#/components/x"}),
         "components/x"),
        (changed("components.schemas.Plan.properties.title", {"$ref": "other.yaml"}), "other.yaml"),
        (changed("components.responses", {}), "#/components/responses/Plan, which does not exist"),
        (changed("components.responses.Plan", {"$ref": "http://example.org/x"}), "only references"),
        (changed("paths./plans/{other}", {}), "are the same"),
    ],
)  # fmt: skip
def test_a_document_that_is_not_valid_is_refused_with_the_place(
    document: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = tmp_path / "doc.json"
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match=f"(?s)doc.json.*{message}"):
        openapi_contract(path)


def test_version_3_1_has_the_keywords_of_2020_12() -> None:
    document = changed("openapi", "3.1.0")
    plan = document["components"]["schemas"]["Plan"]["properties"]
    plan["share"] = {"type": ["number", "null"], "exclusiveMinimum": 0}
    plan["note"] = {"$ref": "#/components/schemas/Note", "maxLength": 2}
    document["components"]["schemas"]["Note"] = {"type": ["string", "null"]}
    contract = openapi_contract(document)
    assert asked(contract) is None
    assert asked(contract, body=b'{"title": "t", "note": "n", "share": null}') is None
    assert asked(contract, body=b'{"title": "t", "note": "n", "share": 0}').path == "/share"
    # Beside a reference 3.1 has keywords, which 3.0 ignores.
    assert asked(contract, body=b'{"title": "t", "note": "long"}').rule == "maxLength"
