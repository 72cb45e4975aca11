"""Signing in to the pages and out of them: a session in a cookie, and a limit on attempts."""

import asyncio
import secrets
from typing import Any
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from pipeline.api.auth import COOKIE, check_csrf, csrf_token, session_caller
from pipeline.api.body import CSRF_FIELD, parse_form, read_bytes
from pipeline.api.endpoint import Api, problem_answer, render, wants_html
from pipeline.api.links import base_of, prefix_of
from pipeline.api.pages import page
from pipeline.api.problems import Problem, check_method, unavailable
from pipeline.api.query_string import is_dry_run
from pipeline.api.sign_in_attempts import SignInAttempts
from pipeline.catalogue import users
from pipeline.catalogue.users import SignedInUser

PRE_COOKIE = "rastersources_visit"
"""Carries what the sign-in form must repeat, before there is a session."""
FORM_BYTES = 8 * 2**10
"""Longest form; it is read before anyone knows who sends it."""
COMPARED_AT_ONCE = 2
"""Passwords; the threads that do it are those that write uploads."""
SECONDS_TO_WAIT = 10.0
WRONG = "Username or password is wrong."


class SignIn:
    """GET the form, POST it."""

    path = "none"

    def __init__(self, api: Api) -> None:
        self.api = api
        self.attempts = SignInAttempts(api.database, api.config)
        self.comparing = asyncio.Semaphore(COMPARED_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises Problem 405."""
        check_method(scope["method"], ("GET", "HEAD", "POST"))
        request = Request(scope, receive)
        try:
            if request.method == "POST" and is_dry_run(request.query_params):
                raise Problem(400, "Signing in and out has no dry run; leave the parameter out.")
            response = await self.respond(request)
        except Problem as problem:
            response = await self.refuse(request, problem)
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """The form, or what follows from it; raises Problem."""
        if request.method != "POST":
            return await self.form(request)
        visit = request.cookies.get(PRE_COOKIE, "")
        if not visit:
            raise Problem(
                403, "CSRF Failed: the form has no cookie; allow cookies and send it again."
            )
        form = parse_form(await read_bytes(request, self.api.config, FORM_BYTES))
        check_csrf(form.get(CSRF_FIELD, ""), visit)
        request.state.username = form.get("username", "")
        who = await self.check(request, form.get("username", ""), form.get("password", ""))
        return await self.open(request, who, form.get("next", ""))

    async def form(self, request: Request, error: str = "", code: int = 200) -> Response:
        """The sign-in form."""
        visit = request.cookies.get(PRE_COOKIE) or secrets.token_urlsafe(32)
        shown = page(
            request, "login.html", self.api.config.base_url, code=code, error=error,
            username=getattr(request.state, "username", ""),
            next=request.query_params.get("next", ""), csrf=csrf_token(visit),
        )  # fmt: skip
        self.set_cookie(shown, request, PRE_COOKIE, visit, 3600)
        return shown

    async def refuse(self, request: Request, problem: Problem) -> Response:
        """The form once more, which says what is wrong; programs get the envelope."""
        if not wants_html(request, None):
            return render(problem_answer(problem), "", request)
        shown = await self.form(request, str(problem.detail), problem.status)
        shown.headers.update(problem.headers)
        return shown

    async def check(self, request: Request, username: str, password: str) -> SignedInUser:
        """Who it is; raises Problem 400 when the password (or key) is wrong, 429 soon after several of those."""
        if "\x00" in username + password:
            raise Problem(400, WRONG)
        username, address = username[:150], request.client.host if request.client else ""
        attempt = await self.attempts.begin(username, address)
        try:
            who = await self.find(username, password)
        except Problem:  # nobody knows whether the password is right
            await self.attempts.forget(attempt)
            raise
        if who is None:
            await self.attempts.fail()
            raise Problem(400, WRONG)
        await self.attempts.succeed(username, address)
        return who

    async def find(self, username: str, password: str) -> SignedInUser | None:
        """The active user whose password or key it is."""
        database = self.api.database
        key = users.KEY.fullmatch(password)
        if key:
            rows: Any = await database.rows(users.caller_by_key(key[1]))
            right = rows and secrets.compare_digest(users.hash_secret(key[2]), rows[0].secret_hash)
            right = right and rows[0].username == username
            return SignedInUser(rows[0].id, rows[0].key_id) if right else None
        rows = await database.rows(users.user_by_name(username))
        hashed = rows[0].password_hash if rows else None
        right = await self.matches(password, hashed)
        return SignedInUser(rows[0].id, None) if right and rows else None

    async def matches(self, password: str, hashed: str | None) -> bool:
        """Whether it is the password; each comparison takes 32 MiB, so that few run at once. Raises Problem 503."""
        try:
            async with asyncio.timeout(SECONDS_TO_WAIT), self.comparing:
                return await asyncio.to_thread(users.password_matches, password, hashed)
        except TimeoutError as error:
            raise unavailable("Many are signing in just now; try again later.") from error

    async def open(self, request: Request, who: SignedInUser, following: str) -> Response:
        """Begin a session and go on."""
        hours, token = self.api.config.session_hours, secrets.token_urlsafe(32)
        await self.api.database.execute(users.open_session(who, token, hours))
        base = base_of(request, self.api.config.base_url)
        response = RedirectResponse(base + local_path(following, base), 303)
        self.set_cookie(response, request, COOKIE, token, int(hours * 3600))
        return response

    def set_cookie(
        self, response: Response, request: Request, name: str, value: str, seconds: int
    ) -> None:
        """A cookie that scripts cannot read and other sites cannot use."""
        secure = base_of(request, self.api.config.base_url).startswith("https:")
        response.set_cookie(
            name, value, max_age=seconds, path=self.cookie_path, httponly=True, samesite="lax",
            secure=secure,
        )  # fmt: skip

    @property
    def cookie_path(self) -> str:
        """That of the base URL: what else is on its host gets no cookie of ours."""
        return prefix_of(self.api.config.base_url) or "/"


class SignOut(SignIn):
    """GET a page that offers it, POST to end the session."""

    async def respond(self, request: Request) -> Response:
        """The page, or the end of the session; raises Problem."""
        token = request.cookies.get(COOKIE, "")
        if request.method == "POST" and token:
            if (await session_caller(token, self.api.database)).logged_in:
                form = parse_form(await read_bytes(request, self.api.config, FORM_BYTES))
                check_csrf(form.get(CSRF_FIELD, ""), token)
                await self.api.database.execute(users.close_session(token))
            response = RedirectResponse(
                base_of(request, self.api.config.base_url) + "/accounts/login/", 303
            )
            response.delete_cookie(COOKIE, self.cookie_path)
            return response
        return await self.form(request)

    async def form(self, request: Request, error: str = "", code: int = 200) -> Response:
        """The page, whose button has the token of the session of now."""
        caller = await session_caller(request.cookies.get(COOKIE, ""), self.api.database)
        config_base = self.api.config.base_url
        return page(request, "logout.html", config_base, caller=caller, code=code, error=error)


def local_path(following: str, base: str) -> str:
    """A path of ours to go to after signing in; anything else is not followed."""
    prefix = urlsplit(base).path
    path = following.removeprefix(prefix)
    if not path.startswith("/") or path.startswith(("//", "/\\")) or not path.isprintable():
        return "/api/v4/?format=api"
    return path
