"""Contracts by OpenAPI documents: what is documented is what is valid."""

from __future__ import annotations

import copy
import json
import logging
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
        (changed("openapi", "3.3.0"), "3.0.x, 3.1.x or 3.2.x"),
        (changed("openapi", "3.10.0"), "3.0.x, 3.1.x or 3.2.x"),
        (changed("jsonSchemaDialect", "http://json-schema.org/draft-07/schema#"), "2020-12"),
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


# -- what documents of real services have in them


def document(
    schema: Any,
    *,
    version: str = "3.0.3",
    schemas: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A document of `GET /a`, which answers 200 with JSON of a schema."""
    return {
        "openapi": version,
        "info": {"title": "t", "version": "1"},
        "paths": {"/a": {"get": operation(schema)}},
        "components": {"schemas": schemas or {}},
        **more,
    }


def operation(schema: Any, kind: str = "application/json", status: str = "200") -> dict[str, Any]:
    content = {kind: {"schema": schema}}
    return {"responses": {status: {"description": "", "content": content}}}


def says(contract: OpenAPIContract, body: Any, route: str = "/a", **how: Any) -> Any:
    return asked(contract, route, body=json.dumps(body).encode(), **how)


INTEGER, TEXT = {"type": "integer"}, {"type": "string"}


def test_one_path_parameter_may_have_two_names() -> None:
    made = document({})
    made["paths"] = {
        "/i/{a}": {"get": operation(INTEGER)},
        "/i/{b}": {"put": operation(TEXT), "get": operation({"type": "boolean"})},
    }
    contract = openapi_contract(made)
    assert says(contract, "text", "/i/{x}", method="PUT") is None
    assert says(contract, 1, "/i/{x}", method="PUT").rule == "type"
    # Documented twice: one that allows it is enough, and that is said.
    assert says(contract, 1, "/i/{x}") is says(contract, True, "/i/{x}") is None
    assert says(contract, "text", "/i/{x}").rule == "type"
    assert contract.notes == (
        "GET /i/{} is documented 2 times; one that allows a response is enough",
    )


def test_what_stands_behind_a_path_is_no_part_of_the_route() -> None:
    made = document({})
    made["paths"] = {
        "/oauth2/token#refresh": {"post": operation(INTEGER)},
        "/oauth2/token#password": {"post": operation(TEXT)},
        "/find?by=name": {"get": operation(TEXT)},
    }
    contract = openapi_contract(made)
    assert says(contract, 1, "/oauth2/token", method="POST") is None
    assert says(contract, "t", "/oauth2/token", method="POST") is None
    assert says(contract, [], "/oauth2/token", method="POST").rule == "type"
    assert says(contract, 1, "/find").rule == "type"


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize(
    "name", ["Page<Item>", "Page[Item]", "My Item", "a/b~c", "100%", "é", "a#b"]
)
@pytest.mark.parametrize("written", ["encoded", "as it is"])
def test_a_reference_may_hold_any_name(name: str, version: str, written: str) -> None:
    from urllib.parse import quote

    pointer = name.replace("~", "~0").replace("/", "~1")
    reference = "#/components/schemas/" + (
        quote(pointer, safe="~") if written == "encoded" else pointer
    )
    schemas = {name: INTEGER, "Other": {"$ref": reference}}
    contract = openapi_contract(
        document(
            {"items": {"$ref": "#/components/schemas/Other"}}, version=version, schemas=schemas
        )
    )
    assert says(contract, [1]) is None
    assert says(contract, ["t"]).path == "/0"


SECRET = {"type": "string", "writeOnly": True}


@pytest.mark.parametrize("version", ["3.0.3", "3.1.0"])
@pytest.mark.parametrize(
    "schema",
    [
        {"required": ["a", "secret"], "properties": {"secret": {"$ref": "#/components/schemas/S"}}},
        {"required": ["a", "secret"], "properties": {"secret": {"$ref": "#/components/schemas/T"}}},
        {
            "required": ["secret", "a"],
            "properties": {"secret": {"allOf": [{"$ref": "#/components/schemas/S"}]}},
        },
        {"allOf": [{"properties": {"secret": SECRET}}, {"required": ["a", "secret"]}]},
        {"allOf": [{"$ref": "#/components/schemas/Base"}], "required": ["a", "secret"]},
        {"allOf": [{"$ref": "#/components/schemas/Loop"}], "required": ["a", "secret"]},
    ],
)
def test_what_is_write_only_wherever_that_stands_is_not_required(
    schema: dict[str, Any], version: str
) -> None:
    schemas = {
        "S": SECRET,
        "T": {"$ref": "#/components/schemas/S"},
        "Base": {"properties": {"secret": SECRET}},
        "Loop": {
            "allOf": [{"$ref": "#/components/schemas/Loop"}, {"$ref": "#/components/schemas/Base"}]
        },
    }
    if "Loop" in str(schema):
        schemas["Loop"]["allOf"] = schemas["Loop"]["allOf"][1:]  # type: ignore[index]
    contract = openapi_contract(document(schema, version=version, schemas=schemas))
    assert says(contract, {"a": 1}) is None
    assert says(contract, {}).rule == "required"


def test_a_schema_that_is_a_part_of_itself_is_looked_through_once() -> None:
    from canario.contracts.openapi_schemas import for_responses

    loop: dict[str, Any] = {"required": ["a"], "properties": {"a": SECRET}}
    loop["allOf"] = [{"$ref": "#"}, {"$ref": "#"}]
    made = for_responses(loop, lambda reference: (reference, loop), old=True)
    assert "required" not in made


def test_what_is_read_only_belongs_to_a_response() -> None:
    schema = {"required": ["id"], "properties": {"id": {"type": "integer", "readOnly": True}}}
    contract = openapi_contract(document(schema))
    assert says(contract, {}).rule == "required"
    assert says(contract, {"id": 1}) is None


KIND = {"type": "string", "enum": ["a", "b"]}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "nullable": True},
        {"allOf": [{"$ref": "#/components/schemas/Kind"}], "nullable": True},  # drf-spectacular
        {"nullable": True, "readOnly": True, "allOf": [{"$ref": "#/components/schemas/Kind"}]},
        {"$ref": "#/components/schemas/Kind", "nullable": True},
        {"oneOf": [{"$ref": "#/components/schemas/Kind"}], "nullable": True},
        {
            "oneOf": [{"$ref": "#/components/schemas/Kind"}, {"enum": [None]}],
            "nullable": True,
        },
        {"anyOf": [{"$ref": "#/components/schemas/Kind"}], "nullable": True},
        {**KIND, "nullable": True},
        {"type": "string", "allOf": [{"$ref": "#/components/schemas/Kind"}], "nullable": True},
        {"$ref": "#/components/schemas/Null"},
        {"not": {"enum": [1, None]}, "type": "string", "nullable": True},
    ],
)
def test_what_is_nullable_may_be_null_whatever_stands_beside_it(schema: dict[str, Any]) -> None:
    schemas = {"Kind": KIND, "Null": {**KIND, "nullable": True}}
    contract = openapi_contract(
        document({"properties": {"kind": schema, "nullable": {"type": "boolean"}}}, schemas=schemas)
    )
    assert says(contract, {"kind": None}) is None
    assert says(contract, {"kind": "a"}) is None
    wrong = says(contract, {"kind": 1})
    assert wrong.path == "/kind"
    assert wrong.rule in ("type", "enum", "anyOf", "oneOf", "not")
    assert says(contract, {"nullable": None}).rule == "type"


def test_a_violation_of_what_may_be_null_names_what_is_wrong_and_not_that_it_is_not_null() -> None:
    plan = {"type": "object", "required": ["title"], "properties": {"title": TEXT}}
    schema = {"allOf": [{"$ref": "#/components/schemas/Plan"}], "nullable": True}
    contract = openapi_contract(document({"properties": {"plan": schema}}, schemas={"Plan": plan}))
    wrong = says(contract, {"plan": {"title": 1}})
    assert (wrong.rule, wrong.path) == ("type", "/plan/title")


def test_nullable_in_a_document_that_has_no_such_keyword_is_taken_as_meant_and_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "canario"):
        contract = openapi_contract(document({"type": "string", "nullable": True}, version="3.1.0"))
    assert says(contract, None) is None
    assert "nullable is no keyword of OpenAPI 3.1.0" in caplog.text


def test_keywords_of_3_1_in_a_document_of_3_0_are_not_checked_and_said() -> None:
    schema = {"const": "a", "properties": {"const": {"exclusiveMinimum": 0}}}
    (note,) = openapi_contract(document(schema)).notes
    assert note == "OpenAPI 3.0.3 has no const, exclusiveMinimum: of 3.1, and not checked"
    assert openapi_contract(document(schema, version="3.1.0")).notes == ()


def test_a_response_by_default_or_named_like_a_keyword_has_the_same_schemas() -> None:
    made = document({}, schemas={"default": {"type": "string", "nullable": True}})
    made["components"]["responses"] = {
        "example": {"description": "", "content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/default"}}}},
    }  # fmt: skip
    made["paths"]["/a"]["get"] = operation({"type": "string", "nullable": True}, status="default")
    made["paths"]["/b"] = {
        "get": {"responses": {"2xx": {"$ref": "#/components/responses/example"}}}
    }
    contract = openapi_contract(made)
    assert says(contract, None) is says(contract, None, status=404) is None
    assert says(contract, None, "/b") is says(contract, None, "/b", status=201) is None
    assert says(contract, 1, "/b", status=201).rule == "type"


def test_of_what_a_discriminator_tells_apart_one_has_to_fit() -> None:
    cat = {"type": "object", "required": ["kind"], "properties": {"kind": TEXT, "lives": INTEGER}}
    dog = {"type": "object", "required": ["kind"], "properties": {"kind": TEXT, "tricks": INTEGER}}
    either = [{"$ref": "#/components/schemas/Cat"}, {"$ref": "#/components/schemas/Dog"}]
    schemas = {"Cat": cat, "Dog": dog}
    told = {"oneOf": either, "discriminator": {"propertyName": "kind"}}
    contract = openapi_contract(document(told, schemas=schemas))
    assert says(contract, {"kind": "Cat"}) is None
    assert says(contract, {"lives": 7}).rule == "anyOf"
    assert says(openapi_contract(document({"oneOf": either}, schemas=schemas)), {"kind": "Cat"})


def test_a_union_as_drf_spectacular_writes_it_in_3_1_takes_what_django_sends() -> None:
    url = {"oneOf": [{"type": "string", "format": "uri"}, {"type": "string", "maxLength": 0}]}
    schema = {"properties": {"url": url, "any": {"oneOf": [{}, {"type": "null"}]}}}
    for version in ("3.0.3", "3.1.0"):
        if version == "3.0.3":
            schema["properties"]["any"] = {"oneOf": [{}, {"enum": [None]}]}
        contract = openapi_contract(document(schema, version=version))
        assert says(contract, {"url": "", "any": None}) is None
        assert says(contract, {"url": "https://example.org", "any": 1}) is None
        assert says(contract, {"url": 1}).path == "/url"


@pytest.mark.parametrize(("written", "asked_for"), [("/a/", "/a"), ("/a", "/a/"), ("/a/", "/a/")])
def test_a_slash_at_the_end_makes_no_other_route(written: str, asked_for: str) -> None:
    made = document({})
    made["paths"] = {written: {"get": operation(INTEGER)}}
    assert says(openapi_contract(made), "t", asked_for).rule == "type"
    made["paths"] = {"/a": {"get": operation(INTEGER)}, "/a/": {"get": operation(TEXT)}}
    both = openapi_contract(made)
    assert says(both, 1, "/a") is says(both, "t", "/a/") is None
    assert says(both, "t", "/a").rule == "type"


def test_the_paths_of_servers_stand_before_a_route_wherever_they_are_given() -> None:
    versions = {"version": {"default": "v1", "enum": ["v1", "v2"]}}
    made = document(
        INTEGER, servers=[{"url": "https://{host}/api/{version}/", "variables": versions}]
    )
    made["paths"]["/a"]["servers"] = [{"url": "own"}, {"url": "."}, {"url": "https://[::1/x"}]
    made["paths"]["/a"]["get"]["servers"] = [{"url": "//example.org/last"}]
    contract = openapi_contract(made)
    for route in ("/a", "/api/v1/a", "/api/v2/a", "/own/a", "/last/a"):
        assert says(contract, "t", route).rule == "type"
    assert isinstance(says(contract, "t", "/api/v3/a"), NotChecked)
    assert any("https://[::1/x" in note for note in contract.notes)


def test_content_types_of_vendors_and_their_parameters() -> None:
    made = document({})
    made["paths"]["/a"]["get"] = {"responses": {"200": {"description": "", "content": {
        "application/vnd.a+json; version=1": {"schema": INTEGER},
        "application/vnd.a+json; version=2; charset=utf-8": {"schema": TEXT},
        "application/*+json": {"schema": {"type": "boolean"}},
    }}}}  # fmt: skip
    contract = openapi_contract(made)

    def told(kind: str, body: Any) -> Any:
        return says(contract, body, headers=((b"content-type", kind.encode()),))

    assert told('application/vnd.a+json; Version="1"', 1) is None
    assert told("application/vnd.a+json;version=1;charset=UTF-8", "t").rule == "type"
    assert told("application/vnd.a+json; version=2", "t") is None
    assert told("application/vnd.a+json", "t") is told("application/vnd.a+json", 1) is None
    assert told("application/vnd.a+json", []).rule == "type"
    assert told("application/problem+json", True) is None
    assert told("application/problem+json", 1).rule == "type"
    assert told("application/json", True).rule == "content-type"


def test_what_of_a_document_is_not_used_is_said(caplog: pytest.LogCaptureFixture) -> None:
    made = document(INTEGER)
    made["paths"] |= {
        "no/slash": {"get": operation(INTEGER)},
        "x-internal": 1,
        "/empty": {"get": {}, "put": "later", "x-put": 1},
    }
    made["paths"]["/a"]["get"]["responses"] |= {"ok": {"description": ""}, "x-more": 1}
    with caplog.at_level(logging.WARNING, "canario"):
        contract = openapi_contract(made)
    assert says(contract, "t").rule == "type"  # the rest is checked
    assert isinstance(says(contract, "t", "/empty"), NotChecked)
    for said in ("'no/slash'", "/put", "responses/ok", "documents no response"):
        assert [note for note in contract.notes if said in note]
        assert said in caplog.text
    assert len(contract.notes) == 4


def test_version_3_2_has_more_methods_and_its_own_name() -> None:
    made = document(INTEGER, version="3.2.0")
    made["$self"] = "https://example.org/openapi"
    made["components"]["schemas"]["T"] = TEXT
    made["components"]["mediaTypes"] = {
        "T": {"schema": {"$ref": "https://example.org/openapi#/components/schemas/T"}}
    }
    made["paths"]["/a"]["query"] = operation(TEXT)
    kinds = {
        "application/json": {"$ref": "#/components/mediaTypes/T"},
        "application/jsonl": {"itemSchema": TEXT},
    }
    made["paths"]["/a"]["additionalOperations"] = {
        "COPY": {"responses": {"200": {"content": kinds}}}
    }
    contract = openapi_contract(made)
    assert contract.notes == ()
    assert says(contract, "t", method="QUERY") is says(contract, "t", method="COPY") is None
    assert says(contract, 1, method="QUERY").rule == says(contract, 1, method="COPY").rule == "type"
    lines = ((b"content-type", b"application/jsonl"),)
    assert isinstance(says(contract, "t", method="COPY", headers=lines), NotChecked)


@pytest.mark.parametrize(("version", "asserted"), [("3.0.3", True), ("3.1.0", False)])
def test_formats_are_rules_in_3_0_alone_as_the_page_says(version: str, asserted: bool) -> None:
    contract = openapi_contract(
        document({"type": "string", "format": "date-time"}, version=version)
    )
    assert (says(contract, "yesterday") is not None) is asserted
    page = Path(__file__).parents[2] / "docs" / "contracts.md"
    assert "`format`" in page.read_text(encoding="utf-8")


def test_a_python_document_may_have_numbers_for_statuses() -> None:
    made = document(INTEGER)
    responses = made["paths"]["/a"]["get"]["responses"]
    responses[200] = responses.pop("200")
    assert says(openapi_contract(made), "t").rule == "type"
