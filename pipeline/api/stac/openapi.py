"""Builds the OpenAPI 3.0 document of /stac/ or /ogc/ from its endpoints."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.api.endpoint import Endpoint
from pipeline.api.media_types import json_content
from pipeline.api.openapi import SECURITY_SCHEMES
from pipeline.api.problems import REASONS
from pipeline.api.query_string import FORMAT
from pipeline.api.stac.roots import GEOJSON, FeatureRoot

Schema = dict[str, Any]
OBJECT: Schema = {"type": "object"}
PROBLEMS = (400, 401, 403, 404, 405, 408, 413, 414, 415, 431, 503)
LINKS: Schema = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"rel": {"type": "string"}, "href": {"type": "string"}},
        "required": ["rel", "href"],
    },
}
FEATURE: Schema = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["Feature"]}, "id": {"type": "string"}},
    "required": ["type", "id"],
}
FEATURES: Schema = {
    "type": "object",
    "properties": {
        "type": {"type": "string", "enum": ["FeatureCollection"]},
        "numberMatched": {"type": "integer", "minimum": 0},
        "numberReturned": {"type": "integer", "minimum": 0},
        "features": {"type": "array", "items": FEATURE},
        "links": LINKS,
    },
    "required": ["type", "numberMatched", "numberReturned", "features", "links"],
}
HTML: Schema = {"text/html": {"schema": {"type": "string"}}}
NAMES = {"uuid": "collectionId", "item": "featureId"}


def document(endpoints: Iterable[tuple[str, Endpoint]], root: FeatureRoot, base: str) -> Schema:
    """Return the OpenAPI document of the endpoints below a root, with `base` as URL of the server."""
    return {
        "openapi": "3.0.3",
        "info": {"title": root.title, "version": "1.0.0", "description": root.description},
        "servers": [{"url": f"{base}{root.path}"}],
        "security": [{}, {"key": []}, {"username": [], "password": []}],
        "paths": {_path(path, root): _path_item(path, endpoint) for path, endpoint in endpoints},
        "components": {"securitySchemes": SECURITY_SCHEMES},
    }


def _path(path: str, root: FeatureRoot) -> str:
    """Return a path below the root, with the names of OGC API for its parameters."""
    below = path.removeprefix(root.path).rstrip("/") or "/"
    return re.sub(r"{(\w+)}", lambda match: f"{{{NAMES[match[1]]}}}", below)


def _path_item(path: str, endpoint: Endpoint) -> Schema:
    names = [NAMES[name] for name in re.findall(r"{(\w+)}", path)]
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]
    path_item: Schema = {
        method.lower(): _operation(path, endpoint, method) for method in endpoint.methods
    }
    return {**path_item, "parameters": parameters} if parameters else path_item


def _operation(path: str, endpoint: Endpoint, method: str) -> Schema:
    words = re.sub(r"[/{}]+", "_", path).strip("_")
    operation: Schema = {
        "operationId": f"{method.lower()}_{words}",
        "summary": endpoint.title,
        "description": endpoint.description,
        "responses": {
            "200": {"description": "Done.", "content": _content(endpoint)},
            **_problems(),
        },
    }
    if method == "GET":
        operation["parameters"] = [
            _parameter(*parameter) for parameter in (FORMAT, *endpoint.parameters)
        ]
    elif method in endpoint.bodies:
        operation["requestBody"] = endpoint.bodies[method]
    return operation


def _content(endpoint: Endpoint) -> Mapping[str, Any]:
    if endpoint.media_type:
        return {endpoint.media_type: {"schema": OBJECT}, **HTML}
    if getattr(endpoint, "geojson", False):
        return {GEOJSON: {"schema": FEATURES if len(endpoint.parameters) else FEATURE}, **HTML}
    return {**json_content(OBJECT), **HTML}


def _problems() -> Schema:
    problem = {"content": {**json_content(OBJECT), **HTML}}
    return {str(status): {"description": f"{REASONS[status]}.", **problem} for status in PROBLEMS}


def _parameter(name: str, schema: Mapping[str, Any], help: str) -> Schema:
    return {"name": name, "in": "query", "description": help, "schema": schema}
