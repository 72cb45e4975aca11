"""Who calls: an API key by HTTP Basic or by two headers, or the session of a browser."""

import base64
import hmac
from dataclasses import dataclass
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request

from pipeline.api.body import FORM, MULTIPART, media_type
from pipeline.api.config import ApiConfig
from pipeline.api.database import Database
from pipeline.api.links import base_of
from pipeline.api.problems import forbidden, login_required
from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.users import (
    KEY,
    caller_by_key,
    caller_by_session,
    caller_from_row,
    hash_secret,
)

KEY_USER = "__key__"
COOKIE = "rastersources_session"
CSRF_HEADER = "x-csrftoken"
FORMS = (FORM, MULTIPART, "text/plain", "")
"""What a page of another site can send without asking."""
SAFE = ("GET", "HEAD", "OPTIONS")
WRONG = "Invalid username or API key."


@dataclass(frozen=True)
class Login:
    """Who calls, and how that is known."""

    caller: Caller
    session: str = ""
    """The cookie that says it; other sites can make a browser send that, so that a write needs `check_write` too."""


async def authenticate(request: Request, database: Database, config: ApiConfig) -> Login:
    """The caller; raises Problem 401 for credentials that are wrong, 403 for a write that another site sends."""
    if request.method not in SAFE:
        _refuse_other_sites(request, config)
    credentials = _by_basic(request) or _by_headers(request)
    if credentials:
        return Login(await _by_key(*credentials, database))
    token = request.cookies.get(COOKIE, "")
    caller = await session_caller(token, database)
    return Login(caller, token if caller.logged_in else "")


def check_write(request: Request, config: ApiConfig, session: str, token: str | None) -> None:
    """Raises Problem 403 for a session's write without its token (of a form or header), but for our scripts'."""
    if session and not from_our_pages(request, config):
        check_csrf(token or request.headers.get(CSRF_HEADER, ""), session)


async def session_caller(token: str, database: Database) -> Caller:
    """Who is signed in with a cookie."""
    rows = await database.rows(caller_by_session(token)) if token else []
    return caller_from_row(rows[0]) if rows else ANONYMOUS


def _refuse_other_sites(request: Request, config: ApiConfig) -> None:
    """Raises Problem 403 for a write that a page of another site sends, unless its origin is allowed."""
    if request.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return
    if not {"*", request.headers.get("origin", "")} & set(config.cors_origins):
        raise forbidden("Pages of other sites may not write; see the setting of CORS origins.")


def _by_basic(request: Request) -> tuple[str, str] | None:
    """Username and key of `Authorization: Basic`; other schemes are not ours."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
    except ValueError as error:  # no base64, no UTF-8, or not even ASCII
        raise login_required("The header Authorization is no HTTP Basic.") from error
    username, colon, key = text.partition(":")
    if not colon:
        raise login_required("The header Authorization is no HTTP Basic.")
    return username, key


def _by_headers(request: Request) -> tuple[str, str] | None:
    username, key = request.headers.get("username"), request.headers.get("password")
    return None if username is None or key is None else (username, key)


async def _by_key(username: str, key: str, database: Database) -> Caller:
    found = KEY.fullmatch(key)
    if not found:
        raise login_required(WRONG)
    rows = await database.rows(caller_by_key(found[1]))
    expected = rows[0].secret_hash if rows else bytes(32)
    if not hmac.compare_digest(hash_secret(found[2]), expected) or not rows:
        raise login_required(WRONG)
    caller = caller_from_row(rows[0])
    if username not in (KEY_USER, caller.username):
        raise login_required(WRONG)
    return caller


def from_our_pages(request: Request, config: ApiConfig) -> bool:
    """Whether the browser says that a script of our own origin sent this; forms must carry the token instead.

    Browsers set both headers themselves. Applications that were written for this API send no token.
    """
    if media_type(request) in FORMS:
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    ours = urlsplit(base_of(request, config.base_url))
    return request.headers.get("origin") == f"{ours.scheme}://{ours.netloc}"


def csrf_token(session: str) -> str:
    """What the forms of a session carry: other sites can make a browser send the cookie, yet never see this."""
    return hmac.digest(session.encode(), b"csrf", sha256).hex()


def check_csrf(given: str, session: str) -> None:
    """Raises Problem 403 unless the request carries the token of the session."""
    if not hmac.compare_digest(given.encode(), csrf_token(session).encode()):
        raise forbidden(
            "CSRF Failed: the token is missing or not that of this session; reload the page."
        )


def require_login(caller: Caller) -> None:
    """Raises Problem 401 for someone unknown."""
    if not caller.logged_in:
        raise login_required()
