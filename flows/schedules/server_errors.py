"""Talking to Prefect's server, in such a way that what it does not answer becomes a sentence."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import UNAUTHORIZED

from httpx import URL, HTTPError, HTTPStatusError
from prefect.client.orchestration import SyncPrefectClient, get_client

from flows.schedules.prefect_server import ServerAway
from pipeline.errors import CatalogueError, TransientError


@contextmanager
def prefect() -> Iterator[SyncPrefectClient]:
    """A client of Prefect's server; raises what `answering` does."""
    with answering(), get_client(sync_client=True) as client:
        yield client


@contextmanager
def answering() -> Iterator[None]:
    """Raises ServerAway when Prefect's server does not answer, TransientError when it answers that it cannot.

    Raises CatalogueError when the password is missing or wrong.
    """
    try:
        yield
    except HTTPStatusError as error:
        if error.response.status_code == UNAUTHORIZED:
            sentence = (
                f"Prefect's server at {server_url()} asks for another password; give it as "
                "PREFECT_API_AUTH_STRING=user:password"
            )
            raise CatalogueError(sentence) from error
        request = f"{error.request.method} {without_password(error.request.url)}"
        sentence = f"Prefect's server answers {error.response.status_code} to {request}"
        raise TransientError(sentence) from error
    except HTTPError as error:
        raise away() from error
    except RuntimeError as error:
        if isinstance(error.__cause__, HTTPError):  # of the client that asks for the version first
            raise away() from error
        raise


def away() -> ServerAway:
    """That it does not answer."""
    return ServerAway(f"Prefect's server does not answer at {server_url()}")


def server_url() -> str:
    """Where the server is, for people to read."""
    return without_password(URL(os.environ.get("PREFECT_API_URL", "")))


def require_server() -> None:
    """Raises ServerAway, or CatalogueError when its version does not go with ours."""
    with prefect() as client:
        client.hello()
        try:
            client.raise_for_api_version_mismatch()
        except RuntimeError as error:
            raise CatalogueError(f"Prefect's server cannot be used: {error}") from error


def without_password(url: URL) -> str:
    """A URL for people to read."""
    return str(url.copy_with(userinfo=b""))
