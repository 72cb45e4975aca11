"""The views of the API itself: its root, the caller's identity, and health."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import literal, select

from pipeline.api.endpoint import Call, Endpoint
from pipeline.api.links import LOGIN, LOGOUT
from pipeline.api.resources.field import BOOLEAN, INTEGER, LINK, STRING, nullable, object_schema
from pipeline.api.responses import Answer

LISTS = (
    "rastersources", "rasters", "labeltypes", "scenarios", "organisations", "users", "contracts", "changes",
    "rejectedfiles",
)  # fmt: skip


class Root(Endpoint):
    """GET the names and URLs of all lists."""

    title = "Api Root"
    description = "The lists of this API."
    schema: Mapping[str, Any] = {"type": "object", "additionalProperties": LINK}

    async def get(self, call: Call) -> Answer:
        """Return the URL of each list."""
        return Answer({name: call.links.to(name) for name in LISTS})


class Bootstrap(Endpoint):
    """GET the caller's identity and the URLs to sign in and out."""

    title = "Bootstrap"
    description = "Who you are, and where to sign in and out."
    schema = object_schema(
        user=object_schema(
            id=nullable(INTEGER),
            username=nullable(STRING),
            first_name=STRING,
            authenticated=BOOLEAN,
        ),
        sso=object_schema(login=LINK, logout=LINK),
    )

    async def get(self, call: Call) -> Answer:
        """Return the caller's own identity."""
        caller, base = call.caller, call.links.base
        user = {"id": caller.user_id, "username": caller.username or None, "first_name": caller.first_name,
                "authenticated": caller.logged_in}  # fmt: skip
        return Answer(
            {"user": user, "sso": {"login": f"{base}{LOGIN}", "logout": f"{base}{LOGOUT}"}}
        )


class Health(Endpoint):
    """GET whether the server can answer requests."""

    title = "Health"
    description = "Whether the database answers."
    schema = object_schema(status=STRING)

    async def get(self, call: Call) -> Answer:
        """Return 200 if the database answers; raise Problem 503 if it does not."""
        await call.api.database.rows(select(literal(1)))
        return Answer({"status": "ok"})


class Home(Endpoint):
    """GET a redirect to the API."""

    title = "Home"
    description = "The API begins at /api/v4/."

    async def get(self, call: Call) -> Answer:
        """Redirect to the root of the API."""
        return Answer({"api": call.links.to()}, 302, {"Location": call.links.to()})
