"""Builds the OpenAPI 3.1 document from the fields, filters and parameters of the endpoints."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.api.endpoint import Endpoint
from pipeline.api.links import API
from pipeline.api.media_types import body_content, json_content
from pipeline.api.problems import REASONS
from pipeline.api.query_string import DRY_RUN, FORMAT, FORMATS
from pipeline.api.resources.field import (
    INTEGER,
    LINK,
    STRING,
    UUID,
    WRITTEN_LIST,
    WRITTEN_OBJECT,
    WRITTEN_TEXT,
    Field,
    nullable,
    object_schema,
)
from pipeline.api.views.list_detail import ReadDetail, ReadList
from pipeline.catalogue.filters import filters_by_parameter
from pipeline.catalogue.lookups import optional_pattern

Schema = dict[str, Any]
TITLE = "rastersources"
SUMMARIES = {
    "GET": "Read", "POST": "Add", "PUT": "Write all fields", "PATCH": "Write some fields",
    "DELETE": "Delete", "OPTIONS": "Describe",
}  # fmt: skip
OBJECT = {"type": "object"}
STRINGS = {"type": "array", "items": STRING}
SCHEMAS = {
    "Problem": object_schema(
        status=INTEGER, code=INTEGER, message=STRING, detail={"anyOf": [STRING, OBJECT]}
    ),
    "Metadata": {
        "type": "object",
        "properties": {
            "name": STRING,
            "description": STRING,
            "renders": STRINGS,
            "parses": STRINGS,
            "actions": OBJECT,
        },
        "required": ["name", "description", "renders", "parses"],
    },
    "Json": {
        "anyOf": [
            {"type": ["null", "boolean", "number"]},
            WRITTEN_TEXT,
            WRITTEN_LIST,
            WRITTEN_OBJECT,
        ]
    },
}
SECURITY_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "basic",
        "description": "User __key__, an API key as password.",
    },
    "username": {"type": "apiKey", "in": "header", "name": "username"},
    "password": {"type": "apiKey", "in": "header", "name": "password"},
}
FORCE = {"type": "object", "properties": {"force": {"enum": [False, True, "false", "true"]}}}
COMMON_PROBLEMS = (400, 401, 403, 404, 405, 408, 413, 414, 415, 431, 500, 503)
"""Error statuses of every operation."""


def document(endpoints: Iterable[tuple[str, Endpoint]], server: str) -> Schema:
    """Return the document of all endpoints; `server` is their base URL."""
    by_path = dict(endpoints)
    problem = answer_content({"$ref": "#/components/schemas/Problem"})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": "4",
            "description": "A catalogue of rasters and their location.",
        },
        "servers": [{"url": server}],
        "security": [{}, {"key": []}, {"username": [], "password": []}],
        "paths": {path: _path_item(path, endpoint, by_path) for path, endpoint in by_path.items()},
        "components": {
            "securitySchemes": SECURITY_SCHEMES,
            "schemas": SCHEMAS,
            "responses": {
                str(status): {"description": f"{REASONS[status]}.", "content": problem}
                for status in (*COMMON_PROBLEMS, 412, 507)
            },
        },
    }


def _path_item(path: str, endpoint: Endpoint, by_path: Mapping[str, Endpoint]) -> Schema:
    path_item: Schema = {
        method.lower(): _operation(path, endpoint, method) for method in documented(endpoint)
    }
    if "post" in path_item:
        responses = path_item["post"]["responses"]
        success = responses.get("201") or responses["200"]
        success["links"] = links(path, by_path)
    parameters = [_path_parameter(part[1:-1]) for part in re.findall(r"{\w+}", path)]
    return {**path_item, "parameters": parameters} if parameters else path_item


def documented(endpoint: Endpoint) -> list[str]:
    """Return the methods of an endpoint that the document describes: all except HEAD."""
    return [*endpoint.methods, "OPTIONS"]


def links(path: str, by_path: Mapping[str, Endpoint]) -> Schema:
    """Return links from the answer to a POST to the operations on the new object or its task."""
    has_task = "{uuid}" in path
    start, source = (f"{API}/tasks/", "task_id") if has_task else (path, "uuid")
    return {
        operation_id(target, method): {
            "operationId": operation_id(target, method),
            "parameters": {"uuid": f"$response.body#/{source}"},
        }
        for target, endpoint in by_path.items()
        for method in documented(endpoint)
        if target.startswith(f"{start}{{uuid}}/")
    }


def operation_id(path: str, method: str) -> str:
    """Return an id such as get_v4_rastersources_uuid."""
    words = re.sub("[/.]", "_", path.replace("/api/", "/")).rstrip("_")
    return method.lower() + words.replace("{", "").replace("}", "")


def _path_parameter(name: str) -> Schema:
    least, most = (0, 2**24 - 1) if name in "zxy" else (1, 2**53)
    schema = UUID if name == "uuid" else {"type": "integer", "minimum": least, "maximum": most}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _operation(path: str, endpoint: Endpoint, method: str) -> Schema:
    operation: Schema = {
        "operationId": operation_id(path, method),
        "summary": f"{SUMMARIES[method]}: {endpoint.title}",
        "description": endpoint.description,
        "parameters": query_parameters(endpoint, method),
        "responses": responses(endpoint, method),
    }
    if method in endpoint.bodies:
        operation["requestBody"] = endpoint.bodies[method]
    elif method in ("POST", "PUT", "PATCH"):
        operation["requestBody"] = request_body(endpoint.fields, partial=method == "PATCH")
    elif method == "DELETE":
        operation["requestBody"] = {"content": body_content(FORCE)}
    return operation


def query_parameters(endpoint: Endpoint, method: str) -> list[Schema]:
    """Return the parameters of a method: GET has the filters with all lookups, a write has `dry-run`."""
    if method == "OPTIONS":
        return [_parameter(*FORMAT)]
    if method != "GET":
        return [_parameter(*FORMAT), _parameter(*DRY_RUN)]
    by_parameter = filters_by_parameter(tuple(endpoint.filters)).items()
    filters = [
        _parameter(name, filter.kind.schema(lookup), filter.help)
        for name, (filter, lookup) in by_parameter
    ]
    name, schema, meaning = FORMAT
    if endpoint.formats != FORMATS:
        pattern = optional_pattern("|".join(endpoint.formats))
        schema, meaning = {**schema, "pattern": pattern}, f"{', '.join(endpoint.formats)}."
    filters_of_parameters = [(name, schema, meaning), *endpoint.parameters]
    return [*(_parameter(*parameter) for parameter in filters_of_parameters), *filters]


def _parameter(name: str, schema: Mapping[str, Any], help: str) -> Schema:
    return {"name": name, "in": "query", "description": help, "schema": schema}


def responses(endpoint: Endpoint, method: str) -> Schema:
    """Return the responses of a method by status."""
    problems: Schema = {
        str(status): {"$ref": f"#/components/responses/{status}"}
        for status in (*COMMON_PROBLEMS, *endpoint.problems.get(method, ()))
    }
    if method in endpoint.answers:
        status, schema = "200", endpoint.answers[method]
    elif method == "DELETE":
        return {"204": {"description": "Deleted."}, **problems}
    else:
        status, schema = "201" if method == "POST" else "200", _answer_schema(endpoint, method)
    content = answer_content(schema)
    if method == "GET" and endpoint.media_type:
        binary = {endpoint.media_type: {"schema": {"type": "string", "format": "binary"}}}
        content = binary if endpoint.schema is Endpoint.schema else {**content, **binary}
    if method == "GET":
        content |= {kind: {"schema": schema} for kind, schema in endpoint.contents.items()}
    return {status: {"description": "Done.", "content": content}, **problems}


def _answer_schema(endpoint: Endpoint, method: str) -> Mapping[str, Any]:
    if method == "OPTIONS":
        return {"$ref": "#/components/schemas/Metadata"}
    if not isinstance(endpoint, ReadList | ReadDetail):
        return endpoint.schema
    shown = object_schema(
        **{field.name: {**field.schema, "description": field.help} for field in endpoint.fields}
    )
    if method != "GET" or isinstance(endpoint, ReadDetail):
        return shown
    link = nullable(LINK)
    results = {"type": "array", "items": shown}
    return object_schema(count=INTEGER, next=link, previous=link, results=results)


def request_body(fields: Sequence[Field], *, partial: bool) -> Schema:
    """Return the request body of a write; the server ignores read-only and unknown fields."""
    written = [field for field in fields if not field.read_only]
    schema: Schema = {
        "type": "object",
        "properties": {
            field.name: {**(field.accepts or field.schema), "description": field.help}
            for field in written
        },
    }
    required = [field.name for field in written if field.required and not partial]
    if required:
        schema["required"] = required
    return {"required": bool(required), "content": body_content(schema)}


def answer_content(schema: Mapping[str, Any]) -> Schema:
    """Return both media types of an answer: JSON, or a page."""
    return {**json_content(schema), "text/html": {"schema": STRING}}
