"""The resources that clients only read: organisations, users, contracts, tasks, uploads and files."""

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import and_

from pipeline.api.file_messages import show_message, show_warnings
from pipeline.api.links import Links
from pipeline.api.resources.common_fields import (
    BOUNDS,
    INTEGER,
    NUMBER,
    OWNER,
    show_bounds,
    show_organisation,
)
from pipeline.api.resources.field import (
    LINK,
    MOMENT,
    STRING,
    UUID,
    Field,
    Json,
    nullable,
    shown,
    shown_moment,
    shown_stamp,
)
from pipeline.api.resources.resource import Resource
from pipeline.catalogue import lists
from pipeline.catalogue.users import ROLES
from pipeline.database.tables import organisations

ROLE_LIST = {"type": "array", "items": {"type": "string", "enum": list(ROLES)}}
NAMED = (
    Field(
        "url", "field", lambda row, links: links.to("organisations", row.uuid), LINK, label="URL"
    ),
    Field("uuid", "string", shown("uuid"), UUID, label="UUID"),
    Field("name", "string", shown("name"), STRING),
)
HELD = Field("roles", "list", shown("roles"), ROLE_LIST, "user, supplier, admin or manager.")

ORGANISATIONS = Resource(
    path="organisations",
    model="Organisation",
    title="Organisation",
    description="Organisations own raster sources, layers, label types and scenarios.",
    entity=lists.ORGANISATIONS,
    fields=NAMED,
    editable=False,
    examples=("name__icontains=water",),
)
USERS = Resource(
    path="users",
    model="User",
    title="User",
    description="You, and those who have a role in an organisation where you have one.",
    entity=lists.USERS,
    fields=(
        Field("url", "field", lambda row, links: links.to("users", row.id), LINK, label="URL"),
        Field("id", "integer", shown("id"), INTEGER, label="ID"),
        *(
            Field(name, "string", shown(name), STRING)
            for name in ("username", "first_name", "last_name", "email")
        ),
    ),
    editable=False,
    examples=("username__icontains=van",),
)


def show_contracted(row: Any, links: Links) -> Json:
    """The organisation of a contract."""
    return {"url": links.to("organisations", row.uuid), "uuid": row.uuid, "name": row.name}


CAPACITY = nullable(INTEGER)
CONTRACTS = Resource(
    path="contracts",
    model="Contract",
    title="Contract",
    description="How many bytes those of your organisations may store that have a quota; the others have no contract.",
    entity=replace(
        lists.ORGANISATIONS,
        visible=lambda caller: and_(
            organisations.c.id.in_(sorted(caller.belongs_to)),
            organisations.c.raster_storage_capacity.is_not(None),
        ),
    ),
    fields=(
        Field("organisation", "nested object", show_contracted, OWNER),
        Field("raster_storage_capacity", "integer", shown("raster_storage_capacity"), CAPACITY),
        Field("scenario_storage_capacity", "integer", lambda _, __: None, CAPACITY),
        Field("timeseries_storage_capacity", "integer", lambda _, __: 0, CAPACITY),
    ),
    editable=False,
)


def show_result(row: Any, links: Links) -> Json:
    """The URL of what a task made."""
    return None if row.result is None else links.to(row.result)


TASKS = Resource(
    path="tasks",
    model="Task",
    title="Task",
    description="What became of an upload; readable by whoever knows the uuid.",
    entity=lists.TASKS,
    fields=(
        Field("uuid", "string", shown("uuid"), UUID, label="UUID"),
        Field("url", "field", lambda row, links: links.to("tasks", row.uuid), LINK, label="URL"),
        Field(
            "status",
            "string",
            shown("status"),
            STRING,
            "PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED.",
        ),
        Field(
            "result", "field", show_result, nullable(LINK), "The URL of what came of it, if any."
        ),
        Field("detail", "string", shown("detail"), nullable(STRING), "One sentence."),
    ),
    editable=False,
)
UPLOADS = Resource(
    path="rastersources/{uuid}/uploads",
    model="Upload",
    title="Upload",
    description="The files that were sent to a raster source, newest first, and what became of them.",
    entity=lists.UPLOADS,
    fields=(
        Field("id", "integer", shown("id"), INTEGER, label="ID"),
        Field("filename", "string", shown("filename"), STRING),
        Field("created_at", "datetime", shown_stamp("created_at"), MOMENT),
        Field("updated_at", "datetime", shown_stamp("updated_at"), MOMENT),
        Field("state", "string", shown("state"), STRING,
              "requested, received, processing, committed, rejected or retry."),
        Field("state_detail", "string", shown("state_detail"), nullable(STRING), "One sentence."),
    ),
    editable=False,
    examples=("state=processing",),
    max_page_size=100,
)  # fmt: skip


