"""JSON in replies against a schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from promptopt.core import Example, Mark
from promptopt.errors import UserError
from promptopt.metrics.schema import JsonSchema, json_in
from promptopt.recipe.build import call

pytest.importorskip("jsonschema")

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
GOOD = '{"name": "Ann", "age": 3}'


def mark(output: Any, schema: Any = SCHEMA) -> Any:
    return JsonSchema(schema=schema)([output], [Example("e", None, None)])[0]


@pytest.mark.parametrize(
    "output",
    [
        GOOD,
        f"\n {GOOD} \n",
        f"Here it is:\n```json\n{GOOD}\n```\nAnything else?",
        f"```\n{GOOD}\n```",
        f"Note [1]: {GOOD}, as asked [2].",
        f"Sure {{not this}} but {GOOD}",
        {"name": "Ann", "age": 3},
    ],
)
def test_json_is_found_and_fits(output: Any) -> None:
    assert mark(output) == 1


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        ('{"name": "Ann", "age": -1}', "$.age: -1 is less than the minimum of 0"),
        ('{"name": "Ann"}', "$: 'age' is a required property"),
        ("[]", "$: [] is not of type 'object'"),
        ('{"name": 1, "age": "x", "z": 0}', "$.age: 'x' is not of type 'integer'; $.name: 1 is not of type"),
        ("no braces", "no JSON: 'no braces'"),
        ('{"name": "Ann", "age": 3', "no JSON:"),
        ('{"name": "Ann", "age": NaN}', "no JSON:"),
        ("[" * 100_000, "no JSON:"),
        ("", "no JSON: ''"),
    ],
)
def test_what_does_not_fit_is_0_with_the_first_errors(output: str, reason: str) -> None:
    found = mark(output)
    assert found.value == 0
    assert reason in found.feedback
    assert len(found.feedback) <= 200


def test_feedback_is_bounded_and_none_is_unscored() -> None:
    assert len(mark(json.dumps({"name": "Ann", "age": "x" * 5000})).feedback) == 200
    assert mark(None) is None


def test_the_longest_json_in_prose_counts() -> None:
    assert json_in('see [1] and {"a": [1, 2]} and [2]') == {"a": [1, 2]}


def test_a_file_holds_the_schema_and_recipes_name_it(tmp_path: Path) -> None:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(SCHEMA))
    metric = call(JsonSchema, {"schema": str(path)}, where="metric")
    assert metric([GOOD], [Example("e", None, None)]) == [1.0]
    assert call(JsonSchema, {"schema": SCHEMA}, where="metric")([GOOD], [Example("e", None, None)]) == [1.0]


def test_bad_schemas_are_errors(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text("{")
    for schema, message in [
        ({"type": "objekt"}, "this is not a JSON schema: 'objekt'"),
        (str(tmp_path / "none.json"), "cannot read the JSON schema .*none.json"),
        (tmp_path / "broken.json", "broken.json does not hold JSON"),
    ]:
        with pytest.raises(UserError, match=message):
            JsonSchema(schema=schema)


def test_references_inside_are_followed_and_outside_never_fetched() -> None:
    inside = {"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer"}}}
    assert mark("1", inside) == 1
    assert isinstance(mark('"1"', inside), Mark)
    with pytest.raises(UserError, match=r"refers to 'https://example\.com/s\.json', which is not in it"):
        mark("1", {"$ref": "https://example.com/s.json"})


# ── Hostile JSON ──────────────────────────────────────────────────────────────────────────────────────────────────

SLOW = "a" * 60 + "!"
OLDER = "https://json-schema.org/draft/2019-09/schema"
NAMED = {"^n_": True}


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"items": {"pattern": "^(a|aa)+$"}}, [SLOW]),
        ({"patternProperties": {"^(a|aa)+$": True}}, {SLOW: 1}),
        ({"patternProperties": {"^(a|aa)+$": True}, "additionalProperties": False}, {SLOW: 1}),
        ({"patternProperties": {"^(a|aa)+$": True}, "unevaluatedProperties": False}, {SLOW: 1}),
        (
            {"$schema": "https://json-schema.org/draft/2019-09/schema", "pattern": "^(a|aa)+$", "items": {"$ref": "#"}},
            [SLOW],
        ),
        (
            {"$defs": {"x": {"oneOf": [{"items": {"$ref": "#/$defs/x"}}] * 2}}, "$ref": "#/$defs/x"},
            json.loads("[" * 60 + "]" * 60),
        ),
    ],
)
def test_what_cannot_be_checked_in_time_has_failed(schema: Any, value: Any) -> None:
    (mark,) = JsonSchema(schema=schema, seconds=0.2)([json.dumps(value)], [Example("e", None, None)])
    assert mark == Mark(0.0, "too slow: the JSON was not checked within 0.2 s", failed=True)


@pytest.mark.parametrize(
    ("schema", "output", "error"),
    [
        ({"multipleOf": 0.1}, "1e400", "OverflowError"),
        ({"multipleOf": 0.1}, "9" * 4000, "OverflowError"),
        ({"items": {"$ref": "#"}}, "[" * 400 + "]" * 400, "RecursionError"),
        ({"items": {"multipleOf": 0.1}}, [float("nan")], "ValueError"),
    ],
)
def test_what_cannot_be_checked_has_failed(schema: Any, output: Any, error: str) -> None:
    found = mark(output, schema)
    assert found.failed
    assert found.value == 0
    assert found.feedback.startswith(f"no JSON that can be checked: {error}: ")
    assert len(found.feedback) <= 200


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"pattern": "^a+$"}, "aaa", "ab"),
        ({"pattern": "^a+$"}, 5, "b"),
        ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": 1, "b": "x"}, {"n_a": "x"}),
        ({"patternProperties": NAMED, "additionalProperties": False}, {"n_a": 1}, {"n_a": 1, "b": 2}),
        (
            {"patternProperties": NAMED, "additionalProperties": {"type": "string"}},
            {"n_a": 1, "b": "x"},
            {"b": 1},
        ),
        ({"patternProperties": NAMED, "unevaluatedProperties": False}, {"n_a": 1}, {"n_a": 1, "b": 2}),
        ({"uniqueItems": True}, [1, True, "1", [1], [True], {"a": 1}, {"a": True}], [{"a": [1]}, 2, {"a": [1.0]}]),
        ({"uniqueItems": False}, [1, 1], None),
    ],
)
def test_keywords_mean_what_they_mean_to_jsonschema(schema: Any, good: Any, bad: Any) -> None:
    import jsonschema

    plain = jsonschema.Draft202012Validator(schema)
    assert plain.is_valid(good)
    assert mark(json.dumps(good), schema) == 1
    if bad is not None:
        error = min(plain.iter_errors(bad), key=lambda one: one.json_path)
        assert mark(json.dumps(bad), schema).feedback.startswith(f"{error.json_path}: ")


def test_many_items_are_compared_in_time() -> None:
    items = [[number] if number % 2 else number for number in range(20_000)]
    assert mark(json.dumps(items), {"uniqueItems": True}) == 1


@pytest.mark.parametrize("schema", [{"pattern": "("}, {"patternProperties": {"(": True}}])
def test_a_pattern_that_is_none_is_an_error(schema: Any) -> None:
    with pytest.raises(UserError, match=r"this is not a JSON schema: '\(' is not a 'regex'"):
        JsonSchema(schema=schema)


@pytest.mark.parametrize("name", ["\n", "a\r\nb", "\u2028", "\x85"])
def test_the_name_of_a_property_breaks_no_line_of_the_feedback(name: str) -> None:
    found = mark(json.dumps({name: None}), {"additionalProperties": {"type": "string"}}).feedback
    assert found.splitlines() == [found]
    assert found.endswith("None is not of type 'string'")
