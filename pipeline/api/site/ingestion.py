"""The pages about ingestion: definitions, runs, rejected files and warnings."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import orjson
from sqlalchemy import Row
from starlette.responses import Response

from pipeline.api.endpoint import Call
from pipeline.api.links import API
from pipeline.api.problems import Problem, forbidden, not_found
from pipeline.api.query_string import is_dry_run
from pipeline.api.resources.read_only import hide_for_others
from pipeline.api.site.chart import Value, make_chart, speeds_within
from pipeline.api.site.formats import show_count
from pipeline.api.site.site_page import SitePage, changed_query
from pipeline.catalogue import ingestion
from pipeline.catalogue.hide_paths import hide_folders
from pipeline.catalogue.reasons import explain
from pipeline.errors import CatalogueError

PATH = "/ingestion/"
PAGE_SIZE = 50
FEW, MANY = 10, 200
"""Maximum number of files that are shown of each reason, and of a single reason that the query names."""
STATES = {
    "running": ("at work", ""),
    "completed": ("completed", "good"),
    "rejections": ("some files rejected", "doubtful"),
    "failed": ("failed", "bad"),
    "overlapping": ("another run was in progress", "empty"),
}
"""The states of runs: their names on the pages, and the kind of their badge."""


class IngestionPage(SitePage):
    """A page about ingestion; ?format=json returns its data as JSON."""

    section = "Ingestion"

    async def answer(self, call: Call, **data: Any) -> Response:
        """Return the page, or its data as JSON."""
        if call.query.get("format") == "json":
            content = orjson.dumps(data, default=_to_json, option=orjson.OPT_INDENT_2)
            return Response(content, 200, {"Vary": "Accept, Cookie"}, "application/json")
        scope = call.request.scope
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        json = f"{path}{changed_query(call.query, format='json')}"
        return self.show(call, json=json, states=STATES, explain=explain, **data)


def _to_json(value: Any) -> Any:
    """Return a value as a type that orjson can write."""
    if isinstance(value, Row):
        return dict(value._mapping)
    raise TypeError


@dataclass(frozen=True)
class ShownDefinition:
    """A definition with its schedule and its last run."""

    id: str
    schedule: str | None
    next_run: datetime | None
    last: Mapping[str, Any] | None
    """None: it has not run yet."""


class Definitions(IngestionPage):
    """GET the definitions with their schedules, last runs and next runs."""

    template = "ingestion/definitions.html"

    async def get(self, call: Call) -> Response:
        """Return the page with the definitions that the caller may see."""
        rows = await find_rows(call, "list_definitions")
        last = {row.id: dict(row._mapping) for row in rows}
        entries, fault = await self._schedules(call)
        now = datetime.now(UTC)
        shown = [
            ShownDefinition(
                id,
                str(entries[id].when) if id in entries and entries[id].when else None,
                entries[id].next_run(now) if id in entries else None,
                last.get(id),
            )
            for id in sorted({*last, *entries})
        ]
        rejected = sum(row.rejected_now for row in rows)
        return await self.answer(call, definitions=shown, fault=fault, rejected=rejected)

    async def _schedules(self, call: Call) -> tuple[dict[str, Any], bool]:
        """Return the entries of sources.toml that the caller may see, by id, and whether the file is unreadable."""
        read = call.api.config.schedules
        if read is None or not call.caller.reads:
            return {}, False
        try:
            entries = await asyncio.to_thread(read)
        except CatalogueError:
            return {}, True
        rows = await call.api.database.rows(ingestion.select_organisation_names(call.caller))
        names = {row.name for row in rows}
        return {
            entry.id: entry for entry in entries if names.intersection(entry.organisations)
        }, False


class Runs(IngestionPage):
    """GET the runs, the newest first."""

    template = "ingestion/runs.html"

    async def get(self, call: Call) -> Response:
        """Return one page of runs."""
        before = read_number(call.query.get("before", ""))
        definition, state = call.query.get("definition") or None, call.query.get("state") or None
        rows = await find_rows(
            call, "list_runs", most=PAGE_SIZE + 1, before=before, definition=definition, state=state
        )
        older = (
            changed_query(call.query, before=rows[PAGE_SIZE - 1].id)
            if len(rows) > PAGE_SIZE
            else ""
        )
        newest = changed_query(call.query, before=None) or "?" if before else ""
        return await self.answer(
            call, runs=rows[:PAGE_SIZE], older=older, newest=newest,
            definition=definition or "", state=state or "",
        )  # fmt: skip


class Run(IngestionPage):
    """GET one run."""

    template = "ingestion/run.html"

    async def get(self, call: Call) -> Response:
        """Return the page of a run; raise Problem 404 if the caller may not see it."""
        number = read_number(call.request.path_params["run"])
        rows = await find_rows(call, "get_run", run=number or 0)
        if not rows:
            raise not_found("Run")
        run = dict(rows[0]._mapping)
        full_detail = run.pop("full_detail")
        del run["organisation_ids"]
        if run["detail"] and not full_detail:
            run["detail"] = hide_folders(run["detail"])
        speeds = await find_rows(
            call, "list_last_speeds", definition=run["definition"], run=number or 0
        )
        groups = await rejected_groups(call, FEW, run=number, code=None, definition=None)
        warnings = await call.api.database.rows(ingestion.count_warnings(call.caller, number))
        return await self.answer(
            call,
            run=run,
            within=make_chart(
                speeds_within(run["progress"]), "0 s", f"{run['elapsed'] or 0:,.0f} s"
            ),
            across=self._compare(call, run["id"], speeds),
            groups=groups,
            warnings=sort_warnings(warnings),
            prefect=self._prefect(run["flow_run"]),
        )

    def _compare(self, call: Call, number: int, rows: Sequence[Row[Any]]) -> Any:
        """Return the chart of the last runs; None if there is only one."""
        if len(rows) < 2:
            return None
        values = [
            Value(
                row.files_per_second or 0,
                f"Run {row.id}: {row.files_per_second or 0:,.0f} files/s, "
                f"{show_count(row.listed, 'file')} in {row.seconds:,.1f} s",
                link=f"{call.links.base}{PATH}runs/{row.id}/",
                mark=row.id == number,
            )
            for row in rows
        ]
        return make_chart(values, f"run {rows[0].id}", f"run {rows[-1].id}")

    def _prefect(self, flow_run: object) -> str:
        """Return the URL of Prefect's page of the run; empty if it is unknown."""
        pages = self.api.config.prefect_pages
        return f"{pages.rstrip('/')}/runs/flow-run/{flow_run}" if pages and flow_run else ""


