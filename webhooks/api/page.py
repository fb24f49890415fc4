"""The document as a page for people: one HTML file without any other."""

import html
import json
from collections.abc import Iterator
from typing import Any

from webhooks.api.problems import EVERY_KIND

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1f36; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid #d8dee6; padding-top: 1.5rem; margin-top: 2.5rem }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f4f6f9; border-radius: 4px }
code { padding: .1em .3em } pre { padding: .8rem; overflow-x: auto }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; border-bottom: 1px solid #e6eaf0 }
nav li { list-style: none } nav ul { padding: 0 }
@media (prefers-color-scheme: dark) {
  body { background: #14171c; color: #dde3ea } code, pre { background: #1f242c }
  th, td, h2 { border-color: #323943 } a { color: #8ab4f8 }
}
"""


def page_of(document: dict[str, Any]) -> str:
    """The page that says what the document says."""
    return "".join(_page(document))


def _page(document: dict[str, Any]) -> Iterator[str]:
    info = document["info"]
    title = html.escape(info["title"])
    yield (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head><body>'
        f"<h1>{title}</h1><p>{html.escape(info['description'])} For programs: "
        '<a href="/openapi.json">/openapi.json</a>.</p>'
        "<p>Send <code>Authorization: Bearer</code> and a token: ADMIN_TOKEN may do everything, READ_TOKEN may "
        "read.</p>"
    )
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    yield "<nav><ul>"
    for method, path, operation in operations:
        yield (
            f'<li><a href="#{operation["operationId"]}"><code>{method} {html.escape(path)}</code></a> '
            f"{html.escape(operation['summary'])}</li>"
        )
    yield '<li><a href="#records">Types</a></li><li><a href="#problems">Problems</a></li></ul></nav>'
    for method, path, operation in operations:
        yield from _operation(method, path, operation)
    yield '<h2 id="records">Types</h2>'
    for name, schema in document["components"]["schemas"].items():
        yield f'<h3 id="type-{name}">{name}</h3>'
        yield from _fields(schema) if "properties" in schema else [f"<p>{_type(schema)}</p>"]
    yield from _problems()
    yield "</body></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<h2 id="{operation["operationId"]}"><code>{method} {html.escape(path)}</code></h2>'
    yield f"<p>{html.escape(operation['summary'])}. {html.escape(operation.get('description', ''))}</p>"
    if operation["parameters"]:
        yield "<table><tr><th>Parameter</th><th>In</th><th>Type</th><th></th></tr>"
        for each in operation["parameters"]:
            yield (
                f"<tr><td><code>{each['name']}</code></td><td>{each['in']}</td><td>{_type(each['schema'])}</td>"
                f"<td>{html.escape(each.get('description', ''))}</td></tr>"
            )
        yield "</table>"
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        yield f"<p>Body: {_type(content['schema'])}</p>{_json(content['example'])}"
    yield "<table><tr><th>Status</th><th>Answer</th></tr>"
    for status, answer in operation["responses"].items():
        content = answer.get("content", {}).get("application/json", {})
        shape = f" {_type(content['schema'])}" if content else ""
        yield f"<tr><td>{status}</td><td>{html.escape(answer['description'])}{shape}</td></tr>"
    yield "</table>"
    for answer in operation["responses"].values():
        example = answer.get("content", {}).get("application/json", {}).get("example")
        if example is not None:
            yield _json(example)
            break


def _fields(schema: dict[str, Any]) -> Iterator[str]:
    yield "<table><tr><th>Field</th><th>Type</th><th></th></tr>"
    for name, field in schema["properties"].items():
        needed = "" if name in schema.get("required", ()) else " (may be absent)"
        yield (
            f"<tr><td><code>{name}</code></td><td>{_type(field)}{needed}</td>"
            f"<td>{html.escape(field.get('description', ''))}</td></tr>"
        )
    yield "</table>"


def _problems() -> Iterator[str]:
    yield (
        '<h2 id="problems">Problems</h2><p>What cannot be served is answered as '
        "<code>application/problem+json</code> (RFC 9457): <code>type</code> is one of these, <code>detail</code> a "
        "sentence, <code>field</code> what is wrong, <code>remedy</code> what to do.</p>"
        "<table><tr><th>Type</th><th>Status</th><th></th></tr>"
    )
    for kind in EVERY_KIND:
        yield (
            f'<tr id="{kind.name}"><td><code>/docs#{kind.name}</code></td><td>{kind.status}</td>'
            f"<td>{html.escape(kind.title)}. {html.escape(kind.meaning)}</td></tr>"
        )
    yield "</table>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = html.escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#type-{name}">{name}</a>'
    if "allOf" in schema:
        return _type(schema["allOf"][0])
    if "anyOf" in schema:
        return " or ".join(_type(arm) for arm in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(f"<code>{html.escape(json.dumps(each))}</code>" for each in schema["enum"])
    kind = schema.get("type", "any")
    if kind == "array" and "items" in schema:
        return f"list of {_type(schema['items'])}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_type(schema['additionalProperties'])}"
    return html.escape(schema.get("format", kind) if isinstance(kind, str) else " or ".join(kind))


def _json(example: object) -> str:
    return f"<pre>{html.escape(json.dumps(example, indent=2, ensure_ascii=False))}</pre>"
