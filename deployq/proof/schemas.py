"""JSON schemas: what is wrong with a value by one, and with one itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
from jsonschema.validators import validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from deployq.proof.checks import QUOTE_CHARACTERS, quote
from deployq.types import Json


def schema_fault(schema: Mapping[str, Json], value: Any) -> str:
    """How a value breaks a JSON schema, at its most telling place; "" if it doesn't.

    References are resolved inside the schema only: nothing is ever fetched.
    """
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    validator = kind(schema, registry=Registry(), format_checker=kind.FORMAT_CHECKER)
    error = jsonschema.exceptions.best_match(validator.iter_errors(value))
    if error is None:
        return ""
    message = error.message
    if len(message) > 2 * QUOTE_CHARACTERS:
        message = f"…{message[-QUOTE_CHARACTERS:]}"
    return message if error.json_path == "$" else f"{error.json_path}: {message}"


def schema_mistake(schema: Mapping[str, Json]) -> str:
    """What is wrong with a JSON schema itself; "" if nothing is."""
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(dict(schema))
        return _unresolved_reference(schema)
    except jsonschema.SchemaError as exc:
        return f"it is no JSON schema: {exc.json_path}: {exc.message}"
    except RecursionError:
        return "it nests too deeply"


def _unresolved_reference(schema: Mapping[str, Any]) -> str:
    resource = DRAFT202012.create_resource(schema)
    base = resource.id() or "urn:schema"
    resolver = Registry[Any]().with_resource(base, resource).resolver(base)
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            return f"its reference {quote(reference)} leads nowhere inside it"
    return ""


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for item in node:
            yield from _references(item)
