"""The page of endpoints, from the OpenAPI document."""

from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.api.app import create_app
from pipeline.api.config import ApiConfig
from pipeline.api.openapi import document
from pipeline.api.routes import endpoints
from reference.markdown import code, table

INTRODUCTION = """\
# Endpoints

Every path of the API with its methods and the parameters of its query string, from the OpenAPI document, which a
server has at `/api/v4/openapi.json`.
[The API](../api.md) explains access, filters, paging and errors.
"""
METHODS = "get", "post", "put", "patch", "delete"


def endpoints_page() -> str:
    """Return the page; it needs no database."""
    api = create_app(ApiConfig("postgresql://nowhere")).state.api
    described = document(list(endpoints(api)), "https://example.org")
    parts = [INTRODUCTION]
    for path, item in described["paths"].items():
        parts += describe(path, item)
    return "\n".join(parts)


def describe(path: str, item: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines about a path."""
    yield f"## {code(path)}\n"
    operations = {method: item[method] for method in METHODS if method in item}
    rows = [
        (method.upper(), operation.get("summary", ""), ", ".join(operation["responses"]))
        for method, operation in operations.items()
    ]
    yield f"{table(('method', 'what it does', 'answers'), rows)}\n"
    parameters = {
        parameter["name"]: parameter
        for operation in operations.values()
        for parameter in operation.get("parameters", ())
        if parameter.get("in") == "query"
    }
    if parameters:
        parameter_rows = [
            (code(name), parameter.get("description", "")) for name, parameter in parameters.items()
        ]
        yield f"{table(('parameter', 'meaning'), parameter_rows)}\n"