def show_operation(row: Any, _: Links) -> Json:
    """The coordinate operation to WGS 84."""
    return {
        "code": row.operation_code,
        "name": row.operation_name,
        "accuracy": row.operation_accuracy,
        "proj_version": row.proj_version,
    }


def show_times(row: Any, _: Links) -> Json:
    """ISO 8601 with Z."""
    return [time.isoformat().replace("+00:00", "Z") for time in row.times]


FILES = Resource(
    path="rastersources/{uuid}/files",
    model="RasterFile",
    title="Raster File",
    description="The files that a raster source consists of; where they are is shown to those who may write it.",
    entity=lists.RASTER_FILES,
    fields=(
        Field("uri", "string", shown("uri"), nullable(STRING), "Where it is; null for those who may not write.",
              label="URI"),
        Field("name", "string", lambda row, _: PurePosixPath(row.name).name, STRING),
        Field("size", "integer", shown("size"), INTEGER, "Bytes."),
        Field("width", "integer", shown("width"), INTEGER, "Pixels in a row."),
        Field("height", "integer", shown("height"), INTEGER, "Rows."),
        Field("count", "integer", shown("band_count"), INTEGER, "Bands."),
        Field("dtype", "string", shown("dtype"), STRING, "numpy code of the pixels."),
        Field("fill_value", "string", shown("fill_value"), nullable(STRING), "The value that marks missing pixels."),
        Field("projection", "string", shown("projection"), nullable(STRING), "EPSG:n."),
        Field("bounds", "field", show_bounds, BOUNDS, "WGS 84 degrees."),
        Field("times", "list", show_times, {"type": "array", "items": MOMENT}, "Times of its steps."),
        Field("datetime", "datetime", shown_moment("datetime"), nullable(MOMENT), "TIFFTAG_DATETIME."),
        Field("operation", "field", show_operation, {
            "type": "object",
            "properties": {"code": nullable(STRING), "name": STRING, "accuracy": nullable(NUMBER),
                           "proj_version": STRING},
        }, "The coordinate operation to WGS 84, with its accuracy in metres."),
        Field("warnings", "list", show_warnings, {"type": "array", "items": {"type": "object"}},
              "What a person should know."),
        Field("state", "string", shown("state"), STRING, "present or missing."),
    ),
    editable=False,
)  # fmt: skip
REJECTED_FILES = Resource(
    path="rejectedfiles",
    model="RejectedFile",
    title="Rejected File",
    description="""\
The files of your organisations that could not be registered, each with its reason, until they are mended or gone; \
those refused last come first. Where a file is, is shown to suppliers and administrators.""",
    entity=lists.REJECTED_FILES,
    fields=(
        Field("uri", "string", shown("uri"), nullable(STRING),
              "Where it is; null for those who neither supply nor administer.", label="URI"),
        Field("name", "string", shown("name"), STRING, "The name at the end of its URI."),
        Field("code", "string", shown("code"), STRING, "Stable reason code, such as missing_crs."),
        Field("message", "string", show_message, STRING, "What was found, and what to do."),
        Field("definition", "string", shown("definition"), STRING, "Id of the definition whose run refused it."),
        Field("organisation", "nested object", show_organisation, OWNER, "Whose run refused it."),
        Field("first_seen", "datetime", shown_stamp("first_seen"), MOMENT, "When it was refused for the first time."),
        Field("last_seen", "datetime", shown_stamp("last_seen"), MOMENT, "When it was refused for the last time."),
        Field("attempts", "integer", shown("attempts"), INTEGER, "How often it was read and refused."),
        Field("fingerprint", "string", shown("fingerprint"), nullable(STRING),
              "As it was when refused; null when it could not be looked at, or is to be read again."),
    ),
    editable=False,
    examples=("code=missing_crs", "definition=rain", "last_seen__gte=2024-01-01", "ordering=first_seen"),
)  # fmt: skip
