"""Registers the GeoTIFFs of a STAC catalogue: traversing the catalogue lists them; the rest is an ordinary run."""

import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import Engine

from pipeline.catalogue.comparison import open_comparison
from pipeline.catalogue.definitions import add_grid_to_names
from pipeline.catalogue.owners import find_owner
from pipeline.catalogue.sync_runs import SyncRun
from pipeline.catalogue.tombstones import find_deleted_groups
from pipeline.definitions.definition import ImportDefinition
from pipeline.errors import CatalogueError, Rejection, TransientError, Unreachable
from pipeline.ingest.plan import SyncPlan
from pipeline.ingest.register import (
    ProgressReporter,
    RunContext,
    RunOptions,
    RunOutcome,
    Steps,
    list_and_compare,
    open_run,
    run_steps,
)
from pipeline.ingest.stac.assets import Asset, AssetCounts, AssetFilter
from pipeline.ingest.stac.catalogue import CatalogueWalk, kind_of
from pipeline.ingest.stac.documents import DocumentReader, Link, LinkedDocument
from pipeline.storage import (
    EVERYWHERE,
    S3,
    WEB,
    ListedItem,
    Root,
    StoredFile,
    literal_location,
    unique,
)
from pipeline.storage.allowed_roots import AllowedRoots
from pipeline.storage.documents import document_uri, home_of
from pipeline.storage.named_files import FileFinder, map_ahead

if TYPE_CHECKING:
    from pipeline.ingest.stac.geoparquet import ItemTable

GEOPARQUET = (".parquet", ".geoparquet")
"""File name suffixes of GeoParquet files."""
REQUESTS_AT_ONCE = 16
FILES_AHEAD = 64
MOST_REJECTED = 1000
"""Maximum number of rejected files before the first usable one."""
MOST_UNREACHABLE = 30
"""Maximum number of successive files whose servers do not answer."""


@dataclass
class StacImport:
    """A STAC catalogue with its first document, and the definition of its files."""

    definition: ImportDefinition
    first: LinkedDocument
    asset_filter: AssetFilter
    most_bytes: int
    named_roots: Sequence[Root]
    """The roots of the setting `RASTERSOURCES_ROOTS`."""
    table: "ItemTable | None" = None
    """The items of a GeoParquet file; then the first document is empty."""
    counts: AssetCounts = field(default_factory=AssetCounts)
    """What was found so far."""

    @property
    def id(self) -> str:
        """The id of the definition."""
        return self.definition.id

    def listed(self, _roots: Sequence[Root]) -> Iterator[ListedItem]:
        """Yield the files, and a rejection for each unusable file or document.

        Raises CatalogueError if no file may be read, TransientError if servers do not answer.
        """
        roots = roots_for(self.first.link.uri, self.named_roots)
        reader = DocumentReader(self.first.link.uri, roots, self.most_bytes)
        with ThreadPoolExecutor(REQUESTS_AT_ONCE, "find") as threads:
            walk = CatalogueWalk(self.first, reader, self.asset_filter, threads)
            self.counts = walk.counts
            assets = walk.assets_in(self.table.items()) if self.table else walk.assets()
            items = find_assets(assets, FileFinder(AllowedRoots(roots)), threads)
            yield from unique(require_usable_files(items))


def roots_for(start: str, named: Sequence[Root]) -> Sequence[Root]:
    """Return the roots for the links of a catalogue: those of the settings or, without any, those of its place.

    A catalogue in a folder may link to all folders and buckets, one in a bucket to its bucket, one on the web nowhere.
    """
    if named or start.startswith(WEB):
        return named
    return (home_of(start),) if start.startswith(S3) else EVERYWHERE


def open_import(
    name: str,
    fields: dict[str, object],
    asset_filter: AssetFilter,
    roots: Sequence[Root],
    most_bytes: int,
) -> StacImport:
    """Read the first document of a catalogue; `fields` are those of its definition, with None for omitted ones.

    Raises CatalogueError, or TransientError if a bucket does not answer.
    """
    uri = document_uri(name)
    present_fields = {name: value for name, value in fields.items() if value is not None}
    definition = ImportDefinition.make(
        {
            "id": default_id(uri),
            "files": ["."],
            "item_times": asset_filter.item_times,
            **present_fields,
        }
    )
    if urlsplit(uri).path.lower().endswith(GEOPARQUET):
        first = LinkedDocument(Link(uri), {})
        return StacImport(definition, first, asset_filter, most_bytes, roots, open_table(uri))
    reader = DocumentReader(uri, roots_for(uri, roots), most_bytes)
    first = reader.read_first(Link(uri))
    if not kind_of(first.document):
        raise CatalogueError(
            f"{uri} is JSON, but not a STAC catalogue, collection or item; "
            "give a catalog.json, the landing page of a STAC API, or a list of items [not_stac]"
        )
    return StacImport(definition, first, asset_filter, most_bytes, roots)


