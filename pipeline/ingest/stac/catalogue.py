"""Traverses a STAC catalogue, API or file page by page, and finds the GeoTIFFs of its items."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor
from urllib.parse import urlencode

from pipeline.errors import NotSTAC, RasterError, Rejection
from pipeline.ingest.stac.assets import Asset, AssetCounts, AssetFilter, assets_of
from pipeline.ingest.stac.documents import (
    Document,
    DocumentReader,
    Link,
    LinkedDocument,
    object_in,
    objects_in,
    text_in,
)
from pipeline.storage.named_files import map_ahead
from pipeline.storage.web_files import shown_uri

ITEMS_ON_A_PAGE = 200
ITEMS_AHEAD = 32
"""Number of items of a static catalogue that are read ahead."""
MOST_LEVELS = 100
"""Maximum depth of nested catalogues."""
MOST_EMPTY_PAGES = 1000
"""Maximum number of successive pages without an item; a list with more is assumed to be endless."""
MOST_EMPTY_DOCUMENTS = 100_000
"""Maximum number of successive documents without an item; a catalogue with more is assumed to be endless."""
_TITLES = 1000
Step = LinkedDocument | Asset | Rejection
Steps = Iterator[Step]


class CatalogueWalk:
    """Traverses one catalogue; no document is read twice, so that loops end."""

    def __init__(
        self,
        first: LinkedDocument,
        reader: DocumentReader,
        asset_filter: AssetFilter,
        threads: Executor,
    ) -> None:
        self.counts = AssetCounts()
        self._first = first
        self._reader = reader
        self._asset_filter = asset_filter
        self._threads = threads
        self._seen = {first.link.key}
        self._titles: OrderedDict[str, str] = OrderedDict()
        self._empty = 0
        """Documents since the last item."""

    def assets(self) -> Iterator[Asset | Rejection]:
        """Yield the GeoTIFFs, and a rejection for each unusable document or asset."""
        # A stack, because catalogues can be nested more deeply than Python may recurse.
        pending = [self._steps(self._first)]
        while pending:
            step = next(pending[-1], None)
            if step is None:
                pending.pop()
            elif not isinstance(step, LinkedDocument):
                yield step
            elif self._empty >= MOST_EMPTY_DOCUMENTS:
                yield _reject(step.link, NotSTAC(f"{self._empty} documents before it hold no item"))
                return
            elif len(pending) < MOST_LEVELS:
                pending.append(self._steps(step))
            else:
                yield _reject(
                    step.link, NotSTAC(f"it is nested below {MOST_LEVELS} other catalogues")
                )

    def assets_in(self, items: Iterable[Document | Rejection]) -> Iterator[Asset | Rejection]:
        """Yield the GeoTIFFs of items that do not come from a JSON document."""
        for item in items:
            if isinstance(item, Rejection):
                yield item
            else:
                yield from self._item(LinkedDocument(self._first.link, item), item)

    def _steps(self, page: LinkedDocument) -> Steps:
        """Yield the assets in a document, and the documents to which it links."""
        self._empty += 1
        document = page.document
        match kind_of(document):
            case "Feature":
                yield from self._item(page, document)
            case "FeatureCollection":
                yield from self._pages(page, "features")
            case "collections":
                yield from self._pages(page, "collections")
            case "Collection":
                yield from self._collection(page)
            case "Catalog":
                yield from self._catalogue(page)
            case _:
                yield _reject(page.link, NotSTAC("it is JSON, but not a STAC document"))

    def _catalogue(self, page: LinkedDocument) -> Steps:
        """Yield the items of an API through its search or its collections, or the links of a static catalogue."""
        if searches := page.links("search"):
            yield from self._read([self._search(page, searches)])
        elif lists := page.links("data"):
            yield from self._read([page.target(lists[0])])
        else:
            yield from self._linked(page)

    def _collection(self, page: LinkedDocument) -> Steps:
        name = text_in(page.document, "id")
        self._remember(name, text_in(page.document, "title") or name)
        is_chosen = not self._asset_filter.collections or name in self._asset_filter.collections
        if is_chosen and (lists := page.links("items")) and not page.links("item"):
            target = page.target(lists[0])
            yield from self._read([_with(target, limit=str(ITEMS_ON_A_PAGE))])
        else:
            yield from self._linked(page, items=is_chosen)

    def _linked(self, page: LinkedDocument, *, items: bool = True) -> Steps:
        """Yield the items and catalogues to which a static catalogue links."""
        yield from self._read([page.target(link) for link in page.links("child")])
        if items:
            links = [page.target(link) for link in page.links("item")]
            yield from map_ahead(self._page, self._new(links), self._threads, ITEMS_AHEAD)

    def _pages(self, page: LinkedDocument, name: str) -> Steps:
        """Yield the content of a list, page after page, in a loop, so that the stack does not grow with each page."""
        empty = 0
        while True:
            inner = objects_in(page.document, name)
            for document in inner:
                inside = LinkedDocument(page.link, document)
                if name == "features":
                    yield from self._item(inside, document)
                else:
                    yield from self._collection(inside)
            empty = 0 if inner else empty + 1
            following = [page.target(link) for link in page.links("next")][:1]
            if empty >= MOST_EMPTY_PAGES:
                error = NotSTAC(f"the {MOST_EMPTY_PAGES} pages before it are empty")
                yield from (_reject(link, error) for link in following)
                return
            step = next(self._read(following), None)
            if isinstance(step, Rejection):
                yield step
            if not isinstance(step, LinkedDocument):
                return
            page = step

    def _item(self, page: LinkedDocument, item: Document) -> Iterator[Asset | Rejection]:
        if kind_of(item) != "Feature" or not isinstance(item.get("assets"), dict):
            yield _reject(page.link, NotSTAC("a feature without assets is not a STAC item"))
            return
        self._empty = 0
        collection = text_in(item, "collection")
        if self._asset_filter.collections and collection not in self._asset_filter.collections:
            return
        title = self._title(collection, page) if collection else ""
        yield from assets_of(item, page.link.uri, title, self._asset_filter, self.counts)

    def _title(self, collection: str, page: LinkedDocument) -> str:
        """Return the title of a collection, or its id if the collection cannot be read; read it if necessary."""
        if collection not in self._titles:
            title = collection
            for link in page.links("collection")[:1]:
                try:
                    document = self._reader.read(page.target(link)).document
                except RasterError:
                    continue
                if text_in(document, "id") == collection:
                    title = text_in(document, "title") or collection
            self._remember(collection, title)
        return self._titles[collection]

    def _remember(self, collection: str, title: str) -> None:
        self._titles[collection] = title
        if len(self._titles) > _TITLES:
            self._titles.popitem(last=False)

    def _search(self, page: LinkedDocument, links: Sequence[Document]) -> Link:
        """Return the link to a search for all items of an API, by GET if it supports that."""
        by_get = [link for link in links if str(link.get("method", "GET")).upper() == "GET"]
        collections = sorted(self._asset_filter.collections)
        if by_get:
            wanted = {"collections": ",".join(collections)} if collections else {}
            return _with(page.target(by_get[0]), limit=str(ITEMS_ON_A_PAGE), **wanted)
        body = {"limit": ITEMS_ON_A_PAGE, **({"collections": collections} if collections else {})}
        return Link(page.target(links[0]).uri, body)

    def _read(self, links: Sequence[Link]) -> Steps:
        """Yield the documents of links that were not read before."""
        return map(self._page, self._new(links))

    def _new(self, links: Sequence[Link]) -> Iterator[Link]:
        for link in links:
            if link.key not in self._seen:
                self._seen.add(link.key)
                yield link

    def _page(self, link: Link) -> LinkedDocument | Rejection:
        try:
            return self._reader.read(link)
        except RasterError as error:
            return _reject(link, error)


def kind_of(document: Document) -> str:
    """Return the type of a STAC document; `collections` for a list of collections; empty for anything else."""
    kind = text_in(document, "type")
    if kind in ("Feature", "FeatureCollection", "Collection", "Catalog"):
        return kind
    if isinstance(document.get("collections"), list):
        return "collections"
    if isinstance(document.get("stac_version"), str):  # before STAC 1.0 documents had no type
        return "Collection" if object_in(document, "extent") else "Catalog"
    return ""


def _with(link: Link, **parameters: str) -> Link:
    """Return a link with parameters added to its query, unless it has them."""
    added = urlencode(
        {name: text for name, text in parameters.items() if f"{name}=" not in link.uri}
    )
    if not added or link.body is not None:
        return link
    return Link(f"{link.uri}{'&' if '?' in link.uri else '?'}{added}")


def _reject(link: Link, error: RasterError) -> Rejection:
    message = f"{error.message}; its links are not followed"
    return Rejection(shown_uri(link.uri), error.code, message)
