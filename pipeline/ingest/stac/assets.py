"""Finds the GeoTIFFs among the assets of a STAC item: their location, and what the item states about them."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import blake2b
from urllib.parse import quote

from pipeline.errors import CatalogueError, NotSTAC, Rejection
from pipeline.ingest.stac.documents import Document, object_in, printable, text_in
from pipeline.storage import S3, WEB, Location, Stated, literal_location
from pipeline.storage.documents import resolve_link
from pipeline.storage.files import LONGEST_URI
from pipeline.storage.web_files import shown_uri

_TIFF_TYPES = ("image/tiff", "image/vnd.stac.geotiff")
_NO_TYPE = ("", "application/octet-stream", "binary/octet-stream")
_SUFFIXES = (".tif", ".tiff")
_OTHER_ROLES = {"thumbnail", "overview", "metadata"}
"""Roles of TIFFs that are not data, unless they also have the role `data`."""
MOST_KINDS = 100
"""Maximum number of kinds of other assets that are counted separately."""


@dataclass(frozen=True)
class AssetFilter:
    """The parts of a catalogue to import."""

    collections: frozenset[str] = frozenset()
    """Ids of collections; empty: all."""
    assets: frozenset[str] = frozenset()
    """Names of assets; empty: all GeoTIFFs."""
    item_times: bool = False
    """Whether files that contain no time get the time of their item."""


@dataclass
class AssetCounts:
    """Counts what was found in a catalogue so far."""

    items: int = 0
    geotiffs: int = 0
    others: Counter[str] = field(default_factory=Counter)
    """Name and media type of other assets -> their number."""
    without: int = 0
    """Items without a GeoTIFF."""

    def add_other(self, name: str, media_type: str) -> None:
        """Count an asset that is not imported."""
        kind = f"{printable(name)[:60]} ({media_type[:60] or 'no type'})"
        if kind not in self.others and len(self.others) >= MOST_KINDS:
            kind = "others"
        self.others[kind] += 1


@dataclass(frozen=True)
class Asset:
    """A GeoTIFF of an item."""

    location: Location
    stated: Stated


def assets_of(
    item: Document, base: str, title: str, asset_filter: AssetFilter, counts: AssetCounts
) -> Iterator[Asset | Rejection]:
    """Yield the GeoTIFFs of an item; `base` is the URL of its document, `title` the title of its collection.

    An asset with an unusable URL yields a rejection.
    """
    counts.items += 1
    chosen = {}
    for name, asset in object_in(item, "assets").items():
        if isinstance(asset, dict) and is_geotiff(name, asset, asset_filter):
            chosen[name] = asset
        else:
            counts.add_other(name, text_in(asset, "type") if isinstance(asset, dict) else "")
    counts.without += not chosen
    time = item_time(object_in(item, "properties")) if asset_filter.item_times else None
    collection = text_in(item, "collection")
    for name, asset in chosen.items():
        counts.geotiffs += 1
        shown = title if len(chosen) == 1 else f"{title} {printable(name)}"
        group = _key(collection, name) if collection else ""
        uri = resolve_link(base, asset["href"])
        try:
            location = _location(uri)
        except CatalogueError as error:
            yield Rejection(shown_uri(uri), NotSTAC.code, str(error))
        else:
            yield Asset(location, Stated(group, shown.strip()[:255] or printable(name)[:255], time))


def is_geotiff(name: str, asset: Document, asset_filter: AssetFilter) -> bool:
    """Return whether an asset is a GeoTIFF to import, by its media type, or without one by the ending of its name."""
    if asset_filter.assets and name not in asset_filter.assets:
        return False
    roles = asset.get("roles")
    named = {role for role in roles if isinstance(role, str)} if isinstance(roles, list) else set()
    if named & _OTHER_ROLES and "data" not in named and not asset_filter.assets:
        return False
    media_type = text_in(asset, "type").partition(";")[0].strip().lower()
    if media_type in _NO_TYPE:
        path = re.split("[?#]", text_in(asset, "href"))[0]
        return path.lower().endswith(_SUFFIXES)
    return media_type in _TIFF_TYPES and bool(text_in(asset, "href"))


def item_time(properties: Document) -> datetime | None:
    """Return the time of an item, or its first time; None if it has no time or states that it is unknown."""
    if properties.get("rastersources:time_unknown") is True:
        return None
    for name in ("datetime", "start_datetime"):
        text = properties.get(name)
        if isinstance(text, str):
            try:
                time = datetime.fromisoformat(text)
                return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
            except (ValueError, OverflowError):
                return None
    return None


def _location(uri: str) -> Location:
    if not uri.startswith((S3, "file://", *WEB)):
        raise CatalogueError(
            f"files at {shown_uri(uri)[:200]} cannot be read; use file, s3, http or https"
        )
    location = literal_location(uri)
    if len(location.uri) > LONGEST_URI:
        raise CatalogueError(f"its name has more than {LONGEST_URI} characters; shorten it")
    return location


def _key(collection: str, asset: str) -> str:
    """Return a key of at most 200 characters for an asset of a collection."""
    key = f"{quote(collection, safe='')}/{quote(asset, safe='')}"
    if len(key) <= 200:
        return key
    return f"{key[:150]}...{blake2b(key.encode(), digest_size=16).hexdigest()}"
