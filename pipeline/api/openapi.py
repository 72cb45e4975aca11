"""The OpenAPI 3.1 document: made from the same tables as the answers themselves."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pipeline.api.endpoint import Endpoint
from pipeline.api.fields import LINK, STRING, UUID, Field
from pipeline.api.generic import ReadDetail, ReadList
from pipeline.api.problems import REASONS

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
ALWAYS = (400, 401, 403, 404, 405, 408, 413, 414, 415, 500, 503)
"""What every operation may answer besides its success."""
FORMAT = {
    "name": "format",
    "in": "query",
    "description": "json, or api for a page; hyperlinks in the answer carry it along.",
    "schema": {"type": "string", "enum": ["json", "api", ""]},
}


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
        "paths": {path: path_item(path, endpoint) for path, endpoint in listed},
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
            "schemas": {"Problem": ENVELOPE, "Metadata": METADATA},
            "responses": {str(status): problem_response(status) for status in (*ALWAYS, 412)},
        },
    }


def problem_response(status: int) -> Schema:
    """A refusal in the envelope."""
    return {
        "description": f"{REASONS[status]}.",
        "content": both_contents({"$ref": "#/components/schemas/Problem"}),
    }


def path_item(path: str, endpoint: Endpoint) -> Schema:
    """All operations of a path."""
    methods = [*endpoint.methods, "OPTIONS"]
    item: Schema = {method.lower(): operation(path, endpoint, method) for method in methods}
    parameters = [path_parameter(part[1:-1]) for part in path.split("/") if part.startswith("{")]
    return {**item, "parameters": parameters} if parameters else item


def path_parameter(name: str) -> Schema:
    """The uuid or number in a path."""
    schema = UUID if name == "uuid" else {"type": "integer", "minimum": 1, "maximum": 2**53}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def operation(path: str, endpoint: Endpoint, method: str) -> Schema:
    """One method of a path."""
    found: Schema = {
        "operationId": f"{method.lower()}{path.replace('/api/', '/').replace('/', '_').rstrip('_')}"
        .replace("{", "").replace("}", ""),
        "summary": f"{SUMMARIES[method]}: {endpoint.title}",
        "description": endpoint.description,
        "parameters": query_parameters(endpoint) if method == "GET" else [FORMAT],
        "responses": responses(endpoint, method),
    }  # fmt: skip
    if method in endpoint.bodies:
        found["requestBody"] = endpoint.bodies[method]
    elif method in ("POST", "PUT", "PATCH"):
        found["requestBody"] = request_body(endpoint.fields, partial=method == "PATCH")
    elif method == "DELETE":
        force = {"type": "object", "properties": {"force": {"type": "boolean"}}}
        found["requestBody"] = {"content": json_content(force)}
    return found


def query_parameters(endpoint: Endpoint) -> list[Schema]:
    """Format, what the endpoint names, and for lists page, order and every lookup of every filter."""
    if not isinstance(endpoint, ReadList):
        return [FORMAT, *(parameter(*one) for one in endpoint.parameters)]
    filters = [
        parameter(
            f"{one.name}__{lookup}" if lookup else one.name, one.kind.schema(lookup), one.help
        )
        for one in endpoint.filters
        for lookup in one.kind.lookups
    ]
    paging = [
        parameter("page", {"type": "integer", "minimum": 1}, "Which page, from 1."),
        parameter(
            "page_size",
            {"type": "integer", "minimum": 0},
            "Rows on a page; 0 means 10, at most 1000.",
        ),
        parameter("limit", {"type": "integer", "minimum": 0}, "The same as page_size."),
        parameter(
            "offset", {"type": "integer", "minimum": 0}, "Rows to leave out first, instead of page."
        ),
    ]
    return [FORMAT, *paging, *ordering(endpoint.orders), *filters]


def ordering(orders: Sequence[str]) -> list[Schema]:
    """The parameter that orders a list."""
    if not orders:
        return []
    names = "|".join(orders)
    pattern = f"^(-?({names})(,-?({names}))*)?$"
    return [
        parameter(
            "ordering",
            {"type": "string", "pattern": pattern},
            "Names, - in front to reverse; commas chain.",
        )
    ]


def parameter(name: str, schema: Mapping[str, Any], help: str) -> Schema:
    """One query parameter."""
    return {"name": name, "in": "query", "description": help, "schema": schema}


def responses(endpoint: Endpoint, method: str) -> Schema:
    """Status -> response."""
    found: Schema = {str(status): {"$ref": f"#/components/responses/{status}"} for status in ALWAYS}
    if method in endpoint.answers:
        contents = both_contents(endpoint.answers[method])
        return {"200": {"description": "Done.", "content": contents}, **found}
    if method == "DELETE":
        return {
            "204": {"description": "Deleted."},
            "412": {"$ref": "#/components/responses/412"},
            **found,
        }
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
    return {"required": bool(required) and not partial, "content": json_content(schema)}


def json_content(schema: Mapping[str, Any]) -> Schema:
    """The media type that programs read and write."""
    return {"application/json": {"schema": schema}}


def both_contents(schema: Mapping[str, Any]) -> Schema:
    """JSON, or the same as a page."""
    return {**json_content(schema), "text/html": {"schema": STRING}}
