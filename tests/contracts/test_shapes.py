"""JSON Schemas and types: valid is what their own authors' validators call valid."""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Iterable, Iterator
from itertools import combinations, starmap
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import msgspec
import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from canario.contracts import NotChecked, json_schema_contract, model_contract
from canario.contracts.quoting import brief, pointer
from canario.contracts.response import NOT_ABOUT
from canario.control.violation import Violation

JSON = [(b"Content-Type", b"application/json")]


def said(contract: Any, body: bytes, status: int = 200, headers: Any = JSON) -> Any:
    return contract("/evaluate", status, headers, body)


# -- against jsonschema

names = st.sampled_from(["a", "b", "c/~d"])
values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "ab", "abc"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
simple = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["object", "array", "string", "integer", "number", "null"]),
        "minimum": st.integers(-3, 3),
        "exclusiveMaximum": st.integers(-3, 5),
        "multipleOf": st.integers(1, 3),
        "minLength": st.integers(0, 3),
        "pattern": st.sampled_from(["^a", "b$"]),
        "enum": st.lists(values, min_size=1, max_size=3),
        "const": values,
    },
)
schemas = st.recursive(
    simple,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", ["object", "null"]]),
            "properties": st.dictionaries(names, inner, max_size=2),
            "required": st.lists(names, unique=True, max_size=2),
            "additionalProperties": st.booleans() | inner,
            "items": inner,
            "maxItems": st.integers(0, 3),
            "uniqueItems": st.booleans(),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "not": inner,
        },
    ),
    max_leaves=6,
)


def pairwise(validator: Any, asked: bool, value: Any, schema: Any) -> Any:
    """`uniqueItems` with every pair compared. jsonschema compares neighbours after it has sorted
    the items, for which Python's False is 0: in [[false], [0], [false]] it finds no two alike."""
    if asked and isinstance(value, list) and any(starmap(alike, combinations(value, 2))):
        yield jsonschema.ValidationError("two items are alike")


def alike(one: Any, other: Any) -> bool:
    return bool(jsonschema.Draft202012Validator({"const": one}).is_valid(other))


def with_those_below(errors: Iterable[Any]) -> Iterator[Any]:
    for error in errors:
        yield error
        yield from with_those_below(error.context or ())


Peer = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, validators={"uniqueItems": pairwise}
)


@settings(max_examples=250)
@example(schema={"uniqueItems": True}, value=[[False], [0], [False]])
@example(schema={"anyOf": [{"type": "null"}, {"type": "object"}]}, value=[])
@given(schema=schemas, value=values)
def test_valid_is_what_jsonschema_calls_valid(schema: dict[str, Any], value: Any) -> None:
    answer = said(json_schema_contract(schema), json.dumps(value).encode())
    errors = list(Peer(schema).iter_errors(value))
    assert (answer is None) == (not errors)
    if answer is not None:
        assert isinstance(answer, Violation)
        # Beside null there may be but one branch: then it is that one's error that is told.
        told = list(with_those_below(errors))
        assert answer.rule in {error.validator for error in told}
        assert answer.path in {pointer(error.absolute_path) for error in told}


@pytest.mark.parametrize(
    ("dialect", "validator"),
    [
        ("http://json-schema.org/draft-04/schema#", jsonschema.Draft4Validator),
        ("http://json-schema.org/draft-07/schema#", jsonschema.Draft7Validator),
        ("https://json-schema.org/draft/2020-12/schema", jsonschema.Draft202012Validator),
    ],
)
def test_the_draft_is_the_one_that_the_schema_names(dialect: str, validator: Any) -> None:
    # Each of these means something else from draft to draft.
    for rule in ({"prefixItems": [{"type": "string"}]}, {"items": [{"type": "string"}]}):
        schema = {"$schema": dialect, **rule}
        try:
            validator.check_schema(schema)
        except jsonschema.SchemaError:
            with pytest.raises(ValueError, match="not a valid JSON Schema"):
                json_schema_contract(schema)
            continue
        ours = said(json_schema_contract(schema), b"[1]") is None
        assert ours == validator(schema).is_valid([1])


def test_a_violation_names_contract_rule_and_path() -> None:
    schema = {
        "title": "answer",
        "properties": {"questions": {"items": {"properties": {"score": {"maximum": 100}}}}},
    }
    answer = said(json_schema_contract(schema), b'{"questions": [{}, {"score": 104}]}')
    assert answer == Violation(
        message="104 is greater than the maximum of 100",
        contract="answer",
        rule="maximum",
        path="/questions/1/score",
        route="/evaluate",
    )


def test_a_message_is_short_and_in_one_line_whatever_the_body() -> None:
    body = json.dumps({"text": "line\nline\u2028" * 5000}).encode()
    answer = said(json_schema_contract({"properties": {"text": {"type": "integer"}}}), body)
    assert isinstance(answer, Violation)
    assert len(answer.message) <= 240
    assert len(answer.message.splitlines()) == 1
    assert answer.message.endswith('is not of type "integer"')


@given(st.text(), st.integers(20, 60))
@example("0000000000000000000 0000000000", 29)  # cut where a space is
def test_brief_is_brief(text: str, longest: int) -> None:
    line = brief(text, longest)
    assert len(line) <= longest
    assert len(line.splitlines()) <= 1
    assert brief(line, longest) == line


