"""Opens clients of Prefect's server, and translates their errors into ours."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import UNAUTHORIZED

from httpx import URL, HTTPError, HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient, get_client

from flows.schedules.prefect_server import ServerUnreachable
from pipeline.errors import CatalogueError, TransientError


@contextmanager
def prefect_client() -> Iterator[SyncPrefectClient]:
    """Open a client of Prefect's server; raises what `translate_errors` raises."""
    with translate_errors(), get_client(sync_client=True) as client:
        yield client


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn errors of Prefect's client into ours.

    Raises ServerUnreachable when the server does not answer, CatalogueError when the password is missing or wrong, and
    TransientError for every other status.
    """
    try:
        yield
    except HTTPStatusError as error:
        if error.response.status_code == UNAUTHORIZED:
            raise CatalogueError(
                f"Prefect's server at {server_url()} requires another password; set "
                "PREFECT_API_AUTH_STRING=user:password"
            ) from error
        request = f"{error.request.method} {error.request.url.copy_with(userinfo=b'')}"
        raise TransientError(
            f"Prefect's server answers {error.response.status_code} to {request}"
        ) from error
    except (HTTPError, RuntimeError) as error:
        # the client raises RuntimeError if the server does not send its version
        if isinstance(error, HTTPError) or isinstance(error.__cause__, HTTPError):
            raise ServerUnreachable(
                f"Prefect's server does not answer at {server_url()}"
            ) from error
        raise


def server_url() -> URL:
    """Return the address of the server without its password."""
    return URL(os.environ.get("PREFECT_API_URL", "")).copy_with(userinfo=b"")


def require_server() -> None:
    """Raise ServerUnreachable, or CatalogueError when the server's version is incompatible with ours."""
    with prefect_client() as client:
        client.hello()
        try:
            client.raise_for_api_version_mismatch()
        except RuntimeError as error:
            raise CatalogueError(f"Prefect's server cannot be used: {error}") from error