@dataclass(frozen=True)
class RejectedGroup:
    """The rejected files of one reason."""

    code: str
    meaning: str
    advice: str
    count: int
    own: int
    """Number of files of organisations that the caller supplies or administers; the caller may have them read again."""
    waiting: int
    """Number of files that the next run reads again."""
    files: list[dict[str, Any]]


class Rejected(IngestionPage):
    """GET rejected files by reason; POST makes the next run read some of them again."""

    template = "ingestion/rejected.html"

    async def get(self, call: Call, note: str = "") -> Response:
        """Return the page."""
        only = scope_of(call.query)
        groups = await rejected_groups(call, MANY if only["code"] else FEW, **only)
        again = read_number(call.query.get("again", ""))
        if again is not None:
            note = f"The next run reads {show_count(again, 'file')} again."
        return await self.answer(
            call, groups=groups, scope=only, note=note, scope_query=urlencode(_given(only)),
            api=f"{API}/rejectedfiles/",
        )  # fmt: skip

    async def post(self, call: Call, form: Mapping[str, str]) -> Response:
        """Delete the fingerprints of one file or of a group; a dry run only counts the files."""
        if not call.caller.supplies | call.caller.administers:
            raise forbidden("Only suppliers and administrators may have rejected files read again.")
        only = {**scope_of(form), "id": read_number(form.get("id", ""))}
        if not only["id"] and not only["code"]:
            raise Problem(400, "Send the id of a file, or the code of a reason.")
        api = self.api.dry_run if is_dry_run(call.query) else self.api
        retry = ingestion.statement("retry", call.caller, **only)
        retried = await api.database.transaction(lambda connection: connection.execute(retry))
        rows = retried.all()
        if only["id"] and not rows:
            raise not_found("Rejected file")
        if not api.database.stores:
            return await self.get(
                call,
                f"This was a dry run: the next run would read {show_count(len(rows), 'file')} again.",
            )
        query = urlencode({**_given(scope_of(call.query)), "again": len(rows)})
        return self.go_to(call, f"{PATH}rejected/?{query}")


