"""`/openapi.json`: the service's description of itself, in OpenAPI 3.1.

One decision: it is made from the types that decode requests and encode answers, and from the table
of operations; nothing of it is written twice.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from types import UnionType
from typing import Any, get_args

import msgspec

import c2t
from c2t.runtime.serve.http.operation import Contents, Operation
from c2t.runtime.serve.http.wire.problems import PROBLEM_TYPE, ProblemDetails

Schema = dict[str, Any]

REFERENCE = "#/components/schemas/{name}"
ALWAYS = (403, 429, 500)  # the guard, the limit of open requests, a bug
_ARGUMENT = re.compile(r"^    (\w+): (.*(?:\n {5,}.*)*)", re.MULTILINE)


def make_openapi(operations: Iterable[Operation], *, token: bool) -> bytes:
    """The document, as JSON.

    Args:
        operations: All that can be asked.
        token: Whether the service wants one.
    """
    operations = list(operations)
    types = _types(operations)
    found, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    schemas = {name: _described(schema) for name, schema in components.items()}
    references = dict(zip(types, found, strict=True))
    paths: dict[str, Schema] = {}
    for operation in operations:
        described = _operation(operation, references, schemas, token=token)
        paths.setdefault(operation.path, {})[operation.method.lower()] = described
    statuses = {status for operation in operations for status in operation.errors}
    components_all: Schema = {
        "schemas": schemas,
        "responses": {
            f"Error{status}": _error(status) for status in sorted(statuses | {*ALWAYS, 401})
        },
    }
    if token:
        components_all["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return msgspec.json.encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "c2t",
                "version": c2t.__version__,
                "summary": "A single cell's counts in, a paragraph out.",
                "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            },
            "paths": paths,
            "components": components_all,
        }
    )


def _operation(
    operation: Operation,
    references: Mapping[type[Any], Schema],
    schemas: Mapping[str, Schema],
    *,
    token: bool,
) -> Schema:
    secured = token and operation.needs_token
    errors = sorted({*operation.errors, *ALWAYS, *((401,) if secured else ())})
    name = re.sub(r"\W+", "_", operation.path).strip("_")
    answer: Schema = {"description": HTTPStatus(operation.status).phrase}
    if operation.sends:
        answer["content"] = _contents(operation.sends, references)
    if operation.headers_sent:
        answer["headers"] = {
            header: {"description": what, "schema": {"type": "string"}}
            for header, what in operation.headers_sent.items()
        }
    described: Schema = {
        "operationId": f"{operation.method.lower()}_{name}",
        "summary": operation.summary,
        "parameters": list(_parameters(operation, schemas)),
        "responses": {
            str(operation.status): answer,
            **{str(s): {"$ref": f"#/components/responses/Error{s}"} for s in errors},
        },
    }
    if operation.description:
        described["description"] = operation.description
    if operation.takes:
        content = _contents(operation.takes, references)
        described["requestBody"] = {"required": True, "content": content}
    if secured:
        described["security"] = [{"token": []}]
    return described


def _parameters(operation: Operation, schemas: Mapping[str, Schema]) -> Iterable[Schema]:
    for name in operation.variables:
        schema = {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}
    for header in operation.headers:
        yield {
            "name": header.name,
            "in": "header",
            "description": header.description,
            "schema": dict(header.schema),
        }
    # A body of JSON says the same in its own fields, so no parameter is required for it.
    required_of_all = JSON_ALONE.isdisjoint(operation.takes)
    for kind in operation.query:
        of_kind = schemas[kind.__name__]
        for name, schema in of_kind["properties"].items():
            parameter = {"name": name, "in": "query", "schema": _without_null(schema)}
            if "description" in schema:
                parameter["description"] = schema["description"]
            if required_of_all and name in of_kind.get("required", ()):
                parameter["required"] = True
            yield parameter


JSON_ALONE = frozenset({"application/json"})


def _contents(contents: Contents, references: Mapping[type[Any], Schema]) -> Schema:
    return {
        media: {"schema": _schema(kind, references)} if kind is not bytes else {}
        for media, kind in contents.items()
    }


def _schema(kind: Any, references: Mapping[type[Any], Schema]) -> Schema:
    if kind is str:
        return {"type": "string"}
    if isinstance(kind, UnionType):
        return {"oneOf": [references[part] for part in get_args(kind)]}
    if isinstance(kind, Mapping):
        return {"oneOf": [_event(name, references[data]) for name, data in kind.items()]}
    return references[kind]


def _event(name: str, data: Schema) -> Schema:
    """One event of a stream, as an object of its fields."""
    properties: Schema = {
        "event": {"const": name},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": data,
        },
        "id": {"type": "string"},
    }
    return {"type": "object", "properties": properties, "required": ["event", "data"]}


def _error(status: int) -> Schema:
    answer: Schema = {
        "description": HTTPStatus(status).phrase,
        "content": {PROBLEM_TYPE: {"schema": {"$ref": REFERENCE.format(name="ProblemDetails")}}},
    }
    if status in (429, 503):
        what = {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}
        answer["headers"] = {"Retry-After": what}
    return answer


def _types(operations: Iterable[Operation]) -> list[type[Any]]:
    """All types of the document, each once."""
    kinds: dict[type[Any], None] = {ProblemDetails: None}
    for operation in operations:
        for kind in (*operation.takes.values(), *operation.sends.values(), *operation.query):
            parts: Iterable[Any] = (kind,)
            if isinstance(kind, UnionType):
                parts = get_args(kind)
            elif isinstance(kind, Mapping):
                parts = kind.values()
            kinds |= dict.fromkeys(part for part in parts if part not in (str, bytes))
    return list(kinds)


def _described(schema: Schema) -> Schema:
    """A type's schema, with its docstring divided among the type and its fields."""
    text = inspect.cleandoc(schema.get("description", ""))
    about, _, arguments = text.partition("Args:\n")
    described = {**schema, "description": " ".join(about.split())}
    properties = dict(schema.get("properties", {}))
    for name, what in _ARGUMENT.findall(arguments):
        if name in properties:
            properties[name] = {**properties[name], "description": " ".join(what.split())}
    if properties:
        described["properties"] = properties
    return described


def _without_null(schema: Schema) -> Schema:
    """A parameter of an address is there or not; it cannot be null."""
    kept = {key: value for key, value in schema.items() if key not in ("default", "description")}
    options = [one for one in kept.pop("anyOf", ()) if one != {"type": "null"}]
    return {**kept, **options[0]} if len(options) == 1 else schema
