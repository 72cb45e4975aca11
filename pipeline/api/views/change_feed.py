"""The change feed: which raster sources were created, updated and deleted, in the order of commits."""

from collections.abc import Mapping
from typing import Any

from pipeline.api.endpoint import Answer, Call, Endpoint
from pipeline.api.problems import invalid
from pipeline.api.query_string import number_or_nothing, parse_number
from pipeline.api.resources.field import (
    LINK,
    MOMENT,
    STRING,
    UUID,
    Field,
    nullable,
    represent,
    shown,
    shown_stamp,
)
from pipeline.api.views.related import flat_schema
from pipeline.catalogue.change_feed import (
    BATCH_SIZE,
    CURSOR_PATTERN,
    Cursor,
    changes_after,
    number_commits,
    parse_cursor,
    position_of,
)
from pipeline.catalogue.lookups import BadValue

PAGE_SIZE = 100
FIELDS = (
    Field("kind", "string", shown("kind"), {"type": "string", "enum": ["created", "updated", "deleted"]}),
    Field("uuid", "string", shown("uuid"), UUID),
    Field("url", "field", lambda row, links: links.to("rastersources", row.uuid), LINK),
    Field("at", "datetime", shown_stamp("at"), MOMENT),
)  # fmt: skip


class Changes(Endpoint):
    """GET what comes after a cursor."""

    title = "Changes"
    description = """\
Which raster sources were created, updated and deleted, in the order in which it was committed: for you, who see them \
created when you may see them, and deleted when you may not any more.

Give the "cursor" of one answer as "since" of the next request; without it the feed begins at its beginning. "next" is \
the URL of what is there already beyond this page, and null when you have read everything. A cursor stays good for as \
long as the feed reaches back to it."""
    schema: Mapping[str, Any] = flat_schema(
        cursor=STRING,
        next=nullable(LINK),
        results={"type": "array", "items": flat_schema(**{one.name: one.schema for one in FIELDS})},
    )
    parameters = (
        ("since", {"type": "string", "pattern": CURSOR_PATTERN}, "The cursor of an earlier answer."),
        ("page_size", number_or_nothing(0), "Changes on a page; 0 means 100, at most 1000."),
    )  # fmt: skip
    examples = ("page_size=1000",)

    async def get(self, call: Call) -> Answer:
        """The first changes behind the cursor; raises Problem 400."""
        cursor, size = read_query(call)
        await number_all(call)
        place = await find_place(call, cursor) if cursor else 0
        source = cursor.source if cursor else None
        rows = await call.api.database.rows(changes_after(call.caller, place, source, size + 1))
        shown, more = rows[:size], len(rows) > size
        last = Cursor(shown[-1].commit, shown[-1].uuid) if shown else cursor or ""
        following = call.links.page(call.path, call.query, since=last) if more else None
        results = [represent(FIELDS, row, call.links) for row in shown]
        return Answer({"cursor": str(last), "next": following, "results": results})


def read_query(call: Call) -> tuple[Cursor | None, int]:
    """Cursor and size of the page; raises Problem 400 that names each bad value."""
    errors: dict[str, list[str]] = {}
    size = parse_number(call.query, "page_size", errors) or PAGE_SIZE
    cursor = None
    try:
        cursor = parse_cursor(call.query.get("since", ""))
    except BadValue as error:
        errors["since"] = [str(error)]
    if errors:
        raise invalid(errors)
    return cursor, min(size, call.api.config.max_page_size)


async def number_all(call: Call) -> None:
    """Give all that was committed its place: each time some of it, so that what is done stays done."""
    while True:
        rows = await call.api.database.rows(number_commits())
        if rows[0][0] < BATCH_SIZE:
            return


async def find_place(call: Call, cursor: Cursor) -> int:
    """The place of a cursor; raises Problem 400 when the feed does not hold it."""
    rows = await call.api.database.rows(position_of(cursor))
    if not rows:
        sentence = "The feed does not reach back to this cursor; begin again without one."
        raise invalid({"since": [sentence]})
    place: int = rows[0].seq
    return place
