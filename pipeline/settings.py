"""Reads the settings from the environment variables `RASTERSOURCES_*`. Only entry points use them.

This module does not use pydantic, because importing it takes longer than most commands.
"""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pipeline.errors import CatalogueError

CHECKOUT = Path(__file__).resolve().parent.parent
PREFIX = "RASTERSOURCES_"
API_PORT = 8000

WEB_SERVER = r"https?://(?:\[[0-9a-fA-F:.]+\]|[^/:\[\]]+)(?::\d+)?(?=[/:]|$)"
"""A regular expression for scheme, host and port of a web server."""

Runner = Literal["processes", "threads", "dask"]
CRSPolicy = Literal["lizard", "best-available"]


def whole_number(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a parser for integers within limits."""
    limits = f"of {least} or more" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        number = int(text) if text.isdecimal() else -1
        if number < least or (most is not None and number > most):
            raise ValueError(f"write a whole number {limits}")
        return number

    return parse


def positive_number(text: str) -> float:
    """Parse a number above zero. Raises ValueError."""
    with suppress(ValueError):
        if (number := float(text)) > 0:
            return number
    raise ValueError("write a number above 0")


def true_or_false(text: str) -> bool:
    """Parse a boolean. Raises ValueError."""
    for value, names in ((True, ("true", "1", "yes", "on")), (False, ("false", "0", "no", "off"))):
        if text.lower() in names:
            return value
    raise ValueError("write true or false")


def choice(names: Any) -> Callable[[str], str]:
    """Return a parser for the names of a Literal."""

    def parse(text: str) -> str:
        if text not in get_args(names):
            raise ValueError(f"write {' or '.join(get_args(names))}")
        return text

    return parse


def split_paths(text: str) -> tuple[str, ...]:
    """Split a text at colons, like PATH, but not at the colons in URLs."""
    parts = re.findall(rf"{WEB_SERVER}[^:]*|https?://|[a-z0-9]+://[^:]*|[^:]+", text)
    for part in parts:
        if part.startswith(("http://", "https://")) and not re.match(WEB_SERVER, part):
            raise ValueError("name the web servers, such as https://example.org/maps/")
    return tuple(parts)


def split_words(text: str) -> tuple[str, ...]:
    """Split a text at spaces."""
    return tuple(text.split())


def check_public_url(text: str) -> str:
    """Require an absolute URL to which paths can be appended."""
    if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", text):
        raise ValueError("write it in full, for example https://example.org/maps")
    return text


def check_tile_url(text: str) -> str:
    """Require the URL of map tiles, with a placeholder for each coordinate."""
    if not re.fullmatch(r"https?://[^/?#\s'\";,]+/\S*", text) or not all(
        place in text for place in ("{z}", "{x}", "{y}")
    ):
        raise ValueError("write it as https://example.org/tiles/{z}/{x}/{y}.png")
    return text


def split_mapping(text: str) -> tuple[tuple[str, str], ...]:
    """Split a text at spaces into pairs such as s3://bucket/=https://example.org/."""
    pairs = [word.split("=", 1) for word in text.split()]
    for pair in pairs:
        if len(pair) < 2 or not all(re.fullmatch(r"[a-z][a-z0-9+.-]*://\S+", url) for url in pair):
            raise ValueError("write each as s3://bucket/prefix/=https://example.org/prefix/")
    return tuple((prefix, url) for prefix, url in pairs)


def check_networks(text: str) -> tuple[str, ...]:
    """Split a text into addresses and networks, such as 10.0.0.0/8."""
    for network in text.split():
        ip_network(network)
    return split_words(text)


@dataclass(frozen=True)
class Settings:
    """The settings; the variable of a field is `RASTERSOURCES_` plus its name in capitals."""

    home: Annotated[Path | None, Path] = None
    """Folder of the private cluster, logs, uploads, Prefect's files and its password (`prefect-password`). None:
    `.rastersources` in the checkout, if PostgreSQL can work there."""
    database_url: str | None = None
    """`postgresql://user@host/database`, with PostGIS and pg_trgm; see docs/how-to/postgis.md. None: the private
    cluster."""
    prepare: Annotated[bool, true_or_false] = True
    """Whether statements may be prepared in the database; `false` for a transaction pooler. Poolers are usually
    detected without it; see docs/database.md#poolers."""
    host: str = "127.0.0.1"
    """Address on which the API listens."""
    port: Annotated[int | None, whole_number(1, 65535)] = None
    """Port of the API. None: the first free port from 8000."""
    prefect_port: Annotated[int | None, whole_number(1, 65535)] = None
    """Port of the Prefect server that `up` and `flow schedule` start. None: the first free port from 4200."""
    prefect_pages: Annotated[str | None, check_public_url] = None
    """URL of Prefect's pages, to which pages of runs link; see docs/pages.md#ingestion. None: those of `up`, or of
    `PREFECT_API_URL`."""
    sources_toml: Annotated[Path | None, Path] = None
    """The sources.toml whose schedules the pages show; see docs/pages.md#ingestion. None: in `up` that of `--config`,
    otherwise none."""
    base_url: Annotated[str | None, check_public_url] = None
    """Public base URL of hyperlinks, such as `https://example.org/rasters`. None: that of the request."""
    api_workers: Annotated[int | None, whole_number(1, 64)] = None
    """Number of processes that serve the API; see docs/api.md#operate. None: one for each core."""
    connections: Annotated[int, whole_number(6, 10_000)] = 60
    """Maximum number of connections to the database of all processes of the API together, at least 6 for each; see
    docs/api.md#operate."""
    workers: Annotated[int, whole_number(1, 256)] = 2
    """Number of processes that read files."""
    runner: Annotated[Runner, choice(Runner)] = "processes"
    """Where files are read: `processes`, `threads` or `dask`; see docs/scaling.md."""
    scheduler: str | None = None
    """Address of the Dask scheduler, such as `tcp://10.0.0.5:8786`; see docs/how-to/dask.md."""
    batch_size: Annotated[int, whole_number(1, 100_000)] = 1000
    """Number of files in one transaction."""
    roots: Annotated[tuple[str, ...], split_paths] = ()
    """Folders, `s3://` prefixes and web servers (`https://host/prefix/`) from which files may be registered, separated
    by colons as in `PATH`. Symlinks are resolved before the check. `s3://` means every bucket; without a bucket in the
    list, objects are rejected (`not_allowed`). Files of a web server are read only if the list names it, as in
    `/:s3://:https://example.org/maps/`; see docs/security.md#web-servers. Empty: all folders and buckets."""
    crs_policy: Annotated[CRSPolicy, choice(CRSPolicy)] = "lizard"
    """`lizard`: pinned coordinate operations without grid files; `best-available`: also with installed grid files; see
    docs/metadata.md#coordinate-operation."""
    file_seconds: Annotated[float, positive_number] = 20.0
    """Maximum seconds for reading one file."""
    max_header_bytes: Annotated[int, whole_number(1)] = 64 * 2**20
    """Maximum bytes that are read of the header of one file; a file beyond this or the next four limits is rejected
    (`over_budget`)."""
    max_tag_bytes: Annotated[int, whole_number(1)] = 16 * 2**20
    """Maximum bytes of one tag."""
    max_ifds: Annotated[int, whole_number(1)] = 1_000
    """Maximum images and overviews in one file."""
    max_bands: Annotated[int, whole_number(1)] = 10_000
    """Maximum bands of one file."""
    max_pixels: Annotated[int, whole_number(1)] = 10**14
    """Maximum pixels of one file: width times height."""
    max_statistics_pixels: Annotated[int, whole_number(1)] = 4 * 10**9
    """Maximum pixels of one file that `inspect --stats` reads."""
    max_block_bytes: Annotated[int, whole_number(1)] = 256 * 2**20
    """Maximum bytes of one decompressed strip or tile that `inspect --stats` reads."""
    pixel_seconds: Annotated[float, positive_number] = 20.0
    """Maximum seconds for one picture, statistics or window of data that the API sends; see docs/pictures.md."""
    pixel_requests: Annotated[int, whole_number(1, 10_000)] = 64
    """Maximum simultaneous requests for pixels to the API."""
    read_pixels: Annotated[int, whole_number(1)] = 500_000_000
    """Maximum pixels that are read of files for one picture or window of data, in whole blocks."""
    picture_files: Annotated[int, whole_number(1, 100_000)] = 2000
    """Maximum files that are read for one picture or window of data."""
    data_pixels: Annotated[int, whole_number(1)] = 25_000_000
    """Maximum pixels of a window of data that the API sends at once."""
    task_pixels: Annotated[int, whole_number(1)] = 1_000_000_000
    """Maximum pixels of a window of data that is written for a task (parameter `async`)."""
    task_seconds: Annotated[float, positive_number] = 600.0
    """Maximum seconds for writing a window of data for a task."""
    gcp_residual_pixels: Annotated[float, positive_number] = 2.0
    """Maximum root-mean-square residual of a fit to ground control points, in pixels; a file beyond it is rejected
    (`gcp_residual`)."""
    uploads: str | None = None
    """Folder or `s3://bucket/prefix` of uploaded files. It must contain nothing else and belongs to one catalogue; see
    docs/uploads.md#whose-a-file-is. None: `uploads` in the home folder."""
    upload_bytes: Annotated[int, whole_number(1)] = 10 * 2**30
    """Maximum bytes of an uploaded file."""
    upload_reserve_bytes: Annotated[int, whole_number(0)] = 2**30
    """Bytes that uploads must leave free on the disk of their folder; an upload that needs them gets 507, see
    docs/uploads.md#limits. Ignored for a bucket."""
    stac_document_bytes: Annotated[int, whole_number(1)] = 32 * 2**20
    """Maximum bytes of a JSON document of an imported STAC catalogue; larger documents are left out."""
    run_days: Annotated[int, whole_number(1)] = 400
    """Days for which a server keeps the rows of runs; see docs/syncing.md#runs."""
    statement_timeout_seconds: Annotated[float, positive_number] = 30.0
    """Maximum seconds for one query of the API."""
    list_rows: Annotated[int, whole_number(1)] = 1_000_000
    """Maximum raster sources that the API sends as GeoJSON, CSV or GeoParquet; see docs/api.md#all-rows-at-once."""
    list_seconds: Annotated[float, positive_number] = 600.0
    """Maximum seconds for sending them; after that the connection is closed."""
    body_bytes: Annotated[int, whole_number(1)] = 2**20
    """Maximum bytes of a JSON body of a request."""
    clients: Annotated[int, whole_number(1, 100_000)] = 500
    """Maximum number of simultaneous client connections to all processes together; see docs/api.md#operate."""
    cors_origins: Annotated[tuple[str, ...], split_words] = ()
    """Origins whose pages may call the API with a key, never with a session; separated by spaces, `*` for all.
    Empty: none."""
    asset_urls: Annotated[tuple[tuple[str, str], ...], split_mapping] = ()
    """Public URLs of files in the STAC API: pairs `PREFIX=URL`, separated by spaces, such as
    `s3://rasters/=https://rasters.example.org/`. If prefix and URL are the same, URIs are published unchanged; see
    docs/stac.md#where-the-files-are. Empty: only users who may write a source see the location of its files."""
    map_tiles: Annotated[str | None, check_tile_url] = None
    """URL of background tiles for the maps of the pages, with `{z}`, `{x}` and `{y}` (web mercator); see
    docs/pages.md#a-background-map. None: land outlines that this server has, without requests to other servers."""
    map_attribution: str = ""
    """Attribution of these tiles on the maps. Empty: none."""
    proxies: Annotated[tuple[str, ...], check_networks] = ()
    """Addresses and networks of trusted proxies, separated by spaces; a trusted proxy may send the addresses of its
    clients; see docs/how-to/nginx.md. Empty: none."""


def pop_unknown_settings() -> list[str]:
    """Return a sentence for each variable that looks like a setting but is not one.

    The variables are removed from the environment, so that child processes do not repeat the warning.
    """
    known = [PREFIX + name.upper() for name in Settings.__dataclass_fields__]
    sentences = []
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            (nearest,) = get_close_matches(name.upper(), known, 1, cutoff=0)
            sentences.append(
                f"{name} is not a setting and was ignored; the nearest one is {nearest}"
            )
            del os.environ[name]
    return sentences


def read_settings() -> Settings:
    """Read the environment. Raises CatalogueError with the name of a wrong setting."""
    variables = {name.upper(): text for name, text in os.environ.items() if text}
    values: dict[str, Any] = {}
    for field, annotation in get_type_hints(Settings, include_extras=True).items():
        name = PREFIX + field.upper()
        parse, *_ = getattr(annotation, "__metadata__", (str,))
        if name in variables:
            try:
                values[field] = parse(variables[name])
            except ValueError as error:
                raise CatalogueError(f"{name} is invalid: {error}") from error
    return Settings(**values)


@cache
def settings() -> Settings:
    """Return the settings of this process; see `read_settings`."""
    return read_settings()
