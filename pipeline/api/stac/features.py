"""The endpoints of features: collections, items, and the search for items."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

import orjson
from sqlalchemy import TextClause, select, text

from pipeline.api.body import JSON, media_type, read_object
from pipeline.api.costly_filters import GEOMETRY_SECONDS, Costly, ReadRows
from pipeline.api.endpoint import Api, Call, Endpoint
from pipeline.api.links import API
from pipeline.api.media_types import json_content
from pipeline.api.problems import Problem, not_found
from pipeline.api.query_string import FORMAT
from pipeline.api.resources.json_rows import shared_values
from pipeline.api.responses import Answer
from pipeline.api.stac.parameters import COLLECTION_PARAMETERS, ITEM_PARAMETERS, SEARCH_PARAMETERS
from pipeline.api.stac.roots import GEOJSON, JSON_TYPE, OGC_REL, SCHEMA, SOURCES_ID, FeatureRoot
from pipeline.api.stac.search import (
    DEFAULT_LIMIT,
    Fields,
    Search,
    body_of_query,
    encode_token,
    item_number,
    parse_search,
)
from pipeline.api.stac.statements import StatementForm, page_query
from pipeline.catalogue.access import readable
from pipeline.catalogue.features import bounds_of_sources
from pipeline.catalogue.lookups import BadValue, parse_uuid
from pipeline.database.queries import NumberedQuery
from pipeline.database.tables import raster_sources
from pipeline.definitions.durations import format_time

SEARCH_BYTES = 2**18
"""Maximum length of the body of a search in bytes, because everyone may send one; a longer one gets 413."""
CHILD_LINKS = 100
"""Children to which the landing page links: as many as the first page of their list has."""
ALWAYS_SHOWN = ("type", "stac_version", "id", "collection")
"""Members that a feature always has, even if `fields` leaves them out."""
SHOWN_BY_DEFAULT = ("geometry", "bbox", "links", "assets", "properties.datetime")
"""Members that a feature has when `fields` includes nothing, unless it excludes them."""


@dataclass(frozen=True)
class FeaturePage:
    """One page of features."""

    matched: int
    text: str
    """The features as a JSON list."""
    returned: int
    token: str | None
    """The token of the next page; None on the last page."""


class FeatureEndpoint(Endpoint):
    """An endpoint below one of the roots, /stac/ or /ogc/."""

    geojson = False
    """Whether the answer is GeoJSON."""

    def __init__(self, api: Api, root: FeatureRoot) -> None:
        super().__init__(api)
        self.root = root

    def check_parameters(self, call: Call) -> None:
        """Raise Problem 400 for an unknown parameter below /ogc/, as OGC API requires; STAC clients send some."""
        names = {FORMAT[0], *(name for name, _, _ in self.parameters)}
        unknown = sorted(set(call.query) - names)
        if unknown and not self.root.is_stac:
            raise Problem(400, f"The parameter {unknown[0]:.100} is unknown.")

    def form(self, call: Call, written: str, **conditions: Any) -> StatementForm:
        """Return the form of a request before its parameters are parsed."""
        publishes = bool(self.api.config.asset_urls)
        return StatementForm(written, call.caller.logged_in, publishes=publishes, **conditions)

    def search(self, parameters: Mapping[str, Any], form: StatementForm) -> Search:
        """Parse the parameters of a request; raise Problem 400."""
        return parse_search(parameters, form, strict=not self.root.is_stac)

    def shown(self, call: Call, data: Any) -> Answer:
        """Return the data in their media type, or as plain objects for a page."""
        if not call.wants_json:
            return Answer(orjson.loads(orjson.dumps(data)))
        kind = GEOJSON if self.geojson else self.media_type
        return Answer(orjson.dumps(data), media_type=kind) if kind else Answer(data)

    async def find(self, call: Call, search: Search) -> FeaturePage:
        """Return a page of the features that a search finds."""
        query = page_query(search.form)
        values = {
            **shared_values(replace(call.links, format=None), call.caller),
            "root": self.root.url(call),
            "api": f"{call.links.base}{API}",
            "prefixes": [prefix for prefix, _ in self.api.config.asset_urls],
            "urls": [url for _, url in self.api.config.asset_urls],
            "limit": search.limit,
            "offset": search.offset,
            **search.values,
        }
        values = {name: values[name] for name in query.names}
        matched, written, returned, last = await run(call.api, query, values, search.costly)
        if search.fields is not None:
            chosen = [choose_fields(feature, search.fields) for feature in orjson.loads(written)]
            written = orjson.dumps(chosen).decode()
        return FeaturePage(matched, written, returned, encode_token(last) if last else None)

    async def find_one(self, call: Call, form: StatementForm, **values: Any) -> orjson.Fragment:
        """Return the JSON of one feature; raise Problem 404 if the caller may not read it."""
        page = await self.find(call, Search(form, values, 1))
        if not page.returned:
            raise not_found("Item" if form.written == "item" else "Collection")
        return orjson.Fragment(page.text[1:-1])

    async def check_collection(self, call: Call, uuid: UUID) -> None:
        """Raise Problem 404 if the raster source does not exist for the caller."""
        columns = raster_sources.c
        statement = select(columns.id).where(
            columns.uuid == uuid, readable(raster_sources, call.caller)
        )
        if not await call.api.database.rows(statement):
            raise not_found("Collection")

    def page_links(
        self, call: Call, search: Search, page: FeaturePage, kind: str
    ) -> list[dict[str, Any]]:
        """Return the links of a page that was requested by GET."""
        path = call.path.removeprefix(self.root.path).rstrip("/")
        query = {name: value for name, value in call.query.items() if value and name != "token"}

        def link(rel: str, **changes: Any) -> dict[str, Any]:
            changed = urlencode({**query, **changes})
            return self.root.link(call, rel, path + (f"?{changed}" if changed else ""), kind)

        token = {"token": call.query["token"]} if call.query.get("token") else {}
        links = [link("self", **token), self.root.link(call, "root", "", JSON_TYPE)]
        if page.token and search.page is None:
            links.append(link("next", token=page.token))
        elif search.page is not None:
            if page.token:
                links.append(link("next", page=search.page + 1))
            if search.page > 1:
                links.append(link("prev", page=search.page - 1))
        return links

    def shown_page(
        self, call: Call, search: Search, page: FeaturePage, collection: object
    ) -> Answer:
        """Return a page of the features of one collection."""
        links = self.page_links(call, search, page, GEOJSON)
        links.append(self.root.link(call, "collection", f"/collections/{collection}", JSON_TYPE))
        return self.shown(call, feature_collection(page, links))


async def run(
    api: Api, query: NumberedQuery, values: Mapping[str, Any], costly: Mapping[str, str]
) -> tuple[Any, ...]:
    """Return the row of a statement; one with costly parameters waits for a slot and has a time limit."""
    if not costly:
        row = await api.prepared.row(query, values)
        assert row
        return row
    statement = named_text(query).bindparams(**values)

    async def work(read_rows: ReadRows) -> tuple[Any, ...]:
        (found,) = await read_rows(statement)
        return tuple(found)

    limits = {name: Costly("", GEOMETRY_SECONDS, advice) for name, advice in costly.items()}
    return await api.costly.run(limits, work)


def named_text(query: NumberedQuery) -> TextClause:
    """Return a statement with named parameters, for SQLAlchemy."""
    escaped = query.text.replace(":", r"\:")
    return text(re.sub(r"\$(\d+)", lambda match: f":{query.names[int(match[1]) - 1]}", escaped))


def choose_fields(feature: dict[str, Any], fields: Fields) -> dict[str, Any]:
    """Return a feature with the members that `fields` includes."""
    if fields.include is not None:
        names = {*ALWAYS_SHOWN, *fields.include}
        if not fields.include:
            names |= {path for path in SHOWN_BY_DEFAULT if not _covers_any(fields.exclude, path)}
        feature = {
            name: part for name in feature if (part := _part(feature, name, names)) is not None
        }
    included = fields.include or frozenset()
    for path in fields.exclude - set(ALWAYS_SHOWN):
        outer, _, inner = path.partition(".")
        if any(_covers_any({path}, included_path) for included_path in included):
            continue
        if not inner:
            feature.pop(path, None)
        elif isinstance(feature.get(outer), dict):
            feature[outer].pop(inner, None)
    return feature


def _covers_any(outer: Collection[str], path: str) -> bool:
    """Return whether a path equals one of the outer paths, or lies within one."""
    return any(path == outer_path or path.startswith(f"{outer_path}.") for outer_path in outer)


def _part(feature: Mapping[str, Any], name: str, names: Collection[str]) -> Any:
    """Return the named member of a feature, or the parts of it in `names`; None if `names` has neither."""
    if name in names:
        return feature[name]
    inner = [path.removeprefix(f"{name}.") for path in names if path.startswith(f"{name}.")]
    if not inner or not isinstance(feature[name], dict):
        return None
    return {key: feature[name][key] for key in inner if key in feature[name]}


def feature_collection(page: FeaturePage, links: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a page of features in GeoJSON."""
    return {
        "type": "FeatureCollection",
        "timeStamp": format_time(datetime.now(UTC), "seconds"),
        "numberMatched": page.matched,
        "numberReturned": page.returned,
        "features": orjson.Fragment(page.text),
        "links": links,
    }


