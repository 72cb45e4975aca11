"""Maps the paths below /stac/ and /ogc/ to their endpoints."""

from collections.abc import Iterator

from pipeline.api.endpoint import Api, Endpoint
from pipeline.api.stac.features import (
    Children,
    CollectionList,
    Item,
    Items,
    ItemSearch,
    OneCollection,
    SourceCollection,
    SourceItem,
    SourceItems,
)
from pipeline.api.stac.landing import ApiDocument, Conformance, Landing, Queryables, Sortables
from pipeline.api.stac.roots import OGC, SOURCES_ID, STAC, FeatureRoot
from pipeline.catalogue.features import COLLECTIONS


def feature_endpoints(api: Api) -> Iterator[tuple[str, Endpoint]]:
    """Yield each path below /stac/ and /ogc/, and its endpoint."""
    for root in (STAC, OGC):
        described = list(_endpoints(api, root))
        yield from described
        yield f"{root.path}/api/", ApiDocument(api, root, described)


def _endpoints(api: Api, root: FeatureRoot) -> Iterator[tuple[str, Endpoint]]:
    collections = f"{root.path}/collections/"
    yield f"{root.path}/", Landing(api, root)
    yield f"{root.path}/conformance/", Conformance(api, root)
    yield collections, CollectionList(api, root)
    if root.is_stac:
        yield f"{root.path}/search/", ItemSearch(api, root)
        yield f"{root.path}/children/", Children(api, root)
        yield f"{root.path}/queryables/", Queryables(api, root)
        yield f"{root.path}/sortables/", Sortables(api, root)
        yield f"{root.path}/collections-queryables/", Queryables(api, root, COLLECTIONS)
    else:
        sources = f"{collections}{SOURCES_ID}/"
        yield sources, SourceCollection(api, root)
        yield f"{sources}items/", SourceItems(api, root)
        yield f"{sources}items/{{item}}/", SourceItem(api, root)
        yield f"{sources}queryables/", Queryables(api, root, COLLECTIONS)
        yield f"{sources}sortables/", Sortables(api, root, COLLECTIONS)
    single = f"{collections}{{uuid}}/"
    yield single, OneCollection(api, root)
    yield f"{single}items/", Items(api, root)
    yield f"{single}items/{{item}}/", Item(api, root)
    yield f"{single}queryables/", Queryables(api, root)
    yield f"{single}sortables/", Sortables(api, root)
