"""pystac validates the items and collections of the corpus and of the sources of conftest.py."""

from collections.abc import Iterator
from typing import Any

import pystac
import pytest
from httpx import Client
from jsonschema import Draft7Validator
from pystac.validation import JsonSchemaSTACValidator
from sqlalchemy import Engine

from pipeline.catalogue.file_row import FileRow
from pipeline.raster import ProcessReader
from tests.api.stac.conftest import Uuids
from tests.support.commands import CORPUS
from tests.support.ingestion import definition_files, register_files
from tests.support.needs import needs_corpus, needs_stac_schemas
from tests.support.stac_schemas import validator_with_extensions


@pytest.fixture(scope="module")
def validator() -> Iterator[JsonSchemaSTACValidator]:
    """The validator of pystac, which does not check the schemas again for each item."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft7Validator, "check_schema", lambda _: None)
        yield validator_with_extensions()


def read_pages(client: Client, path: str, member: str) -> Iterator[dict[str, Any]]:
    """Yield the members of all pages of a list."""
    following = f"{path}?limit=50"
    while following:
        page = client.get(following).json()
        yield from page[member]
        following = next((link["href"] for link in page["links"] if link["rel"] == "next"), "")


@needs_corpus
@needs_stac_schemas
def test_pystac_validates_every_collection_and_item(
    engine: Engine,
    pool: ProcessReader[FileRow],
    client: Client,
    admin: Client,
    uuids: Uuids,
    validator: JsonSchemaSTACValidator,
) -> None:
    item = definition_files([CORPUS], id="corpus", access_modifier="Private")
    report = register_files(engine, pool.read, item)
    assert report.registered > 60
    for reader, count in ((client, 5), (admin, 6 + report.registered)):
        items = list(read_pages(reader, "/stac/search", "features"))
        assert len(items) == count
        for document in items:
            assert len(pystac.Item.from_dict(document).validate()) >= 2
        for collection in read_pages(reader, "/stac/collections", "collections"):
            assert pystac.Collection.from_dict(collection).validate()