class CollectionList(FeatureEndpoint):
    """GET the raster sources as collections."""

    title = "Collections"
    description = "The raster sources that you may see, with the filters of items."
    parameters = COLLECTION_PARAMETERS
    member = "collections"
    default_limit = DEFAULT_LIMIT

    async def get(self, call: Call) -> Answer:
        """Return a page of collections."""
        self.check_parameters(call)
        parameters = {"limit": self.default_limit, **body_of_query(call.query)}
        search = self.search(parameters, self.form(call, "collection"))
        page = await self.find(call, search)
        text = page.text
        links = self.page_links(call, search, page, JSON_TYPE)
        links.append(self.root.link(call, "parent", "", JSON_TYPE))
        more = 0 if self.root.is_stac else 1  # the collection of raster sources, on the first page
        shown = more if search.is_first else 0
        if shown:
            sources = orjson.dumps(await collection_of_sources(call, self.root)).decode()
            text = f"[{sources}{',' if page.returned else ''}{text[1:]}"
        counts = {"numberMatched": page.matched + more, "numberReturned": page.returned + shown}
        return self.shown(call, {self.member: orjson.Fragment(text), "links": links, **counts})


class Children(CollectionList):
    """GET the children of the landing page."""

    title = "Children"
    description = "The raster sources as children of the catalogue."
    member = "children"
    default_limit = CHILD_LINKS


