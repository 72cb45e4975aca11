"""The forms for adding, editing and deleting a raster source. The fields of the resource define the inputs."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson
from starlette.responses import Response

from pipeline.api.auth import require_login
from pipeline.api.body import JSON, Body
from pipeline.api.endpoint import Api, Call, read_row
from pipeline.api.links import API
from pipeline.api.problems import Problem, forbidden
from pipeline.api.resources.field import Field, represent
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.responses import Answer
from pipeline.api.site.site_page import DELETED, SitePage
from pipeline.api.views.confirm_delete import RasterSourceDetail
from pipeline.api.views.write import change, create
from pipeline.catalogue.before_writes import organisations_to_write

FIELDS = tuple(field for field in RASTER_SOURCES.fields if not field.read_only)
BOOLEANS = (("true", "yes"), ("false", "no"))
HELP = {
    "name": "Several may have the same name.",
    "description": "What the data show.",
    "organisation": "The owner.",
    "access_modifier": "Public: everyone. Common: everyone who signs in. Private: the organisation. Hidden: its "
    "administrators and the supplier.",
    "interval": "Time between two steps, such as 00:05:00 or PT5M.",
}
"""Help texts of the form; they replace the help of the field, which is written for programmers."""


@dataclass(frozen=True)
class Input:
    """An input of the form."""

    field: Field
    value: str
    choices: Sequence[tuple[str, str]] = ()

    @property
    def help(self) -> str:
        """The help text of the input."""
        return HELP.get(self.field.name, self.field.help)


def shown_texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the text of each input for a row in the form of the API."""
    texts = {}
    for field in FIELDS:
        value = row.get(field.name)
        if isinstance(value, Mapping):
            value = value["uuid"]
        if isinstance(value, bool):
            value = str(value).lower()
        texts[field.name] = "" if value is None else str(value)
    return texts


def typed_values(form: Mapping[str, str], before: Mapping[str, str]) -> dict[str, Any]:
    """Return the fields of a form whose texts were changed, as values of a JSON body."""
    values: dict[str, Any] = {}
    for field in FIELDS:
        text = form.get(field.name, "").replace("\r\n", "\n")
        if text == before.get(field.name):
            continue
        if field.kind == "boolean":
            values[field.name] = text == "true"
        else:
            values[field.name] = text if text or field.required else None
    return values


class SourceForm(SitePage):
    """A page with a form that stores a raster source."""

    template = "source_form.html"

    async def show_form(
        self, call: Call, texts: Mapping[str, str], source: Any, errors: Any = None
    ) -> Response:
        """Return the form with texts in its inputs."""
        owned = await call.api.database.rows(organisations_to_write(call.caller))
        choices: dict[str, Sequence[tuple[str, str]]] = {
            "organisation": [(str(row.uuid), row.name) for row in owned],
            "temporal": BOOLEANS,
        }
        inputs = [
            Input(
                field,
                texts[field.name],
                choices.get(field.name) or [(name, name) for name in field.choices],
            )
            for field in FIELDS
        ]
        return self.show(
            call, 400 if errors else 200, inputs=inputs, source=source, errors=errors,
            json=json_path(source),
        )  # fmt: skip

    async def store(
        self, call: Call, form: Mapping[str, str], source: Any, write: Callable[[Call], Awaitable[Answer]]
    ) -> Response:  # fmt: skip
        """Write what was typed, and go to the page of the source; show the form again if a field is wrong."""
        values = typed_values(form, stored_texts(call, source) if source else {})
        try:
            answer = await write(with_body(call, values))
        except Problem as problem:
            if problem.status != 400:
                raise
            return await self.show_form(call, shown_texts(dict(form)), source, problem.detail)
        return self.go_to(call, f"/sources/{answer.data['uuid']}/")


class NewSource(SourceForm):
    """GET the form for a new raster source; POST adds it."""

    async def get(self, call: Call) -> Response:
        """Return the empty form; raise Problem 401 or 403 for callers who may not add a source."""
        self.check(call)
        return await self.show_form(
            call, shown_texts({field.name: field.initial for field in FIELDS}), None
        )

    async def post(self, call: Call, form: Mapping[str, str]) -> Response:
        """Add the raster source and redirect to its page."""
        self.check(call)
        return await self.store(call, form, None, partial(create, resource=RASTER_SOURCES))

    def check(self, call: Call) -> None:
        """Raise Problem 401 or 403 unless the caller supplies or administers an organisation."""
        require_login(call.caller)
        if not (call.caller.administers or call.caller.supplies):
            raise forbidden()


class EditSource(SourceForm):
    """GET the form of a raster source; POST stores it."""

    async def get(self, call: Call) -> Response:
        """Return the form with the stored values; raise Problem 401, 403 or 404."""
        source = await writable_source(call)
        return await self.show_form(call, stored_texts(call, source), source)

    async def post(self, call: Call, form: Mapping[str, str]) -> Response:
        """Store the changed fields and redirect to the page of the source."""
        source = await writable_source(call)
        edit = partial(change, resource=RASTER_SOURCES, partial=True)
        return await self.store(call, form, source, edit)


class DeleteSource(SitePage):
    """GET the question before a deletion; POST deletes the source."""

    template = "source_delete.html"

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.detail = RasterSourceDetail(api, RASTER_SOURCES)

    async def get(self, call: Call) -> Response:
        """Return the question with the objects that depend on the source; raise Problem 401, 403 or 404."""
        source = await writable_source(call)
        answer = await self.detail.ask(with_body(call, {}), self.detail.delete)
        return self.show(call, source=source, question=answer.question, json=json_path(source))

    async def post(self, call: Call, form: Mapping[str, str]) -> Response:
        """Delete the source and redirect to the catalogue."""
        await writable_source(call)
        await self.detail.delete(with_body(call, orjson.loads(form.get("_content") or "{}")))
        return self.go_to(call, f"/?{DELETED}=true")


def json_path(source: Any) -> str:
    """Return the path of a raster source as JSON, or of their list without one."""
    return f"{API}/rastersources/{f'{source.uuid}/' if source else ''}?format=json"


async def writable_source(call: Call) -> Any:
    """Return the raster source in the path; raise Problem 404, or 401 or 403 if the caller may not write it."""
    source = await read_row(call, RASTER_SOURCES)
    require_login(call.caller)
    if not source.writable:
        raise forbidden()
    return source


def stored_texts(call: Call, source: Any) -> dict[str, str]:
    """Return the text of each input for a stored row."""
    return shown_texts(represent(FIELDS, source, call.links))


def with_body(call: Call, values: Mapping[str, Any]) -> Call:
    """Return the call with values as its body."""
    body = Body(call.request, call.api.config, orjson.dumps(values), JSON)
    return replace(call, body=body)
