"""The settings of the environment, `RASTERSOURCES_*`; read once, by entry points."""

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from pipeline.errors import CatalogueError

CHECKOUT = Path(__file__).resolve().parent.parent


class Settings(BaseSettings):
    """Each field is read from `RASTERSOURCES_` and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="RASTERSOURCES_", env_ignore_empty=True)

    home: Path | None = None
    """Folder of the private cluster, logs and uploads; None: `.rastersources` in the checkout where PostgreSQL
    can work there, see `pipeline.catalogue.local`."""
    database_url: str | None = None
    """postgresql://...; None: the private cluster."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    base_url: str | None = None
    """Public base URL of hyperlinks, such as https://example.org/rasters; None: that of the request."""
    workers: int = Field(default=2, ge=1, le=256)
    """Processes that read files."""
    batch_size: int = Field(default=500, ge=1, le=100_000)
    """Files in one transaction."""
    roots: list[Path] = []
    """Folders that files may be registered from; empty: every folder."""
    crs_policy: Literal["lizard", "best-available"] = "lizard"
    file_seconds: float = Field(default=20.0, gt=0)
    """Time that reading one file may take."""
    uploads: str | None = None
    """Folder of uploaded files; None: `uploads` in the home folder."""
    upload_bytes: int = Field(default=10 * 2**30, ge=1)
    """Longest file that may be uploaded."""
    statement_timeout_seconds: float = Field(default=30.0, gt=0)
    """Time that one query of the API may take."""


@cache
def settings() -> Settings:
    """The settings of this process; raises CatalogueError that names the wrong one."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = error.errors()[0]
        name = f"RASTERSOURCES_{wrong['loc'][0]}".upper()
        raise CatalogueError(f"{name} is not usable: {wrong['msg']}") from error