class OneCollection(FeatureEndpoint):
    """GET a raster source as a collection."""

    title = "Collection"
    description = "One raster source."

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if the raster source does not exist for the caller."""
        await self.check_collection(call, call.uuid("Collection"))

    async def get(self, call: Call) -> Answer:
        """Return the collection."""
        self.check_parameters(call)
        form = self.form(call, "collection", collections=1)
        collection = await self.find_one(call, form, collections=[call.uuid("Collection")])
        return self.shown(call, collection)


class Items(FeatureEndpoint):
    """GET the files of a raster source as items."""

    title = "Items"
    description = "The files of one raster source."
    parameters = ITEM_PARAMETERS
    geojson = True

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if the raster source does not exist for the caller."""
        await self.check_collection(call, call.uuid("Collection"))

    async def get(self, call: Call) -> Answer:
        """Return a page of items."""
        uuid = call.uuid("Collection")
        self.check_parameters(call)
        search = self.search(body_of_query(call.query), self.form(call, "item", collections=1))
        search = replace(search, values={**search.values, "collections": [uuid]})
        page = await self.find(call, search)
        if not page.returned:
            await self.check_collection(call, uuid)
        return self.shown_page(call, search, page, uuid)


class Item(FeatureEndpoint):
    """GET a raster file as an item."""

    title = "Item"
    description = "One file of a raster source."
    geojson = True

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if the file does not exist for the caller."""
        await self.current_item(call)

    async def get(self, call: Call) -> Answer:
        """Return the item."""
        self.check_parameters(call)
        return self.shown(call, await self.current_item(call))

    async def current_item(self, call: Call) -> orjson.Fragment:
        """Return the item in the path; raise Problem 404."""
        number = item_number(call.request.path_params["item"])
        if number is None:
            raise not_found("Item")
        form = self.form(call, "item", collections=1, ids=True)
        return await self.find_one(call, form, collections=[call.uuid("Item")], ids=[number])


class ItemSearch(FeatureEndpoint):
    """GET or POST a search of items."""

    title = "Item Search"
    description = "The files of all raster sources that you may see."
    parameters = SEARCH_PARAMETERS
    geojson = True
    parses = (JSON,)
    bodies: Mapping[str, Mapping[str, Any]] = {
        "POST": {"content": json_content({"type": "object"})}
    }

    async def check_sender(self, call: Call) -> None:
        """Raise Problem 405 or 415; everyone may send a POST, because it only reads."""
        self.handler(call.method)
        kind = media_type(call.request)
        if kind not in (JSON, "") and not kind.endswith("+json"):
            raise Problem(415, f'Unsupported media type "{kind}" in request.')

    def reads_token(self, call: Call) -> bool:  # noqa: ARG002
        """Return True: a search writes nothing, so it needs no token."""
        return True

    async def get(self, call: Call) -> Answer:
        """Return a page of items."""
        self.check_parameters(call)
        search = self.search(body_of_query(call.query), self.form(call, "item"))
        page = await self.find(call, search)
        return self.shown(
            call, feature_collection(page, self.page_links(call, search, page, GEOJSON))
        )

    async def post(self, call: Call) -> Answer:
        """Return a page of items."""
        config = replace(call.api.config, body_bytes=min(SEARCH_BYTES, call.api.config.body_bytes))
        parameters = await read_object(replace(call.body, config=config))
        search = self.search(parameters, self.form(call, "item"))
        page = await self.find(call, search)
        links = [self.root.link(call, "root", "", JSON_TYPE)]
        remaining = {
            name: value for name, value in parameters.items() if name not in ("token", "page")
        }
        pages: dict[str, dict[str, Any]] = {}
        if page.token:
            pages["next"] = {"page": search.page + 1} if search.page else {"token": page.token}
        if search.page is not None and search.page > 1:
            pages["prev"] = {"page": search.page - 1}
        links += [
            self.root.link(
                call, rel, "/search", GEOJSON, method="POST", body={**remaining, **change}
            )
            for rel, change in pages.items()
        ]
        return self.shown(call, feature_collection(page, links))


class SourceCollection(FeatureEndpoint):
    """GET the collection of all raster sources."""

    title = "Collection of raster sources"
    description = "The collection whose features are the rows of the list of raster sources."

    async def get(self, call: Call) -> Answer:
        """Return the collection."""
        self.check_parameters(call)
        return self.shown(call, await collection_of_sources(call, self.root))


class SourceItems(FeatureEndpoint):
    """GET the raster sources as features."""

    title = "Raster sources"
    description = "The raster sources that you may see, as features."
    parameters = ITEM_PARAMETERS
    geojson = True

    async def get(self, call: Call) -> Answer:
        """Return a page of raster sources."""
        self.check_parameters(call)
        search = self.search(body_of_query(call.query), self.form(call, "source"))
        page = await self.find(call, search)
        return self.shown_page(call, search, page, SOURCES_ID)


class SourceItem(FeatureEndpoint):
    """GET one raster source as a feature."""

    title = "Raster source"
    description = "One raster source as a feature."
    geojson = True

    async def check_exists(self, call: Call) -> None:
        """Raise Problem 404 if the raster source does not exist for the caller."""
        await self.check_collection(call, source_uuid(call))

    async def get(self, call: Call) -> Answer:
        """Return the feature."""
        self.check_parameters(call)
        form = self.form(call, "source", collections=1)
        return self.shown(call, await self.find_one(call, form, collections=[source_uuid(call)]))


def source_uuid(call: Call) -> UUID:
    """Return the uuid of the raster source in the path; raise Problem 404."""
    try:
        return parse_uuid(call.request.path_params["item"])
    except BadValue as error:
        raise not_found("Item") from error


async def collection_of_sources(call: Call, root: FeatureRoot) -> dict[str, Any]:
    """Return the description of the collection of all raster sources."""
    (bounds,) = await call.api.database.rows(bounds_of_sources(call.caller))
    path = f"/collections/{SOURCES_ID}"
    return {
        "id": SOURCES_ID,
        "title": "Raster sources",
        "description": SourceCollection.description,
        "itemType": "feature",
        "crs": ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"],
        "extent": {
            "spatial": {"bbox": [[-180, -90, 180, 90] if None in bounds else list(bounds)]},
            "temporal": {"interval": [[None, None]]},
        },
        "links": [
            root.link(call, "self", path, JSON_TYPE),
            root.link(call, "items", f"{path}/items", GEOJSON),
            root.link(call, f"{OGC_REL}queryables", f"{path}/queryables", SCHEMA),
        ],
    }
