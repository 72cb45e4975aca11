"""The query parameters of features, with their JSON Schemas and meanings."""

from collections.abc import Sequence

from pipeline.api.query_string import Parameter
from pipeline.api.stac.search import DEFAULT_LIMIT, MAX_LIMIT
from pipeline.catalogue.lookups import TEXT_PATTERN

STRING = {"type": "string", "pattern": TEXT_PATTERN}
NUMBERS = "-?[0-9]+([.][0-9]+)?"
BOX = {"type": "string", "pattern": f"^{NUMBERS}(,{NUMBERS}){{3}}((,{NUMBERS}){{2}})?$"}

PAGING: Sequence[Parameter] = (
    ("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
     f"Features on a page, at most {MAX_LIMIT}."),
    ("token", STRING, "The token of the next page, from the link next."),
    ("page", {"type": "integer", "minimum": 1}, "The number of a page, for clients that fetch pages at the same time."),
)  # fmt: skip
FILTERS: Sequence[Parameter] = (
    ("bbox", BOX, "west,south,east,north in degrees, or six numbers with heights. west > east crosses 180 degrees."),
    ("datetime", STRING, "A time, or two times with / between them; .. instead of one means an open end."),
    ("filter", STRING, "An expression in CQL2."),
    ("filter-lang", {"type": "string", "enum": ["cql2-text", "cql2-json"]}, "The language of the filter."),
    ("filter-crs", STRING, "The CRS of the filter; only CRS84 is supported."),
    ("query", STRING, 'Tests of properties, such as {"proj:code": {"eq": "EPSG:28992"}}.'),
    ("q", STRING, "Words with commas between them; finds features whose texts have one of them."),
    ("sortby", STRING, "Properties with commas between them; - in front reverses the order."),
    ("fields", STRING, "Members to show, and with - in front members to leave out."),
)  # fmt: skip
COLLECTION_PARAMETERS = (*FILTERS, *PAGING)
ITEM_PARAMETERS = (*FILTERS, *PAGING)
SEARCH_PARAMETERS = (
    ("collections", STRING, "Ids of collections with commas between them."),
    ("ids", STRING, "Ids of items with commas between them."),
    ("intersects", STRING, "A geometry in GeoJSON."),
    *FILTERS,
    *PAGING,
)
