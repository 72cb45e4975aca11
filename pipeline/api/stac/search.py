"""Parses a search for features: filters, order, page and fields, from a query string or from a body."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from uuid import UUID

import orjson
import shapely

from pipeline.api.problems import invalid
from pipeline.api.stac.statements import Order, StatementForm, most_rows
from pipeline.catalogue.cql2 import SIMPLE_POINTS, Cql2Filter, Kind, box_shape, read_filter
from pipeline.catalogue.cql2_text import parse_text
from pipeline.catalogue.features import Features
from pipeline.catalogue.lookups import BadValue, escape_like, parse_timestamp, parse_uuid
from pipeline.catalogue.spatial_filters import NUMBER, parse_geometry, shifted_shapes

Value = TypeVar("Value")
DEFAULT_LIMIT, MAX_LIMIT = 10, 1000
MAX_OFFSET = 10**9
MAX_LIST = 1000
"""Maximum number of entries of a list of ids, collections or words."""
TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}([.]\d+)?([Zz]|[+-]\d{2}:\d{2})")
CRS84 = (
    "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
    "http://www.opengis.net/def/crs/OGC/0/CRS84h",
)
COMPARISONS = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
PATTERNS = {"startsWith": "{}%", "endsWith": "%{}", "contains": "%{}%"}


@dataclass(frozen=True)
class Fields:
    """The members of a feature that are shown."""

    include: frozenset[str] | None = None
    """None: all members that are not excluded."""
    exclude: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Search:
    """A parsed search."""

    form: StatementForm
    values: Mapping[str, Any]
    limit: int
    offset: int = 0
    page: int | None = None
    """The number of the page, if the client chose it by number."""
    fields: Fields | None = None
    costly: Mapping[str, str] = field(default_factory=dict)
    """The parameters that can take long, each with advice for the user."""

    @property
    def is_first(self) -> bool:
        """Whether it selects the first page."""
        return self.form.after is None and not self.offset


def parse_search(parameters: Mapping[str, Any], form: StatementForm, *, strict: bool) -> Search:
    """Parse the parameters of a search; raise Problem 400 that names each bad one.

    The values have the types of a JSON body. `form` has the kind of the features. With `strict`, a filter on a
    property that no feature has is rejected. Otherwise the value of such a property is null in every feature.
    """
    reader = _Reader(parameters, form, is_strict=strict)
    search = reader.read()
    if reader.errors:
        raise invalid(reader.errors)
    return search


class _Reader:
    """Reads the parameters of one request."""

    def __init__(
        self, parameters: Mapping[str, Any], form: StatementForm, *, is_strict: bool
    ) -> None:
        self.parameters, self.form, self.is_strict = parameters, form, is_strict
        self.values: dict[str, Any] = {}
        self.errors: dict[str, list[str]] = {}
        self.costly: dict[str, str] = {}
        self.slow: set[str] = set()
        """Parameters for which PostgreSQL must compute something for each row."""

    @property
    def features(self) -> Features:
        return self.form.features

    def take(self, name: str, parse: Callable[[Any], Value], default: Value) -> Value:
        """Return the value of a parameter, or the default where it is absent or empty."""
        value = self.parameters.get(name)
        if value is None or value in ("", []):
            return default
        try:
            return parse(value)
        except BadValue as error:
            self.errors[name] = [str(error)]
        except RecursionError:
            self.errors[name] = ["Has too many levels of brackets."]
        return default

    def read(self) -> Search:
        """Return the search."""
        limit = self.take("limit", lambda value: min(_number(value), MAX_LIMIT), DEFAULT_LIMIT)
        page = self.take("page", _number, None)
        offset = min(((page or 1) - 1) * limit, MAX_OFFSET)
        filters = (
            *self.take("filter", self.read_filter, ()),
            *self.take("query", self.read_query, ()),
        )
        self.take("filter-crs", _check_crs, None)
        no_order: tuple[Order, ...] = ()
        orders = self.take("sortby", self.read_orders, no_order)
        form = replace(
            self.form,
            collections=self.form.collections or self.take("collections", self.read_collections, 0),
            ids=self.take("ids", self.read_ids, False),
            geometries=self.read_place(),
            time=self.take("datetime", self.read_time, False),
            words=self.take("q", self.read_words, 0),
            filters=filters,
            orders=orders,
            most=most_rows(limit, offset),
        )
        after = self.take("token", lambda value: self.read_token(value, form), None)
        if not (form.collections or form.ids or form.geometries):
            self.costly |= dict.fromkeys(self.slow, "add collections or bbox")
        fields = read_fields_of(self.parameters, self.errors)
        form = replace(form, after=after)
        return Search(form, self.values, limit, offset, page, fields, self.costly)

    def read_collections(self, value: Any) -> int:
        """Filter by collections; return 1 for one of them, 2 for several. A text that is not a uuid matches none."""
        uuids = {uuid for text in _texts(value) if (uuid := _uuid(text))}
        self.values["collections"] = list(uuids)
        return 2 if len(uuids) > 1 else 1

    def read_ids(self, value: Any) -> bool:
        """Filter by ids; a text that is not an id matches no feature."""
        if self.form.written == "item":
            self.values["ids"] = [
                item_id for text in _texts(value) if (item_id := item_number(text)) is not None
            ]
            return True
        raise BadValue("Is for items only; search for collections with a filter on id.")

    def read_place(self) -> int:
        """Filter by a box or a geometry. Return the number of geometries; a feature must intersect at least one."""
        geometry = self.take("bbox", box_shape, None)
        if geometry is not None and self.parameters.get("intersects"):
            self.errors["intersects"] = ["Give bbox or intersects, not both."]
        geometry = self.take("intersects", _geometry, geometry)
        if geometry is None:
            return 0
        if shapely.get_num_coordinates(geometry) > SIMPLE_POINTS:
            self.costly["intersects"] = "simplify the geometry"
        texts = shifted_shapes(geometry)
        self.values |= {f"geometry_{index}": text for index, text in enumerate(texts)}
        return len(texts)

    def read_time(self, value: Any) -> bool:
        """Filter by an interval of time."""
        start, end = parse_interval(value)
        self.values |= {"start_time": start, "end_time": end}
        return True

    def read_words(self, value: Any) -> int:
        """Filter by words; a feature matches if its texts contain one of them. Return the number of words."""
        words = [text.strip() for text in _texts(value)]
        if self.features.slow:
            self.slow.add("q")
        self.values["words"] = [f"%{escape_like(word)}%" for word in words if word]
        return len(self.values["words"])

    def read_filter(self, value: Any) -> tuple[Any, ...]:
        """Store the values of a filter in CQL2 and return its shape."""
        language = self.parameters.get("filter-lang") or (
            "cql2-text" if isinstance(value, str) else "cql2-json"
        )
        if language not in ("cql2-text", "cql2-json"):
            raise BadValue("The filter-lang must be cql2-text or cql2-json.")
        if isinstance(value, str):
            value = parse_text(value) if language == "cql2-text" else _json(value)
        return self.keep_filter(
            read_filter(value, self.features.kinds, strict=self.is_strict), "filter", 0
        )

    def read_query(self, value: Any) -> tuple[Any, ...]:
        """Store the values of a query, such as {"proj:code": {"eq": "EPSG:4326"}}, and return its shape."""
        if not isinstance(value, dict):
            raise BadValue("Must be an object of properties.")
        kinds = self.features.kinds
        tests = [
            test
            for name, comparisons in value.items()
            for test in query_tests(name, comparisons, kinds.get(name))
        ]
        if not tests:
            return ()
        return self.keep_filter(
            read_filter({"op": "and", "args": tests}, self.features.kinds, strict=self.is_strict),
            "query",
            1,
        )

    def keep_filter(self, filter: Cql2Filter, parameter: str, number: int) -> tuple[Any, ...]:
        """Store the values of a filter and return its shape, with the number that the names of its values contain."""
        self.values |= {
            f"filter_{number}_{place}": value for place, value in enumerate(filter.values)
        }
        if filter.properties & self.features.slow:
            self.slow.add(parameter)
        if filter.is_costly:
            self.costly[parameter] = "simplify its geometries and patterns"
        return ((number, filter.shape),)

    def read_orders(self, value: Any) -> tuple[Order, ...]:
        """Return the keys of an order; repeated properties are ignored."""
        if not isinstance(value, list) or len(value) > len(self.features.queryables):
            raise BadValue('Must be a list such as [{"field": "datetime", "direction": "desc"}].')
        orders: dict[str, Order] = {}
        for key in value:
            order = self.read_order(key)
            orders.setdefault(order.name, order)
        return tuple(orders.values())

    def read_order(self, value: Any) -> Order:
        """Return one key of an order."""
        if not isinstance(value, dict) or value.get("direction", "asc") not in ("asc", "desc"):
            raise BadValue("Each key must have a field and a direction, asc or desc.")
        name = str(value.get("field")).removeprefix("properties.")
        queryable = self.features.queryables.get(name)
        if queryable is None or queryable.kind is Kind.GEOMETRY:
            raise BadValue(f"{name:.100} is not sortable; see the list of sortables.")
        return Order(name, value.get("direction") == "desc")

    def read_token(self, value: Any, form: StatementForm) -> tuple[bool, ...]:
        """Return for each key of the order whether the last feature of the previous page has no value."""
        if self.parameters.get("page"):
            raise BadValue("Give token or page, not both.")
        keys = decode_token(value)
        if len(keys) != len(form.orders) + 1 or item_number(keys[-1] or "") is None:
            raise BadValue("The token belongs to another order; start at the first page.")
        self.values |= {f"after_{index}": key for index, key in enumerate(keys)}
        return tuple(key is None for key in keys)


def query_tests(name: str, comparisons: Any, kind: Kind | None) -> list[Any]:
    """Return the tests of one property of a query in CQL2; a number may be written as a text, as some clients do."""
    subject = {"property": name}
    tests = []
    for operator, value in (
        comparisons if isinstance(comparisons, dict) else {"eq": comparisons}
    ).items():
        if kind is Kind.NUMBER and isinstance(value, str) and re.fullmatch(NUMBER, value):
            value = float(value)
        if operator in COMPARISONS:
            tests.append({"op": COMPARISONS[operator], "args": [subject, value]})
        elif operator == "in":
            tests.append({"op": "in", "args": [subject, value]})
        elif operator in PATTERNS and isinstance(value, str):
            pattern = PATTERNS[operator].format(escape_like(value))
            tests.append({"op": "like", "args": [subject, pattern]})
        else:
            raise BadValue(f"{operator!s:.100} is not an operator, or not one for such a value.")
    return tests


def parse_interval(value: Any) -> tuple[str, str]:
    """Return start and end of a time or an interval as ISO 8601, or -infinity and infinity; raise BadValue."""
    parts = value.split("/") if isinstance(value, str) else []
    if len(parts) not in (1, 2) or all(part in ("", "..") for part in parts):
        raise BadValue(
            "Must be a time, or two times with / between them; .. instead of one means an open end."
        )
    ends = [None if part in ("", "..") and len(parts) == 2 else _rfc3339(part) for part in parts]
    start, end = ends[0], ends[-1]
    if start and end and start > end:
        raise BadValue("The interval ends before it begins.")
    return start.isoformat() if start else "-infinity", end.isoformat() if end else "infinity"


def _rfc3339(text: str) -> Any:
    if not TIME.fullmatch(text):
        raise BadValue("Must be a time such as 2016-06-21T06:05:00Z.")
    return parse_timestamp(text.upper())


def _number(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadValue("Must be a whole number, 1 or higher.")
    return min(value, MAX_OFFSET)


def _texts(value: Any) -> Sequence[str]:
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(
        isinstance(text, str) and "\x00" not in text for text in value
    ):
        raise BadValue("Must be a list of texts.")
    if len(value) > MAX_LIST:
        raise BadValue(f"May have at most {MAX_LIST} entries.")
    return value


def _uuid(text: str) -> UUID | None:
    try:
        return parse_uuid(text)
    except BadValue:
        return None


def item_number(text: str) -> int | None:
    """Return the id of a file from the id of an item; None for any other text."""
    return int(text) if re.fullmatch("[1-9][0-9]{0,17}", text) else None


def _geometry(value: Any) -> shapely.Geometry:
    if not isinstance(value, dict) or value.get("type") == "Feature":
        raise BadValue("Must be a geometry in GeoJSON.")
    return parse_geometry(json.dumps(value))


def _check_crs(value: Any) -> None:
    if value not in CRS84:
        raise BadValue(f"Must be {CRS84[0]}.")


def _json(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise BadValue("Must be JSON.") from error


def read_fields_of(parameters: Mapping[str, Any], errors: dict[str, list[str]]) -> Fields | None:
    """Return the members to show; None means all. A `fields` of null is an error."""
    if "fields" not in parameters:
        return None
    try:
        return read_fields(parameters["fields"])
    except BadValue as error:
        errors["fields"] = [str(error)]
        return None


def read_fields(value: Any) -> Fields:
    """Return the members to show."""
    if not isinstance(value, dict):
        raise BadValue("Must be an object with include and exclude.")
    listed = {
        name: frozenset(_texts(value[name] or []))
        for name in ("include", "exclude")
        if name in value
    }
    if not any(listed.values()):
        return Fields()
    return Fields(listed.get("include"), listed.get("exclude", frozenset()))


def encode_token(keys: str) -> str:
    """Return the token of the page that follows a feature; `keys` are its keys of the order as a JSON list."""
    return base64.urlsafe_b64encode(keys.encode()).decode().rstrip("=")


def decode_token(token: Any) -> list[str | None]:
    """Return the keys of the order in a token; raise BadValue."""
    try:
        keys = orjson.loads(base64.urlsafe_b64decode(str(token) + "=" * (-len(str(token)) % 4)))
    except (ValueError, binascii.Error) as error:
        raise BadValue("Is not a token of this server; begin with the first page.") from error
    if not isinstance(keys, list) or not all(
        key is None or (isinstance(key, str) and "\x00" not in key) for key in keys
    ):
        raise BadValue("Is not a token of this server; begin with the first page.")
    return keys


SPLIT = ("ids", "collections", "q")
"""Parameters that are lists in a body and texts with commas in a query string."""
NUMBERS = ("limit", "page")
OBJECTS = ("intersects", "query")


def body_of_query(query: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of a query string with the types of a body; raise Problem 400."""
    parameters: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    for name, text in query.items():
        try:
            if text:
                parameters[name] = _typed(name, text)
        except BadValue as error:
            errors[name] = [str(error)]
    if errors:
        raise invalid(errors)
    return parameters


def _typed(name: str, text: str) -> Any:
    if name in SPLIT:
        return text.split(",")
    if name in NUMBERS:
        return int(text) if re.fullmatch("[0-9]{1,18}", text) else text
    if name in OBJECTS:
        return _json(text)
    if name == "bbox":
        return [_float(part) for part in text.split(",")]
    if name == "sortby":
        return [_order(part.strip()) for part in text.split(",")]
    if name == "fields":
        parts = [part.strip() for part in text.split(",") if part.strip()]
        include = [part.lstrip("+ ") for part in parts if part[0] != "-"]
        exclude = [part[1:] for part in parts if part[0] == "-"]
        return {
            name: listed for name, listed in (("include", include), ("exclude", exclude)) if listed
        }
    return text


def _order(text: str) -> dict[str, str]:
    return {"field": text.lstrip("+- "), "direction": "desc" if text.startswith("-") else "asc"}


def _float(text: str) -> float:
    if not re.fullmatch(NUMBER, text.strip()):
        raise BadValue("Must be numbers with commas between them.")
    return float(text)
