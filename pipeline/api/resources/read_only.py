"""The resources that clients only read: organisations, users, contracts, tasks, uploads, files and rejected files."""

from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from sqlalchemy import and_

from pipeline.api.links import Links
from pipeline.api.resources.common_fields import BOUNDS, OWNER, show_bounds, show_organisation
from pipeline.api.resources.field import (
    INTEGER,
    LINK,
    NUMBER,
    STRING,
    TIMESTAMP,
    UUID,
    Field,
    Json,
    derived,
    derived_timestamp,
    nullable,
    timestamp_field,
)
from pipeline.api.resources.resource import Resource
from pipeline.catalogue import lists
from pipeline.catalogue.hide_paths import hide_folders
from pipeline.catalogue.users import ROLES
from pipeline.database.tables import organisations
from pipeline.definitions.durations import format_time

ROLES_FIELD = Field(
    "roles",
    "list",
    {"type": "array", "items": {"type": "string", "enum": list(ROLES)}},
    "user, supplier, admin or manager.",
)

ORGANISATIONS = Resource(
    path="organisations",
    model="Organisation",
    title="Organisation",
    description="Organisations own raster sources, layers, label types and scenarios.",
    entity=lists.ORGANISATIONS,
    fields=(
        Field("url", "field", LINK, show=lambda row, links: links.to("organisations", row.uuid), label="URL"),
        Field("uuid", "string", UUID, label="UUID"),
        Field("name", "string", STRING),
    ),
    examples=("name__icontains=water",),
)  # fmt: skip
USERS = Resource(
    path="users",
    model="User",
    title="User",
    description="You, and the users who have a role in an organisation in which you have one.",
    entity=lists.USERS,
    fields=(
        Field("url", "field", LINK, show=lambda row, links: links.to("users", row.id), label="URL"),
        Field("id", "integer", INTEGER, label="ID"),
        *(Field(name, "string", STRING) for name in ("username", "first_name", "last_name", "email")),
    ),
    examples=("username__icontains=van",),
)  # fmt: skip


def _show_contract_organisation(row: Any, links: Links) -> Json:
    return {"url": links.to("organisations", row.uuid), "uuid": row.uuid, "name": row.name}


CONTRACTS = Resource(
    path="contracts",
    model="Contract",
    title="Contract",
    description="The quotas of your organisations in bytes; an organisation without a quota has no contract.",
    entity=replace(
        lists.ORGANISATIONS,
        visible=lambda caller: and_(
            organisations.c.id.in_(sorted(caller.belongs_to)),
            organisations.c.raster_storage_capacity.is_not(None),
        ),
    ),
    fields=(
        Field("organisation", "nested object", OWNER, show=_show_contract_organisation),
        Field("raster_storage_capacity", "integer", nullable(INTEGER)),
        Field("scenario_storage_capacity", "integer", nullable(INTEGER), show=lambda _, __: None),
        Field("timeseries_storage_capacity", "integer", nullable(INTEGER), show=lambda _, __: 0),
    ),
)


TASKS = Resource(
    path="tasks",
    model="Task",
    title="Task",
    description="The state of an upload or an export; anyone who has the uuid may read it.",
    entity=lists.TASKS,
    fields=(
        Field("uuid", "string", UUID, label="UUID"),
        Field("url", "field", LINK, show=lambda row, links: links.to("tasks", row.uuid), label="URL"),
        Field("status", "string", STRING, "PENDING, STARTED, RETRY, SUCCESS, FAILURE or REVOKED."),
        derived("result", "field", LINK, "The URL of the result, if any.",
                lambda row, links: row.result and links.to(row.result)),
        derived("detail", "string", STRING, "One sentence."),
    ),
)  # fmt: skip
UPLOADS = Resource(
    path="rastersources/{uuid}/uploads",
    model="Upload",
    title="Upload",
    description="The files that were sent to a raster source and their states, newest first.",
    entity=lists.UPLOADS,
    fields=(
        Field("id", "integer", INTEGER, label="ID"),
        Field("filename", "string", STRING),
        timestamp_field("created_at"),
        timestamp_field("updated_at"),
        Field("state", "string", STRING, "requested, received, processing, committed, rejected or retry."),
        derived("state_detail", "string", STRING, "One sentence."),
    ),
    examples=("state=processing",),
    max_page_size=100,
)  # fmt: skip


