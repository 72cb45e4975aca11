"""pystac validates what the API makes of real files, and of those of the other tests here."""

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
    """The validator of pystac. It does not check the schemas anew for each item."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Draft7Validator, "check_schema", lambda _: None)
        yield validator_with_extensions()


def pages(client: Client, path: str, member: str) -> Iterator[dict[str, Any]]:
    """Everything that a list has, page by page."""
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
    work = definition_files([CORPUS], id="corpus", access_modifier="Private")
    report = register_files(engine, pool.read, work)
    assert report.registered > 60
    for reader, count in ((client, 5), (admin, 6 + report.registered)):
        items = list(pages(reader, "/stac/search", "features"))
        assert len(items) == count
        for item in items:
            assert len(pystac.Item.from_dict(item).validate()) >= 2
        for collection in pages(reader, "/stac/collections", "collections"):
            assert pystac.Collection.from_dict(collection).validate()
