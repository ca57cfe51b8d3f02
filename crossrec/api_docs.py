"""The page that documents the REST routes: made from their OpenAPI document, and complete without the network."""

import json
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h2 { border-top: 1px solid; padding-top: 1rem }
code, pre { font-family: ui-monospace, monospace; font-size: .9em }
pre { overflow-x: auto; padding: .75rem; border: 1px solid; border-radius: .5rem }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top }
"""


def page(document: dict[str, Any]) -> str:
    """HTML that lists every route of an OpenAPI document with its parameters, body, example and answers."""
    info = document["info"]
    routes = "".join(
        _route(method, path, about, document)
        for path, methods in document["paths"].items()
        for method, about in methods.items()
    )
    title = f"{escape(info['title'])} {escape(info['version'])}"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body><h1>{title}</h1>'
        f'<p>{escape(info.get("description", ""))}</p><p><a href="openapi.json">OpenAPI document</a></p>'
        f"{routes}</body></html>"
    )


def _route(method: str, path: str, about: dict[str, Any], document: dict[str, Any]) -> str:
    parts = [f"<h2><code>{method.upper()} /api{escape(path)}</code></h2><p>{escape(about.get('summary', ''))}</p>"]
    rows = [
        (one["name"], one["required"], one["schema"], one.get("description", "")) for one in about.get("parameters", [])
    ]
    body = about.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    if body:
        schema = _resolved(body, document)
        required = schema.get("required", [])
        rows += [
            (name, name in required, field, field.get("description", ""))
            for name, field in schema["properties"].items()
        ]
    if rows:
        cells = "".join(
            f"<tr><td><code>{escape(name)}</code></td><td>{escape(_type(schema, document))}</td>"
            f"<td>{'required' if required else ''}</td><td>{escape(text)}</td></tr>"
            for name, required, schema, text in rows
        )
        parts.append(f"<table>{cells}</table>")
    if body:
        example = json.dumps(_example(body, document), indent=2, ensure_ascii=False)
        parts.append(f"<pre>{escape(example)}</pre>")
    answers = [f"<li>{escape(status)}: {escape(one['description'])}</li>" for status, one in about["responses"].items()]
    return "".join([*parts, f"<ul>{''.join(answers)}</ul>"])


def _resolved(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _type(schema: dict[str, Any], document: dict[str, Any]) -> str:
    """The type of a field in a few words: "list of text, at most 50"."""
    schema = _resolved(schema, document)
    if "anyOf" in schema:
        return " or ".join(_type(one, document) for one in schema["anyOf"] if one.get("type") != "null")
    if "enum" in schema:
        return " or ".join(str(one) for one in schema["enum"])
    words = {"string": "text", "array": "list", "integer": "whole number"}.get(schema["type"], schema["type"])
    if schema["type"] == "array":
        words += f" of {_type(schema['items'], document)}"
    if schema["type"] == "object":
        words = "{" + ", ".join(schema.get("properties", {})) + "}"
    if "minimum" in schema and "maximum" in schema:
        words += f", {schema['minimum']:g} to {schema['maximum']:g}"
    most = schema.get("maxItems") or schema.get("maxLength")
    return f"{words}, at most {most:,}{' characters' if 'maxLength' in schema else ''}" if most else words


def _example(schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """A value that the schema allows, from its examples and defaults."""
    schema = _resolved(schema, document)
    if schema.get("examples"):
        return schema["examples"][0]
    if schema.get("type") == "object":
        values = {name: _example(field, document) for name, field in schema["properties"].items()}
        return {name: value for name, value in values.items() if value is not None}
    if schema.get("type") == "array":
        return [_example(schema["items"], document)]
    return schema.get("default")