# -- where a schema is wrong


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"properties": {"a": {"type": "intger"}}}, "/properties/a/type"),
        ({"required": "a"}, "/required"),
        ({"$ref": "#/$defs/nothing"}, "nothing"),
        ({"$ref": "https://example.org/schema.json"}, "example.org"),
        ({"$schema": "https://example.org/dialect"}, "example.org"),
    ],
)
def test_an_invalid_schema_is_refused_with_file_and_place(
    schema: Any, where: str, tmp_path: Path
) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(schema))
    with pytest.raises(ValueError, match=f"answer.json.*{where}"):
        json_schema_contract(path)


def test_so_is_a_file_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "answer.json"
    with pytest.raises(ValueError, match=r"answer\.json: cannot be read"):
        json_schema_contract(path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"answer\.json: is not valid JSON"):
        json_schema_contract(path)
    path.write_text("[]")
    with pytest.raises(ValueError, match=r"answer\.json: is a list"):
        json_schema_contract(path)
    path.write_text('{"minimum": 3}')
    answer = said(json_schema_contract(str(path)), b"2")
    assert answer.contract == "answer"


# -- what they are about


def test_a_schema_is_about_successes_that_are_json() -> None:
    contract = json_schema_contract({"type": "object"})
    for status in (301, 404, 500, 204):
        assert said(contract, b"[]", status) is NOT_ABOUT
    assert said(contract, b"[]", 201).rule == "type"
    assert said(contract, b"{").rule == "json"
    assert said(contract, b"").rule == "json"
    assert said(contract, b"[]", headers=[]).rule == "type"
    assert said(contract, b"{}", headers=[(b"content-type", b"text/html")]).rule == "content-type"
    lenient = json_schema_contract({"type": "object"}, statuses={404}, other_types="ignore")
    assert said(lenient, b"[]", 404).rule == "type"
    assert said(lenient, b"[]", 200) is NOT_ABOUT
    assert said(lenient, b"", 404, [(b"content-type", b"text/html")]) is NOT_ABOUT


@pytest.mark.parametrize("charset", ["utf-8", "latin-1", '"utf-16"', "UTF-8", "cp1252"])
def test_a_body_is_read_in_its_charset(charset: str) -> None:
    contract = json_schema_contract({"const": "ñandú"})
    headers = [(b"content-type", f"application/problem+json; charset={charset}".encode())]
    assert said(contract, '"ñandú"'.encode(charset.strip('"')), headers=headers) is None


def test_an_unknown_charset_is_not_checked_and_a_wrong_one_is_wrong() -> None:
    contract = json_schema_contract(True)
    unknown = [(b"content-type", b"application/json; charset=klingon")]
    assert isinstance(said(contract, b"1", headers=unknown), NotChecked)
    assert said(contract, b'"\xff"').rule == "json"
    assert said(contract, b"\xef\xbb\xbf1") is None


# -- types


class Item(pydantic.BaseModel):
    score: Annotated[int, pydantic.Field(le=100)]
    at: datetime.date | None = None


class Part(msgspec.Struct, forbid_unknown_fields=True):
    score: Annotated[int, msgspec.Meta(le=100)]
    at: datetime.date | None = None


@dataclasses.dataclass
class Plain:
    score: int


@pytest.mark.parametrize(
    ("model", "rules"),
    [
        (Item, ("less_than_equal", "missing", "int_type")),
        (pydantic.TypeAdapter(Item), ("less_than_equal", "missing", "int_type")),
        (Part, ("constraint", "required", "type")),
    ],
)
def test_a_model_names_rule_and_path(model: Any, rules: tuple[str, ...]) -> None:
    contract = model_contract(model)
    assert said(contract, b'{"score": 3, "at": "2026-11-24"}') is None
    found = [said(contract, body) for body in (b'{"score": 101}', b"{}", b'{"score": [1]}')]
    assert tuple(answer.rule for answer in found) == rules
    assert [answer.path for answer in found][0::2] == ["/score", "/score"]


@pytest.mark.parametrize(("kind", "name"), [(list[Item], "list"), (list[Part], "list")])
def test_a_path_leads_into_lists(kind: Any, name: str) -> None:
    answer = said(model_contract(kind), b'[{"score": 1}, {"score": "x"}]')
    assert (answer.contract, answer.path) == (name, "/1/score")


def test_a_dataclass_and_a_hint_are_types_too() -> None:
    assert said(model_contract(Plain), b'{"score": 1}') is None
    assert said(model_contract(dict[str, int] | None), b'{"a": 1}') is None
    assert said(model_contract(dict[str, int] | None), b'{"a": "b"}').rule == "type"


class ItemLike(pydantic.BaseModel):
    name: str
    kind: dict[str, list[int]] = {}


@settings(max_examples=100)
@given(values)
def test_a_pydantic_model_says_what_pydantic_says(value: Any) -> None:
    body = json.dumps(value).encode()
    try:
        ItemLike.model_validate_json(body)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        answer = said(model_contract(ItemLike), body)
        assert (answer.rule, answer.path) == (first["type"], pointer(first["loc"]))
    else:
        assert said(model_contract(ItemLike), body) is None