def _show_warnings(row: Any, _: Links) -> Json:
    return [
        {**warning, "message": hide_for_others(row, warning["message"])} for warning in row.warnings
    ]


def hide_for_others(row: Any, text: str) -> str:
    """Return a message, without the paths of folders unless the caller may see the file's `uri`."""
    return text if row.uri is not None else hide_folders(text, row.full_uri, row.name)


def _show_operation(row: Any, _: Links) -> Json:
    return {
        "code": row.operation_code,
        "name": row.operation_name,
        "accuracy": row.operation_accuracy,
        "proj_version": row.proj_version,
    }


OPERATION = {
    "type": "object",
    "properties": {
        "code": nullable(STRING),
        "name": STRING,
        "accuracy": nullable(NUMBER),
        "proj_version": STRING,
    },
}
FILES = Resource(
    path="rastersources/{uuid}/files",
    model="RasterFile",
    title="Raster File",
    description="The files of a raster source; callers who may write it see where the files are.",
    entity=lists.RASTER_FILES,
    fields=(
        derived("uri", "string", STRING, "Where it is; null if you may not write the source.", label="URI"),
        Field("name", "string", STRING, show=lambda row, _: PurePosixPath(row.name).name),
        Field("size", "integer", INTEGER, "Bytes."),
        Field("width", "integer", INTEGER, "Pixels in a row."),
        Field("height", "integer", INTEGER, "Rows."),
        Field("count", "integer", INTEGER, "Bands.", lambda row, _: row.band_count),
        Field("dtype", "string", STRING, "numpy code of the pixels."),
        derived("fill_value", "string", STRING, "The value of missing pixels."),
        derived("projection", "string", STRING, "EPSG:n."),
        Field("bounds", "field", BOUNDS, "WGS 84 degrees.", show_bounds),
        Field("times", "list", {"type": "array", "items": TIMESTAMP}, "Times of its steps.",
              lambda row, _: list(map(format_time, row.times))),
        derived_timestamp("datetime", "TIFFTAG_DATETIME."),
        Field("operation", "field", OPERATION,
              "The coordinate operation to WGS 84, with its accuracy in metres.", _show_operation),
        Field("warnings", "list", {"type": "array", "items": {"type": "object"}},
              "Doubtful facts about the file.", _show_warnings),
        Field("state", "string", STRING, "present or missing."),
    ),
)  # fmt: skip
REJECTED_FILES = Resource(
    path="rejectedfiles",
    model="RejectedFile",
    title="Rejected File",
    description="""\
The files of your organisations that could not be registered, each with its reason, the latest rejection first. A file \
stays in this list until it is fixed or deleted. Suppliers and administrators see where the files are.""",
    entity=lists.REJECTED_FILES,
    fields=(
        derived("uri", "string", STRING, "Where it is; null unless you are a supplier or administrator.",
                label="URI"),
        Field("name", "string", STRING, "The name at the end of its URI."),
        Field("code", "string", STRING, "Stable reason code, such as missing_crs."),
        Field("message", "string", STRING, "What is wrong, and what to do.",
              lambda row, _: hide_for_others(row, row.message)),
        Field("definition", "string", STRING, "Id of the definition whose run rejected it."),
        Field("organisation", "nested object", OWNER, "The organisation whose run rejected it.", show_organisation),
        timestamp_field("first_seen", "When it was first rejected."),
        timestamp_field("last_seen", "When it was last rejected."),
        Field("attempts", "integer", INTEGER, "How often it was read and rejected."),
        derived("fingerprint", "string", STRING,
                "Its state when it was rejected; null if it was inaccessible, or must be read again."),
    ),
    examples=("code=missing_crs", "definition=rain", "last_seen__gte=2024-01-01", "ordering=first_seen"),
)  # fmt: skip
