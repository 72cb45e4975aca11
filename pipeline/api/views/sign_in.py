"""The views for signing in and out: they keep a session in a cookie and limit attempts."""

import asyncio
import secrets
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pipeline.api.auth import COOKIE, check_csrf, csrf_token, session_caller
from pipeline.api.body import CSRF_FIELD, parse_form, read_bytes
from pipeline.api.endpoint import Api, View
from pipeline.api.links import API, LOGIN, base_of, prefix_of
from pipeline.api.pages import page
from pipeline.api.problems import Problem, check_method, unavailable
from pipeline.api.query_string import is_dry_run
from pipeline.api.responses import json_response, problem_answer, wants_html
from pipeline.api.sign_in_attempts import SignInAttempts
from pipeline.api.site.site_page import navigation
from pipeline.catalogue import users
from pipeline.catalogue.access import ANONYMOUS
from pipeline.catalogue.users import SignedInUser

FORM_COOKIE = "rastersources_visit"
"""The cookie that identifies the browser with the sign-in form, before a session exists."""
SESSION_HOURS = 12
"""How long a sign-in lasts."""
FORM_BYTES = 8 * 2**10
"""Maximum length of a form in bytes; everyone can send one."""
CONCURRENT_COMPARISONS = 2
"""Maximum number of simultaneous password comparisons; they use the threads that also write uploads."""
SECONDS_TO_WAIT = 10.0
WRONG = "Username or password is wrong."


