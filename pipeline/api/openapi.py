"""The OpenAPI 3.1 document: made from the same tables as the answers themselves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.api.endpoint import Endpoint
from pipeline.api.links import API
from pipeline.api.media_types import json_content, written_contents
from pipeline.api.problems import REASONS
from pipeline.api.query_string import DRY_RUN, FORMAT
from pipeline.api.resources.field import (
    LINK,
    STRING,
    UUID,
    WRITTEN_LIST,
    WRITTEN_OBJECT,
    WRITTEN_TEXT,
    Field,
)
from pipeline.api.views.list_detail import ReadDetail, ReadList

Schema = dict[str, Any]
TITLE = "rastersources"
SUMMARIES = {
    "GET": "Read", "POST": "Add", "PUT": "Write all fields", "PATCH": "Write some fields",
    "DELETE": "Delete", "OPTIONS": "Describe",
}  # fmt: skip
ENVELOPE = {
    "type": "object",
    "properties": {
        "status": {"type": "integer"},
        "code": {"type": "integer"},
        "message": STRING,
        "detail": {"anyOf": [STRING, {"type": "object"}]},
    },
    "required": ["status", "code", "message", "detail"],
}
METADATA = {
    "type": "object",
    "properties": {
        "name": STRING,
        "description": STRING,
        "renders": {"type": "array", "items": STRING},
        "parses": {"type": "array", "items": STRING},
        "actions": {"type": "object"},
    },
    "required": ["name", "description", "renders", "parses"],
}
ANY_JSON = {
    "anyOf": [{"type": ["null", "boolean", "number"]}, WRITTEN_TEXT, WRITTEN_LIST, WRITTEN_OBJECT]
}
FORCE = {"type": "object", "properties": {"force": {"enum": [False, True, "false", "true"]}}}
ALWAYS = (400, 401, 403, 404, 405, 408, 413, 414, 415, 431, 500, 503)
"""What every operation may answer besides its success."""


def document(endpoints: Iterable[tuple[str, Endpoint]], server: str) -> Schema:
    """The document of all endpoints, as reached at `server`."""
    listed = list(endpoints)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": TITLE,
            "version": "4",
            "description": "A catalogue of rasters: what is where.",
        },
        "servers": [{"url": server}],
        "security": [{}, {"key": []}, {"username": [], "password": []}],
        "paths": {path: path_item(path, endpoint, dict(listed)) for path, endpoint in listed},
        "components": {
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "User __key__, an API key as password.",
                },
                "username": {"type": "apiKey", "in": "header", "name": "username"},
                "password": {"type": "apiKey", "in": "header", "name": "password"},
            },
            "schemas": {"Problem": ENVELOPE, "Metadata": METADATA, "Json": ANY_JSON},
            "responses": {str(status): problem_response(status) for status in (*ALWAYS, 412, 507)},
        },
    }


def problem_response(status: int) -> Schema:
    """A refusal in the envelope."""
    return {
        "description": f"{REASONS[status]}.",
        "content": both_contents({"$ref": "#/components/schemas/Problem"}),
    }


def path_item(path: str, endpoint: Endpoint, listed: Mapping[str, Endpoint]) -> Schema:
    """All operations of a path."""
    item: Schema = {
        method.lower(): operation(path, endpoint, method) for method in documented(endpoint)
    }
    if "post" in item:
        made = item["post"]["responses"].get("201") or item["post"]["responses"]["200"]
        made["links"] = links(path, listed)
    parameters = [path_parameter(part[1:-1]) for part in path.split("/") if part.startswith("{")]
    return {**item, "parameters": parameters} if parameters else item


def documented(endpoint: Endpoint) -> list[str]:
    """The methods of an endpoint; HEAD is as GET."""
    return [*endpoint.methods, "OPTIONS"]


def links(path: str, listed: Mapping[str, Endpoint]) -> Schema:
    """From what a POST answers to what can be done with it: with the new object itself, or with a task."""
    task = "{uuid}" in path
    start, source = (f"{API}/tasks/", "task_id") if task else (path, "uuid")
    return {
        operation_id(target, method): {
            "operationId": operation_id(target, method),
            "parameters": {"uuid": f"$response.body#/{source}"},
        }
        for target, one in listed.items()
        for method in documented(one)
        if target.startswith(f"{start}{{uuid}}/")
    }


def operation_id(path: str, method: str) -> str:
    """Such as get_v4_rastersources_uuid."""
    words = path.replace("/api/", "/").replace("/", "_").rstrip("_")
    return method.lower() + words.replace("{", "").replace("}", "")


def path_parameter(name: str) -> Schema:
    """The uuid or number in a path."""
    schema = UUID if name == "uuid" else {"type": "integer", "minimum": 1, "maximum": 2**53}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def operation(path: str, endpoint: Endpoint, method: str) -> Schema:
    """One method of a path."""
    found: Schema = {
        "operationId": operation_id(path, method),
        "summary": f"{SUMMARIES[method]}: {endpoint.title}",
        "description": endpoint.description,
        "parameters": query_parameters(endpoint, method),
        "responses": responses(endpoint, method),
    }  # fmt: skip
    if method in endpoint.bodies:
        found["requestBody"] = endpoint.bodies[method]
    elif method in ("POST", "PUT", "PATCH"):
        found["requestBody"] = request_body(endpoint.fields, partial=method == "PATCH")
    elif method == "DELETE":
        found["requestBody"] = {"content": written_contents(FORCE)}
    return found


def query_parameters(endpoint: Endpoint, method: str) -> list[Schema]:
    """Of GET format, what the endpoint names, and every lookup of every filter; a write can be a dry run."""
    if method != "GET":
        return [
            parameter(*one) for one in ((FORMAT,) if method == "OPTIONS" else (FORMAT, DRY_RUN))
        ]
    filters = [
        parameter(
            f"{one.name}__{lookup}" if lookup else one.name, one.kind.schema(lookup), one.help
        )
        for one in endpoint.filters
        for lookup in one.kind.lookups
    ]
    return [*(parameter(*one) for one in (FORMAT, *endpoint.parameters)), *filters]


def parameter(name: str, schema: Mapping[str, Any], help: str) -> Schema:
    """One query parameter."""
    return {"name": name, "in": "query", "description": help, "schema": schema}


def responses(endpoint: Endpoint, method: str) -> Schema:
    """Status -> response."""
    refused = (*ALWAYS, *endpoint.refusals.get(method, ()))
    found: Schema = {
        str(status): {"$ref": f"#/components/responses/{status}"} for status in refused
    }
    if method in endpoint.answers:
        contents = both_contents(endpoint.answers[method])
        return {"200": {"description": "Done.", "content": contents}, **found}
    if method == "DELETE":
        return {"204": {"description": "Deleted."}, **found}
    success = "201" if method == "POST" else "200"
    return {
        success: {
            "description": "Done.",
            "content": both_contents(answer_schema(endpoint, method)),
        },
        **found,
    }


def answer_schema(endpoint: Endpoint, method: str) -> Schema:
    """What a success holds."""
    if method == "OPTIONS":
        return {"$ref": "#/components/schemas/Metadata"}
    if not isinstance(endpoint, ReadList | ReadDetail):
        return dict(endpoint.schema)
    shown = object_schema(endpoint.fields)
    return page_schema(shown) if method == "GET" and isinstance(endpoint, ReadList) else shown


def object_schema(fields: Sequence[Field]) -> Schema:
    """A whole object."""
    return {
        "type": "object",
        "properties": {one.name: {**one.schema, "description": one.help} for one in fields},
        "required": [one.name for one in fields],
    }


def page_schema(shown: Schema) -> Schema:
    """A page of objects."""
    link = {"anyOf": [LINK, {"type": "null"}]}
    return {
        "type": "object",
        "properties": {
            "count": {"type": "integer"},
            "next": link,
            "previous": link,
            "results": {"type": "array", "items": shown},
        },
        "required": ["count", "next", "previous", "results"],
    }


def request_body(fields: Sequence[Field], *, partial: bool) -> Schema:
    """What may be written; what is read-only or unknown is ignored."""
    written = [one for one in fields if not one.read_only]
    schema: Schema = {
        "type": "object",
        "properties": {
            one.name: {**(one.accepts or one.schema), "description": one.help} for one in written
        },
    }
    required = [one.name for one in written if one.required]
    if required and not partial:
        schema["required"] = required
    return {"required": bool(required) and not partial, "content": written_contents(schema)}


def both_contents(schema: Mapping[str, Any]) -> Schema:
    """JSON, or the same as a page."""
    return {**json_content(schema), "text/html": {"schema": STRING}}