def open_table(uri: str) -> "ItemTable":
    """Open the GeoParquet file that the user gave. Raises CatalogueError."""
    # Other catalogues do not need pyarrow, and importing it takes longer than most commands.
    from pipeline.ingest.stac.geoparquet import ItemTable

    file = FileFinder(AllowedRoots([home_of(uri)])).find(literal_location(uri))
    if isinstance(file, Rejection):
        raise CatalogueError(f"{uri}: {file.message} [{file.code}]")
    return ItemTable(file)


def default_id(uri: str) -> str:
    """Return the definition id of a catalogue; it is the same for every import of that catalogue."""
    path = uri.partition("?")[0].rstrip("/")
    words = re.sub(r"[^A-Za-z0-9]+", "-", path.partition("://")[2]).strip("-")
    digest = blake2b(path.encode(errors="surrogateescape"), digest_size=4).hexdigest()
    return f"stac-{words[-60:].strip('-')}-{digest}"


def import_stac(context: RunContext, files: StacImport) -> RunOutcome:
    """Register the files of a catalogue; keep registered files that are no longer in it."""
    return run_steps(context, files.id, partial(_steps, files=files))


def _steps(context: RunContext, row: SyncRun, files: StacImport) -> Steps:
    with open_run(context, files, row, complete=False) as run:
        yield from run.read_and_write()
        add_grid_to_names(run.context.engine, files.definition)
        run.comparison.update_rejections(run.owner.organisation_id, complete=True)


def plan_import(
    engine: Engine, files: StacImport, options: RunOptions, progress: ProgressReporter
) -> SyncPlan:
    """Return what an import would do. Raises CatalogueError if its owner does not exist."""
    if not options.create:
        find_owner(engine, files.definition)
    plan, deleted = SyncPlan(files.id), find_deleted_groups(engine, files.id)
    with open_comparison(engine, files.definition, exclusive=False) as comparison:
        list_and_compare(comparison, files, options, progress, complete=False)
        plan.add_files(comparison, files.definition, deleted, options.batch_size)
    return plan


def find_assets(
    assets: Iterable[Asset | Rejection], finder: FileFinder, threads: Executor
) -> Iterator[ListedItem]:
    """Yield the file of each asset in order, or a rejection; several servers are asked at once."""

    def prepare(asset: Asset | Rejection) -> tuple[Asset | Rejection, ListedItem | None]:
        """Look up local files in this thread."""
        if isinstance(asset, Rejection):
            return asset, asset
        local = not (asset.location.on_web or asset.location.in_bucket)
        return asset, finder.find(asset.location) if local else None

    def find(prepared: tuple[Asset | Rejection, ListedItem | None]) -> ListedItem:
        asset, item = prepared
        if isinstance(asset, Rejection):
            return asset
        listed = item or finder.find(asset.location)
        return replace(listed, stated=asset.stated) if isinstance(listed, StoredFile) else listed

    yield from map_ahead(find, map(prepare, assets), threads, FILES_AHEAD)


def require_usable_files(items: Iterable[ListedItem]) -> Iterator[ListedItem]:
    """Yield the items; raise CatalogueError if all are rejections, TransientError if servers do not answer."""
    rejected, unreachable, any_found = 0, 0, False
    for item in items:
        any_found = any_found or isinstance(item, StoredFile)
        if isinstance(item, Rejection):
            rejected += 1
            unreachable = unreachable + 1 if item.code == Unreachable.code else 0
            if unreachable >= MOST_UNREACHABLE:
                raise TransientError(
                    f"{MOST_UNREACHABLE} successive files cannot be reached, the last one is {item.uri}: "
                    f"{item.message}; run the same command again later"
                )
            if rejected >= MOST_REJECTED and not any_found:
                raise CatalogueError(
                    f"none of the first {MOST_REJECTED} files can be used, the last one is {item.uri}: {item.message}"
                )
        else:
            unreachable = 0
        yield item