class Warnings(IngestionPage):
    """GET the warnings of registered files, grouped by code."""

    template = "ingestion/warnings.html"

    async def get(self, call: Call) -> Response:
        """Return the page; with ?code= it shows the files of one warning."""
        run, code = read_number(call.query.get("run", "")), call.query.get("code", "")
        counts = await call.api.database.rows(ingestion.count_warnings(call.caller, run))
        files: list[dict[str, Any]] = []
        if code:
            statement = ingestion.select_warned(call.caller, code, MANY, run)
            files = [warned_file(row, code) for row in await call.api.database.rows(statement)]
        return await self.answer(
            call, warnings=sort_warnings(counts), files=files, chosen=code, run=run,
            most=ingestion.MOST_WARNED,
        )  # fmt: skip


async def find_rows(call: Call, name: str, **values: Any) -> Sequence[Row[Any]]:
    """Return the rows of a statement about ingestion for the caller."""
    return await call.api.database.rows(ingestion.statement(name, call.caller, **values))


async def rejected_groups(call: Call, most: int, **only: Any) -> list[RejectedGroup]:
    """Return the rejected files that the caller may see, grouped by reason; the most frequent reason is first.

    `only` has the conditions `code`, `definition` and `run`; None means no condition.
    """
    counts = await find_rows(call, "count_rejected", **only)
    files: dict[str, list[dict[str, Any]]] = {}
    for row in await find_rows(call, "list_rejected", most=most, **only):
        file = dict(row._mapping)
        del file["full_uri"]
        file["message"] = hide_for_others(row, row.message)
        files.setdefault(row.code, []).append(file)
    return [
        RejectedGroup(
            row.code, explain(row.code).meaning, explain(row.code).advice, row.files, row.own,
            row.waiting, files.get(row.code, []),
        )
        for row in counts
    ]  # fmt: skip


def sort_warnings(rows: Iterable[Row[Any]]) -> list[dict[str, Any]]:
    """Return the warnings with their explanations; those that need a person's attention are first."""
    warnings = [{"code": row.code, "files": row.files, **asdict(explain(row.code))} for row in rows]
    return sorted(warnings, key=lambda warning: (not warning["needs_check"], -warning["files"]))


def warned_file(row: Row[Any], code: str) -> dict[str, Any]:
    """Return a file with the messages of one of its warnings."""
    messages = [warning["message"] for warning in row.warnings if warning["code"] == code]
    if not row.full_detail:
        messages = [hide_folders(message, row.full_uri, row.name) for message in messages]
    uri = row.full_uri if row.full_detail else None
    return {
        "source": row.source,
        "uuid": row.uuid,
        "name": row.name,
        "uri": uri,
        "messages": messages,
    }


def scope_of(values: Mapping[str, str]) -> dict[str, Any]:
    """Return the conditions `code`, `definition` and `run` of a query string or form; None means no condition."""
    return {
        "code": values.get("code") or None,
        "definition": values.get("definition") or None,
        "run": read_number(values.get("run", "")),
    }


def _given(only: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in only.items() if value is not None}


def read_number(text: str) -> int | None:
    """Return the number in a text, within the range of the database; None for any other text."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= 10
    return min(int(text), ingestion.LARGEST_ID) if is_number else None
