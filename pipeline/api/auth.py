"""Authenticates the caller: by an API key in HTTP Basic or in two headers, or by the session of a browser."""

import base64
import hmac
from hashlib import sha256
from urllib.parse import urlsplit

from starlette.requests import Request

from pipeline.api.body import FORM, MULTIPART, media_type
from pipeline.api.config import ApiConfig
from pipeline.api.links import base_of
from pipeline.api.prepared_reads import PreparedReads
from pipeline.api.problems import forbidden, login_required
from pipeline.catalogue.access import ANONYMOUS, Caller
from pipeline.catalogue.users import (
    KEY,
    PREPARED_CALLER_BY_KEY,
    PREPARED_CALLER_BY_SESSION,
    caller_from_row,
    hash_secret,
)

KEY_USER = "__key__"
COOKIE = "rastersources_session"
CSRF_HEADER = "x-csrftoken"
CROSS_SITE_TYPES = (FORM, MULTIPART, "text/plain", "")
"""Media types that a page of another site can send without a CORS preflight."""
SAFE = ("GET", "HEAD", "OPTIONS")
WRONG = "Invalid username or API key."


async def authenticate(
    request: Request, prepared: PreparedReads, config: ApiConfig
) -> tuple[Caller, str]:
    """Return the caller and the session cookie that identified them; the cookie is empty for callers with a key.

    Call `check_write` too before a write by session, because other sites can send the cookie. Raises Problem 401 for
    wrong credentials, 403 for a write from another site.
    """
    if request.method not in SAFE:
        _check_site(request, config)
    credentials = _read_basic(request) or _read_headers(request)
    if credentials:
        return await _find_by_key(*credentials, prepared), ""
    token = request.cookies.get(COOKIE, "")
    caller = await session_caller(token, prepared)
    return caller, token if caller.logged_in else ""


def check_write(request: Request, config: ApiConfig, session: str, token: str | None) -> None:
    """Require a CSRF token for writes by session cookie, unless a same-origin script sends them."""
    if session and not is_same_origin_script(request, config):
        check_csrf(token or request.headers.get(CSRF_HEADER, ""), session)


async def session_caller(token: str, prepared: PreparedReads) -> Caller:
    """Return the caller who is signed in with a cookie, or the anonymous caller."""
    if not token:
        return ANONYMOUS
    row = await prepared.row(PREPARED_CALLER_BY_SESSION, {"token_hash": hash_secret(token)})
    return caller_from_row(row) if row else ANONYMOUS


def _check_site(request: Request, config: ApiConfig) -> None:
    """Raise Problem 403 for a write from a page of another site, unless its origin is allowed."""
    if request.headers.get("sec-fetch-site") not in ("cross-site", "same-site"):
        return
    if not {"*", request.headers.get("origin", "")} & set(config.cors_origins):
        raise forbidden("Pages of other sites may not write; see the setting of CORS origins.")


def _read_basic(request: Request) -> tuple[str, str] | None:
    """Return username and key of `Authorization: Basic`, or None for other schemes."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        text = base64.b64decode(encoded.strip(), validate=True).decode()
        username, key = text.split(":", 1)
    except ValueError as error:  # not Base64, not UTF-8, or without a colon
        raise login_required("The header Authorization is not valid HTTP Basic.") from error
    return username, key


def _read_headers(request: Request) -> tuple[str, str] | None:
    username, key = request.headers.get("username"), request.headers.get("password")
    return None if username is None or key is None else (username, key)


async def _find_by_key(username: str, key: str, prepared: PreparedReads) -> Caller:
    match = KEY.fullmatch(key)
    if not match:
        raise login_required(WRONG)
    row = await prepared.row(PREPARED_CALLER_BY_KEY, {"prefix": match[1]})
    *_, secret_hash, _key_id = row or (bytes(32), None)
    if not hmac.compare_digest(hash_secret(match[2]), secret_hash) or not row:
        raise login_required(WRONG)
    caller = caller_from_row(row)
    if username not in (KEY_USER, caller.username):
        raise login_required(WRONG)
    return caller


def is_same_origin_script(request: Request, config: ApiConfig) -> bool:
    """Return whether a script of our own origin sent the request, according to headers that only browsers can set.

    Such scripts need no CSRF token, because applications that were written for this API do not send one. Forms must
    send it.
    """
    if media_type(request) in CROSS_SITE_TYPES:
        return False
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    ours = urlsplit(base_of(request, config.base_url))
    return request.headers.get("origin") == f"{ours.scheme}://{ours.netloc}"


def csrf_token(session: str) -> str:
    """Return the CSRF token for the forms of a session; other sites can send the cookie but cannot read the token."""
    return hmac.digest(session.encode(), b"csrf", sha256).hex()


def check_csrf(token: str, session: str) -> None:
    """Raise Problem 403 unless the token belongs to the session."""
    if not hmac.compare_digest(token.encode(), csrf_token(session).encode()):
        raise forbidden(
            "CSRF Failed: the token is missing or belongs to another session; reload the page."
        )


def require_login(caller: Caller) -> None:
    """Raise Problem 401 for an anonymous caller."""
    if not caller.logged_in:
        raise login_required()
