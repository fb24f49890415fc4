"""The OpenAPI document, made from the operations and their types."""

import importlib.metadata
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from webhooks.api.operation import END, PATH_NAMES, Answer, NoBody, Operation
from webhooks.api.problems import (
    AWAY,
    FAULT,
    INVALID,
    MEDIA_TYPE,
    NO_TOKEN,
    NOT_ALLOWED,
    TOO_LARGE,
    UNREADABLE,
    ProblemDetails,
    ProblemKind,
)

ALWAYS = (INVALID, NO_TOKEN, NOT_ALLOWED, AWAY, FAULT)
"""What every operation may answer."""
ALWAYS_WITH_BODY = (UNREADABLE, TOO_LARGE)

NAME = r"^(?!\.{1,2}$)[A-Za-z0-9._~@:+-]{1,255}$"
"""What names in paths are made of: all of ours and of Stripe's. Others are refused if a URL could not carry them."""

Json = dict[str, Any]
Operations = Sequence[Operation[Any, Any]]


def document_of(operations: Operations) -> Json:
    """The OpenAPI 3.1 document of these operations."""
    types = list(_types(operations))
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    paths: Json = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(
            operation, schema_of, components
        )
    queries = {operation.query.__name__ for operation in operations}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Subledger: the customers API",
            "version": importlib.metadata.version("subledger"),
            "description": (
                "For the services that own the customers. Amounts are whole numbers of minor units beside a currency; "
                "times are ISO 8601 in UTC. What the fields of a record mean is in docs/record.md."
            ),
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {name: _tidy(each) for name, each in components.items() if name not in queries},
            "securitySchemes": {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "ADMIN_TOKEN, which may do everything, or READ_TOKEN, which may read.",
                }
            },
        },
    }


def _types(operations: Operations) -> Iterator[Any]:
    seen: set[str] = set()
    wanted: list[Any] = [ProblemDetails]
    for operation in operations:
        wanted.append(operation.query)
        wanted += [] if operation.body is NoBody else [operation.body]
        wanted += [answer.type for answer in operation.answers.values() if answer.type is not None]
    for each in wanted:
        if repr(each) not in seen:
            seen.add(repr(each))
            yield each


def _operation(operation: Operation[Any, Any], schema_of: Mapping[str, Any], components: Json) -> Json:
    takes_body = operation.body is not NoBody
    problems = {
        *ALWAYS,
        *(ALWAYS_WITH_BODY if takes_body else ()),
        *operation.problems,
    }
    described: Json = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": [
            *_path_parameters(operation),
            *_query_parameters(components[operation.query.__name__]),
        ],
        "responses": {
            **{
                str(status): _answer(answer, schema_of)
                for status, answer in sorted(operation.answers.items())
            },
            **_problems(problems),
        },
    }
    if operation.description:
        described["description"] = operation.description
    if takes_body:
        described["requestBody"] = {
            "required": bool(components[operation.body.__name__].get("required") or operation.body_needs),
            "content": {
                "application/json": {
                    "schema": _body_schema(operation, schema_of),
                    "example": dict(operation.body_example),
                }
            },
        }
    return described


def _body_schema(operation: Operation[Any, Any], schema_of: Mapping[str, Any]) -> Json:
    schema: Json = schema_of[repr(operation.body)]
    if not operation.body_needs:
        return schema
    one = [{"required": [name], "properties": {name: {"type": "string"}}} for name in operation.body_needs]
    return {"allOf": [schema, {"anyOf": one}]}


def _path_parameters(operation: Operation[Any, Any]) -> Iterator[Json]:
    for name in re.findall(r"\{(\w+)\}", operation.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "description": PATH_NAMES[name],
            "schema": {"type": "string", "pattern": NAME},
            **_tidy(operation.path_names.get(name, {})),
        }


def _query_parameters(schema: Json) -> Iterator[Json]:
    for name, field in schema.get("properties", {}).items():
        field = _tidy(field)
        description = field.pop("description", None)
        parameter: Json = {"name": name, "in": "query", "required": name in schema.get("required", ())}
        if description:
            parameter["description"] = description
        if field.get("type") == "array":
            parameter |= {"style": "form", "explode": False}
        elif field.get("type") == "object":
            parameter |= {"style": "deepObject", "explode": True}
        yield {**parameter, "schema": _without_null(field)}


def _without_null(field: Json) -> Json:
    """A parameter that may be left out cannot be null."""
    arms = [arm for arm in field.get("anyOf", ()) if arm.get("type") != "null"]
    if len(arms) == 1:
        field = {**{name: value for name, value in field.items() if name != "anyOf"}, **arms[0]}
    if None in field.get("enum", ()):
        field = {**field, "enum": [each for each in field["enum"] if each is not None]}
    if "default" in field and field["default"] is None:
        field = {name: value for name, value in field.items() if name != "default"}
    return field


def _answer(answer: Answer, schema_of: Mapping[str, Any]) -> Json:
    described: Json = {"description": answer.description}
    if answer.headers:
        described["headers"] = {
            name: {"description": said, "schema": {"type": "string"}} for name, said in answer.headers.items()
        }
    if answer.type is not None:
        content: Json = {"schema": schema_of[repr(answer.type)]}
        if answer.example is not None:
            content["example"] = msgspec.to_builtins(answer.example)
        described["content"] = {"application/json": content}
    return described


def _problems(kinds: set[ProblemKind]) -> Json:
    by_status: dict[int, list[ProblemKind]] = {}
    for kind in sorted(kinds, key=lambda kind: (kind.status, kind.name)):
        by_status.setdefault(kind.status, []).append(kind)
    return {
        str(status): {
            "description": " ".join(f"{kind.title}. {kind.meaning}" for kind in found),
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status, found in by_status.items()
    }


def _tidy(schema: Any) -> Any:
    """Without the titles that repeat the names of our classes, and with patterns as JSON Schema has them."""
    match schema:
        case {"format": "decimal"}:
            return {"type": "number"}
        case dict():
            return {
                name: value.replace(END, "$")
                if name == "pattern" and isinstance(value, str)
                else _tidy(value)
                for name, value in schema.items()
                if not (name == "title" and isinstance(value, str))
            }
        case list():
            return [_tidy(each) for each in schema]
        case _:
            return schema
