"""The change feed: which raster sources were created, updated and deleted, in the order of commits."""

from pipeline.api.endpoint import Call, Endpoint
from pipeline.api.pagination import MAX_PAGE_SIZE
from pipeline.api.problems import invalid
from pipeline.api.query_string import number_schema, parse_number, read_parameter
from pipeline.api.resources.field import (
    LINK,
    STRING,
    UUID,
    Field,
    nullable,
    object_schema,
    represent,
    timestamp_field,
)
from pipeline.api.responses import Answer
from pipeline.catalogue.change_feed import (
    BATCH_SIZE,
    CURSOR_PATTERN,
    QUERIES,
    Cursor,
    changes_after,
    parse_cursor,
)

PAGE_SIZE = 100
FIELDS = (
    Field("kind", "string", {"type": "string", "enum": ["created", "updated", "deleted"]}),
    Field("uuid", "string", UUID),
    Field("url", "field", LINK, show=lambda row, links: links.to("rastersources", row.uuid)),
    timestamp_field("at"),
)


class Changes(Endpoint):
    """GET the changes after a cursor."""

    title = "Changes"
    description = """\
The raster sources that were created, updated and deleted, in the order of commits. A source that you may see from now \
on appears as created, and one that you may not see any more as deleted.

Send the "cursor" of one answer as "since" of the next request; without it the feed starts at its beginning. "next" is \
the URL of the next page; it is null when you have read everything. A cursor is valid as long as the feed still \
contains it."""
    schema = object_schema(
        cursor=STRING,
        next=nullable(LINK),
        results={
            "type": "array",
            "items": object_schema(**{field.name: field.schema for field in FIELDS}),
        },
    )
    parameters = (
        ("since", {"type": "string", "pattern": CURSOR_PATTERN}, "The cursor of an earlier answer."),
        ("page_size", number_schema(0), "Changes on a page; 0 means 100, at most 1000."),
    )  # fmt: skip
    examples = ("page_size=1000",)

    async def get(self, call: Call) -> Answer:
        """Return the first changes after the cursor; raise Problem 400."""
        cursor, size = parse_parameters(call)
        await number_all_commits(call)
        position = await find_position(call, cursor) if cursor else 0
        source = cursor.source if cursor else None
        rows = await call.api.database.rows(changes_after(call.caller, position, source, size + 1))
        shown, more = rows[:size], len(rows) > size
        last = Cursor(shown[-1].commit, shown[-1].uuid) if shown else cursor or ""
        next = call.links.page(call.path, call.query, since=last) if more else None
        results = [represent(FIELDS, row, call.links) for row in shown]
        return Answer({"cursor": str(last), "next": next, "results": results})


def parse_parameters(call: Call) -> tuple[Cursor | None, int]:
    """Return the cursor and the page size; raise Problem 400 that names each bad value."""
    errors: dict[str, list[str]] = {}
    size = parse_number(call.query, "page_size", errors) or PAGE_SIZE
    cursor = read_parameter(call.query, "since", parse_cursor, errors)
    if errors:
        raise invalid(errors)
    return cursor, min(size, MAX_PAGE_SIZE)


async def number_all_commits(call: Call) -> None:
    """Number the new commits in batches; each batch is a transaction."""
    while True:
        (row,) = await call.api.database.rows(QUERIES["number_commits"], most=BATCH_SIZE)
        if row.numbered < BATCH_SIZE:
            return


async def find_position(call: Call, cursor: Cursor) -> int:
    """Return the position of a cursor; raise Problem 400 if the feed does not contain it."""
    rows = await call.api.database.rows(QUERIES["find_position"], commit=cursor.commit)
    if not rows:
        sentence = "The feed no longer contains this cursor; start again without one."
        raise invalid({"since": [sentence]})
    position: int = rows[0].seq
    return position
