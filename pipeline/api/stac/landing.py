"""The endpoints that describe /stac/ and /ogc/: landing page, conformance, queryables and OpenAPI document."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from pipeline.api.endpoint import Api, Call, Endpoint
from pipeline.api.responses import Answer
from pipeline.api.stac.features import CHILD_LINKS, FeatureEndpoint
from pipeline.api.stac.openapi import document
from pipeline.api.stac.roots import GEOJSON, JSON_TYPE, OGC_REL, OPENAPI, SCHEMA, FeatureRoot
from pipeline.catalogue.access import readable
from pipeline.catalogue.cql2 import Kind
from pipeline.catalogue.features import ITEMS, Features
from pipeline.database.tables import raster_sources

SCHEMAS: Mapping[Kind, Mapping[str, str]] = {
    Kind.NUMBER: {"type": "number"},
    Kind.TEXT: {"type": "string"},
    Kind.BOOLEAN: {"type": "boolean"},
    Kind.TIME: {"type": "string", "format": "date-time"},
    Kind.GEOMETRY: {"format": "geometry-any"},
}


class Landing(FeatureEndpoint):
    """GET the landing page."""

    title = "Landing page"
    description = "Links to all parts of this API."

    async def get(self, call: Call) -> Answer:
        """Return the links to all parts of the API."""
        self.check_parameters(call)
        root = self.root
        links = [
            root.link(call, "self", "", JSON_TYPE),
            root.link(call, "root", "", JSON_TYPE),
            root.link(call, "conformance", "/conformance", JSON_TYPE),
            root.link(call, "data", "/collections", JSON_TYPE),
            root.link(call, "service-desc", "/api", OPENAPI),
            root.link(call, "service-doc", "/api?format=api", "text/html"),
        ]
        described = {"title": root.title, "description": root.description}
        if root.is_stac:
            links += [
                root.link(call, "search", "/search", GEOJSON, method="GET"),
                root.link(call, "search", "/search", GEOJSON, method="POST"),
                root.link(call, "children", "/children", JSON_TYPE),
                root.link(call, f"{OGC_REL}queryables", "/queryables", SCHEMA),
                root.link(call, f"{OGC_REL}sortables", "/sortables", SCHEMA),
                *await self.child_links(call),
            ]
            described |= {"type": "Catalog", "stac_version": "1.1.0", "id": "rastersources"}
        return Answer({**described, "conformsTo": root.conformance, "links": links})

    async def child_links(self, call: Call) -> list[dict[str, Any]]:
        """Return links to the first raster sources that the caller may see."""
        columns = raster_sources.c
        first = (
            select(columns.uuid, columns.name)
            .where(readable(raster_sources, call.caller))
            .order_by(columns.id)
            .limit(CHILD_LINKS)
        )
        return [
            self.root.link(call, "child", f"/collections/{row.uuid}", JSON_TYPE, title=row.name)
            for row in await call.api.database.rows(first)
        ]


class Conformance(FeatureEndpoint):
    """GET the conformance classes."""

    title = "Conformance"
    description = "The conformance classes that this API implements."

    async def get(self, call: Call) -> Answer:
        """Return the classes."""
        self.check_parameters(call)
        return Answer({"conformsTo": self.root.conformance})


class Queryables(FeatureEndpoint):
    """GET the properties that filters may name."""

    title = "Queryables"
    description = "The properties that filters may name."
    media_type = SCHEMA
    sorts = False

    def __init__(self, api: Api, root: FeatureRoot, features: Features = ITEMS) -> None:
        super().__init__(api, root)
        self.features = features

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if the collection in the path does not exist for the caller."""
        if "uuid" in call.request.path_params:
            await self.check_collection(call, call.uuid("Collection"))

    async def get(self, call: Call) -> Answer:
        """Return the JSON Schema of the properties."""
        await self.check_exists(call)
        self.check_parameters(call)
        schema = describe_properties(
            self.features, self.root.url(call, call.path.removeprefix(self.root.path)), self.sorts
        )
        return self.shown(call, schema)


class Sortables(Queryables):
    """GET the properties that orders may name."""

    title = "Sortables"
    description = "The properties that orders may name."
    sorts = True


def describe_properties(features: Features, url: str, sortable: bool) -> dict[str, Any]:
    """Return the JSON Schema of the queryables, or of the sortable ones."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": url.rstrip("/"),
        "type": "object",
        "title": "rastersources",
        "properties": {
            name: {**SCHEMAS[queryable.kind], "title": name, "description": queryable.help}
            for name, queryable in features.queryables.items()
            if not (sortable and queryable.kind is Kind.GEOMETRY)
        },
    }


class ApiDocument(FeatureEndpoint):
    """GET the OpenAPI document."""

    title = "OpenAPI"
    description = "The description of this API for programs."
    media_type = OPENAPI

    def __init__(
        self, api: Api, root: FeatureRoot, endpoints: Iterable[tuple[str, Endpoint]]
    ) -> None:
        super().__init__(api, root)
        self.endpoints: Sequence[tuple[str, Endpoint]] = list(endpoints)

    async def get(self, call: Call) -> Answer:
        """Return the document with the requested address as its server."""
        self.check_parameters(call)
        return self.shown(call, document(self.endpoints, self.root, call.links.base))
