"""The two roots of the same features: the STAC API, and OGC API - Features, which has one more collection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.api.endpoint import Call

JSON_TYPE, GEOJSON, SCHEMA = "application/json", "application/geo+json", "application/schema+json"
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"
OGC_REL = "http://www.opengis.net/def/rel/ogc/1.0/"
SOURCES_ID = "rastersources"
"""The id of the collection of all raster sources."""


@dataclass(frozen=True)
class FeatureRoot:
    """One of the two APIs."""

    path: str
    title: str
    description: str
    conformance: Sequence[str]
    is_stac: bool

    def url(self, call: Call, path: str = "") -> str:
        """Return the URL of a path below this root."""
        return f"{call.links.base}{self.path}{path}"

    def link(self, call: Call, rel: str, path: str, kind: str, **more: Any) -> dict[str, Any]:
        """Return a link to a path below this root."""
        return {"rel": rel, "type": kind, "href": self.url(call, path), **more}


_OGC = "http://www.opengis.net/spec"
_STAC = "https://api.stacspec.org"
_FEATURES = [
    f"{_OGC}/ogcapi-features-1/1.0/conf/core",
    f"{_OGC}/ogcapi-features-1/1.0/conf/geojson",
    f"{_OGC}/ogcapi-features-1/1.0/conf/oas30",
    f"{_OGC}/ogcapi-features-3/1.0/conf/filter",
    f"{_OGC}/ogcapi-features-3/1.0/conf/features-filter",
    f"{_OGC}/ogcapi-features-3/1.0/conf/queryables",
    *(f"{_OGC}/cql2/1.0/conf/{name}" for name in (
        "cql2-text", "cql2-json", "basic-cql2", "advanced-comparison-operators", "case-insensitive-comparison",
        "basic-spatial-functions", "spatial-functions", "temporal-functions",
        "arithmetic", "property-property",
    )),
]  # fmt: skip
STAC = FeatureRoot(
    "/stac",
    "rastersources",
    "A catalogue of rasters. A raster source is a collection, a raster file an item.",
    [
        f"{_STAC}/v1.0.0/core",
        f"{_STAC}/v1.0.0/collections",
        f"{_STAC}/v1.0.0/ogcapi-features",
        f"{_STAC}/v1.0.0/item-search",
        *(f"{_STAC}/v1.0.0/{part}#{name}" for name in ("fields", "sort", "query")
          for part in ("item-search", "ogcapi-features")),
        *(f"{_STAC}/{version}/item-search#filter" for version in ("v1.0.0-rc.3", "v1.0.0")),
        f"{_STAC}/v1.0.0-rc.1/item-search#free-text",
        f"{_STAC}/v1.0.0-rc.1/ogcapi-features#free-text",
        f"{_STAC}/v1.0.0-rc.1/collection-search",
        *(f"{_STAC}/v1.0.0-rc.1/collection-search#{name}"
          for name in ("fields", "sort", "query", "filter", "free-text")),
        f"{_STAC}/v1.0.0-rc.2/children",
        f"{_OGC}/ogcapi-common-2/1.0/conf/simple-query",
        *_FEATURES,
    ],
    is_stac=True,
)  # fmt: skip
OGC = FeatureRoot(
    "/ogc",
    "rastersources",
    "A catalogue of rasters: one collection of all raster sources, and one of the files of each.",
    _FEATURES,
    is_stac=False,
)
