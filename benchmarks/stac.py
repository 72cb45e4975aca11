"""stac-fastapi-pgstac with the same records and the same requests."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import quote

from benchmarks.cluster import Database, run, serving
from benchmarks.peers import PEERS
from benchmarks.sample import Paths, Sample

STAC_COLLECTION = {
    "type": "Collection", "id": "records", "stac_version": "1.0.0", "description": "made up", "license": "other",
    "extent": {"spatial": {"bbox": [[3, 50, 8, 54]]}, "temporal": {"interval": [[None, None]]}}, "links": [],
}  # fmt: skip
STAC_QUERYABLES = {"organisation": "string", "title": "string", "updated": "string"}


def serve_stac(database: Database) -> AbstractContextManager[str]:
    """Yield the address of stac-fastapi-pgstac, in two processes."""
    command = [
        PEERS / "uvicorn", "stac_fastapi.pgstac.app:create_app", "--factory", "--workers", "2", "--port", "{port}",
        "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    environment = database.peers
    socket = quote(environment["PGHOST"], safe="")  # becomes a part of a URL
    return serving(command, {**environment, "PGHOST": socket, "PGPASSWORD": "none"}, "/_mgmt/ping")


def migrate_pgstac(database: Database) -> None:
    """Make the tables of pgstac."""
    database.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
    pypgstac(database, "migrate")


def load_pgstac(database: Database, table: str, documents: Path) -> None:
    """Load collections or items."""
    pypgstac(database, "load", table, documents)


def index_pgstac(database: Database, folder: Path, kinds: Mapping[str, str]) -> None:
    """Tell pgstac the types of properties, and give it an index of each."""
    queryables = folder / "queryables.json"
    queryables.write_text(
        json.dumps({"properties": {name: {"type": kind} for name, kind in kinds.items()}})
    )
    names = json.dumps(list(kinds))
    pypgstac(database, "load_queryables", queryables, "--index_fields", names)


def pypgstac(database: Database, *arguments: str | Path) -> str:
    """Run the loader of pgstac."""
    return run([PEERS / "pypgstac", *arguments], database.peers)


def prepare_stac(database: Database, folder: Path) -> Path:
    """Make the tables of pgstac; return a file with the items."""
    migrate_pgstac(database)
    collection = folder / "collection.ndjson"
    collection.write_text(json.dumps(STAC_COLLECTION) + "\n")
    load_pgstac(database, "collections", collection)
    items = folder / "items.ndjson"
    with items.open("w") as file:
        file.write(database.run_file("stac_items.sql"))
    return items


def stac_paths(database: Database, sample: Sample) -> Paths:
    """Return the same requests in STAC, which does not count, and has tokens in place of page numbers."""
    search = "/search?collections=records&limit=10"
    filtered = f"{search}&filter-lang=cql2-text&filter="
    tokens = database.execute(
        "SELECT 'next:' || pgstac.page_token(collection, id) FROM ("
        "SELECT collection, id, row_number() OVER (ORDER BY datetime DESC, id DESC) AS number FROM pgstac.items)"
        " AS items WHERE number %% 10 = 0 AND number / 10 BETWEEN %s AND %s",
        sample.pages[0] - 1, sample.pages[-1] - 1,
    )  # fmt: skip
    return {
        "bbox": [f"{search}&bbox={box}" for box in sample.boxes],
        "name": [filtered + quote(f"CASEI(title) LIKE CASEI('%{name}%')") for name in sample.names],
        "uuid": [f"/collections/records/items/{uuid}" for uuid in sample.uuids],
        "organisation": [
            filtered + quote(f"organisation = '{uuid}'") + "&sortby=-updated"
            for uuid in sample.organisations
        ],
        "deep pages": [f"{search}&token={token}" for (token,) in tokens],
        "first page": [search],
    }