class SignIn(View):
    """GET the form; POST signs in."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self.attempts = SignInAttempts(api.database)
        self.comparing = asyncio.Semaphore(CONCURRENT_COMPARISONS)

    async def respond(self, request: Request) -> Response:
        """Return the form or, after a POST, a redirect; raise Problem 405."""
        check_method(request.method, ("GET", "HEAD", "POST"))
        try:
            if request.method == "POST" and is_dry_run(request.query_params):
                raise Problem(400, "Signing in and out has no dry run; leave the parameter out.")
            return await self.answer(request)
        except Problem as problem:
            return await self.reject(request, problem)

    async def answer(self, request: Request) -> Response:
        """Return the form or, after a POST, a redirect; raise Problem."""
        if request.method != "POST":
            return await self.form(request)
        visit = request.cookies.get(FORM_COOKIE, "")
        if not visit:
            raise Problem(
                403,
                "CSRF Failed: the browser sent no cookie; allow cookies and send the form again.",
            )
        form = await self.read_form(request, visit)
        request.state.username = form.get("username", "")
        user = await self.check(request, form.get("username", ""), form.get("password", ""))
        return await self.open_session(request, user, form.get("next", ""))

    async def read_form(self, request: Request, token_of: str) -> dict[str, str]:
        """Read a form; raise Problem 403 unless it has the CSRF token of a cookie."""
        form = parse_form(await read_bytes(request, self.api.config, FORM_BYTES))
        check_csrf(form.get(CSRF_FIELD, ""), token_of)
        return form

    async def form(self, request: Request, error: str = "", code: int = 200) -> Response:
        """Return the sign-in form."""
        visit = request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(32)
        config = self.api.config
        response = page(
            request, "login.html", config.base_url, code=code, error=error, navigation=navigation(config),
            user=ANONYMOUS, username=getattr(request.state, "username", ""),
            next=request.query_params.get("next", ""), csrf=csrf_token(visit),
        )  # fmt: skip
        self.set_cookie(response, request, FORM_COOKIE, visit, 3600)
        return response

    async def reject(self, request: Request, problem: Problem) -> Response:
        """Return the form with the problem; programs get the envelope."""
        if not wants_html(request, None):
            return json_response(problem_answer(problem), request)
        response = await self.form(request, str(problem.detail), problem.status)
        response.headers.update(problem.headers)
        return response

    async def check(self, request: Request, username: str, password: str) -> SignedInUser:
        """Return the user; raise Problem 400 for a wrong password or key, 429 after several failures."""
        if "\x00" in username + password:
            raise Problem(400, WRONG)
        username, address = username[:150], request.client.host if request.client else ""
        attempt_id = await self.attempts.begin(username, address)
        try:
            user = await self.find(username, password)
        except Problem:  # the password was not compared
            await self.attempts.cancel(attempt_id)
            raise
        if user is None:
            await self.attempts.fail()
            raise Problem(400, WRONG)
        await self.attempts.succeed(username, address)
        return user

    async def find(self, username: str, password: str) -> SignedInUser | None:
        """Return the active user with this password or key."""
        database = self.api.database
        key = users.KEY.fullmatch(password)
        if key:
            rows: Any = await database.rows(users.QUERIES["find_caller_by_key"], prefix=key[1])
            right = rows and secrets.compare_digest(users.hash_secret(key[2]), rows[0].secret_hash)
            right = right and rows[0].username == username
            return SignedInUser(rows[0].id, rows[0].key_id) if right else None
        rows = await database.rows(users.QUERIES["find_active_user"], username=username)
        right = await self.matches(password, rows[0].password_hash if rows else None)
        return SignedInUser(rows[0].id, None) if right and rows else None

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Return whether the password matches; raise Problem 503 when too many wait, as each of them takes 32 MiB."""
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT), self.comparing:
                return await asyncio.to_thread(users.password_matches, password, hashed)
        except TimeoutError as error:
            raise unavailable("Too many users are signing in; try again later.") from error

    async def open_session(self, request: Request, user: SignedInUser, next: str) -> Response:
        """Open a session and redirect to `next`."""
        token = secrets.token_urlsafe(32)
        await self.api.database.execute(users.open_session(user, token, SESSION_HOURS))
        base = base_of(request, self.api.config.base_url)
        response = RedirectResponse(base + local_path(next, base), 303)
        self.set_cookie(response, request, COOKIE, token, SESSION_HOURS * 3600)
        return response

    def set_cookie(
        self, response: Response, request: Request, name: str, value: str, seconds: int
    ) -> None:
        """Set a cookie that scripts cannot read and other sites cannot use."""
        secure = base_of(request, self.api.config.base_url).startswith("https:")
        response.set_cookie(
            name, value, max_age=seconds, path=self.cookie_path, httponly=True, samesite="lax",
            secure=secure,
        )  # fmt: skip

    @property
    def cookie_path(self) -> str:
        """The path of the base URL, so that other applications on the host do not receive the cookie."""
        return prefix_of(self.api.config.base_url) or "/"


class SignOut(SignIn):
    """GET a page with a button; POST ends the session."""

    async def answer(self, request: Request) -> Response:
        """Return the page or, after a POST, end the session; raise Problem."""
        token, database = request.cookies.get(COOKIE, ""), self.api.database
        if request.method != "POST" or not token:
            return await self.form(request)
        if (await session_caller(token, self.api.prepared)).logged_in:
            await self.read_form(request, token)
            token_hash = users.hash_secret(token)
            await database.execute(users.QUERIES["close_session"], token_hash=token_hash)
        response = RedirectResponse(base_of(request, self.api.config.base_url) + LOGIN, 303)
        response.delete_cookie(COOKIE, self.cookie_path)
        return response

    async def form(self, request: Request, error: str = "", code: int = 200) -> Response:
        """Return the page with the token of the current session."""
        caller = await session_caller(request.cookies.get(COOKIE, ""), self.api.prepared)
        config = self.api.config
        return page(
            request, "logout.html", config.base_url, caller=caller, code=code, error=error,
            navigation=navigation(config), user=caller,
        )  # fmt: skip


def local_path(next: str, base: str) -> str:
    """Return the path to show after signing in; replace an address of another server by the root."""
    path = next.removeprefix(urlsplit(base).path)
    if not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable():
        return f"{API}/?format=api"
    return path
