"""The settings of the environment, `RASTERSOURCES_*`; read once, by entry points."""

import os
import re
from difflib import get_close_matches
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipeline.errors import CatalogueError

CHECKOUT = Path(__file__).resolve().parent.parent


def split_paths(value: object) -> object:
    """The paths of a text with colons between them, as in PATH; the colon of s3:// is none of them."""
    return (
        [part for part in re.split(":(?!//)", value) if part] if isinstance(value, str) else value
    )


def split_words(value: object) -> object:
    """The words of a text."""
    return value.split() if isinstance(value, str) else value


def check_public_url(value: str) -> str:
    """An absolute URL that paths can be appended to."""
    if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", value):
        raise ValueError("write it in full, for example https://example.org/maps")
    return value


def check_networks(value: list[str]) -> list[str]:
    """Addresses, and networks as 10.0.0.0/8."""
    for one in value:
        ip_network(one)  # raises ValueError that says what is wrong
    return value


class Settings(BaseSettings):
    """Each field is read from `RASTERSOURCES_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="RASTERSOURCES_", env_ignore_empty=True)

    home: Path | None = None
    """Folder of the private cluster, logs and uploads; None: `.rastersources` in the checkout where PostgreSQL
    can work there, see `pipeline.database.private_cluster.cluster`."""
    database_url: str | None = None
    """postgresql://...; None: the private cluster."""
    prepare: bool = True
    """Whether statements may be prepared on the database's side; false for a pooler of transactions."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    prefect_port: int | None = Field(default=None, ge=1, le=65535)
    """Port of the Prefect server that `up` starts; None: 4200, or another where that is taken."""
    base_url: Annotated[str, AfterValidator(check_public_url)] | None = None
    """Public base URL of hyperlinks, such as https://example.org/rasters; None: that of the request."""
    workers: int = Field(default=2, ge=1, le=256)
    """Processes that read files."""
    runner: Literal["processes", "threads", "dask"] = "processes"
    """Where files are read; see `pipeline.cli.runners`."""
    scheduler: str | None = None
    """Address of the Dask scheduler, such as tcp://10.0.0.5:8786."""
    batch_size: int = Field(default=500, ge=1, le=100_000)
    """Files in one transaction."""
    roots: Annotated[list[str], NoDecode, BeforeValidator(split_paths)] = []
    """Folders and s3:// prefixes that files may be registered from, with colons between; empty: all."""
    crs_policy: Literal["lizard", "best-available"] = "lizard"
    file_seconds: float = Field(default=20.0, gt=0)
    """Time that reading one file may take."""
    max_header_bytes: int = Field(default=64 * 2**20, ge=1)
    """What may be read of one file's header."""
    max_tag_bytes: int = Field(default=16 * 2**20, ge=1)
    max_ifds: int = Field(default=1_000, ge=1)
    max_bands: int = Field(default=10_000, ge=1)
    max_pixels: int = Field(default=10**14, ge=1)
    max_statistics_pixels: int = Field(default=4 * 10**9, ge=1)
    """Pixels that statistics on demand may read of one file."""
    max_block_bytes: int = Field(default=256 * 2**20, ge=1)
    """Bytes of one strip or tile, unpacked, that statistics may read."""
    gcp_residual_pixels: float = Field(default=2.0, gt=0)
    """Largest root-mean-square residual of fitted ground control points."""
    uploads: str | None = None
    """Folder or s3:// prefix of uploaded files; None: `uploads` in the home folder."""
    upload_bytes: int = Field(default=10 * 2**30, ge=1)
    """Longest file that may be uploaded."""
    upload_reserve_bytes: int = Field(default=2**30, ge=0)
    """What uploads leave free on the disk of their folder; a bucket has none."""
    statement_timeout_seconds: float = Field(default=30.0, gt=0)
    """Time that one query of the API may take."""
    body_bytes: int = Field(default=2**20, ge=1)
    """Longest JSON body of a request."""
    clients: int = Field(default=500, ge=1, le=100_000)
    """Most connections of clients at once."""
    cors_origins: Annotated[list[str], NoDecode, BeforeValidator(split_words)] = []
    """Origins whose pages may call the API, with spaces between; `*` stands for all, without sessions."""
    proxies: Annotated[
        list[str], NoDecode, AfterValidator(check_networks), BeforeValidator(split_words)
    ] = []
    """Addresses and networks, with spaces between, that are believed in whom they ask for."""


def pop_unknown_settings() -> list[str]:
    """A sentence for each variable that looks like a setting and is none.

    They are taken out of the environment, so that processes that this one starts do not say it again.
    """
    prefix = str(Settings.model_config["env_prefix"])
    known = [f"{prefix}{name.upper()}" for name in Settings.model_fields]
    sentences = []
    for name in sorted(os.environ):
        if name.upper().startswith(prefix) and name.upper() not in known:
            (nearest,) = get_close_matches(name.upper(), known, 1, cutoff=0)
            sentences.append(
                f"{name} is not a setting and is ignored; the nearest one is {nearest}"
            )
            del os.environ[name]
    return sentences


@cache
def settings() -> Settings:
    """The settings of this process; raises CatalogueError that names the wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        name = f"RASTERSOURCES_{wrong['loc'][0]}".upper()
        boolean = wrong["type"].startswith("bool_")
        reason = "write true or false" if boolean else wrong["msg"]
        raise CatalogueError(f"{name} is not usable: {reason}") from error
