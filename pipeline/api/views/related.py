"""The URLs beside lists and details: parts of a source, people of an organisation, usage, identity, roots."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import literal, select

from pipeline.api.endpoint import Answer, Api, Call, Endpoint
from pipeline.api.problems import forbidden, login_required
from pipeline.api.resources.common_fields import INTEGER
from pipeline.api.resources.field import LINK, STRING, nullable
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.resources.read_only import HELD, ORGANISATIONS, USERS
from pipeline.api.resources.resource import Resource
from pipeline.api.views.list_detail import ReadList, one, page
from pipeline.catalogue import lists

LOGIN = "/accounts/login/"
LOGOUT = "/accounts/logout/"


class PartsOfSource(ReadList):
    """GET a page of what belongs to one raster source."""

    async def check_there(self, call: Call) -> None:
        """Raises Problem 404 when the source is not there for the caller."""
        await one(call, RASTER_SOURCES)

    async def get(self, call: Call) -> Answer:
        """One page; 404 when the caller may not see the source."""
        source = await one(call, RASTER_SOURCES)
        within = self.resource.entity.table.c.source_id == source.id
        return Answer(await page(call, self.resource, [within]))


class OrganisationUsers(ReadList):
    """GET those who have a role in an organisation, with their roles there."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api, resource)
        self.fields = (*resource.fields, HELD)
        self.filters = lists.users_of(0).filters

    async def check_there(self, call: Call) -> None:
        """Raises Problem 404 when there is no such organisation."""
        await one(call, ORGANISATIONS)

    async def get(self, call: Call) -> Answer:
        """One page, for those who have a role there themselves."""
        organisation = await one(call, ORGANISATIONS)
        if not call.caller.logged_in:
            raise login_required()
        if organisation.id not in call.caller.belongs_to:
            raise forbidden("You have no role in that organisation.")
        entity = lists.users_of(organisation.id)
        members = replace(self.resource, entity=entity, fields=tuple(self.fields))
        return Answer(await page(call, members))


class UserOrganisations(ReadList):
    """GET where a user has a role."""

    def __init__(self, api: Api, resource: Resource) -> None:
        super().__init__(api, resource)
        self.fields = (*resource.fields, HELD)

    async def check_there(self, call: Call) -> None:
        """Raises Problem 404 when the user is not there for the caller."""
        await one(call, USERS)

    async def get(self, call: Call) -> Answer:
        """One page, with the roles of that user."""
        user = await one(call, USERS)
        entity = lists.organisations_of(user.id)
        theirs = replace(self.resource, entity=entity, fields=tuple(self.fields))
        return Answer(await page(call, theirs))


def flat_schema(**properties: Mapping[str, Any]) -> dict[str, Any]:
    """An object with all of these."""
    return {"type": "object", "properties": properties, "required": list(properties)}


class OrganisationUsage(Endpoint):
    """GET how much of an organisation the caller may see."""

    title = "Organisation Usage"
    description = (
        "How many raster sources and scenarios of an organisation you may see, and their bytes."
    )
    schema = flat_schema(
        raster_count=INTEGER,
        raster_total_size=INTEGER,
        scenario_count=INTEGER,
        scenario_total_size=INTEGER,
        timeseries_count=INTEGER,
        timeseries_total_size=INTEGER,
    )

    async def check_there(self, call: Call) -> None:
        """Raises Problem 404 when there is no such organisation."""
        await one(call, ORGANISATIONS)

    async def get(self, call: Call) -> Answer:
        """Counts and bytes; there are no time series."""
        organisation = await one(call, ORGANISATIONS)
        rows = await call.api.database.rows(lists.usage_statement(organisation.id, call.caller))
        return Answer({
            "raster_count": rows[0].rasters,
            "raster_total_size": int(rows[0].bytes),
            "scenario_count": rows[0].scenarios,
            "scenario_total_size": int(rows[0].scenario_bytes),
            "timeseries_count": 0,
            "timeseries_total_size": 0,
        })  # fmt: skip


class Bootstrap(Endpoint):
    """GET who the caller is and where to sign in."""

    title = "Bootstrap"
    description = "Who you are, and where to sign in and out."
    schema = flat_schema(
        user=flat_schema(
            id=nullable(INTEGER),
            username=nullable(STRING),
            first_name=STRING,
            authenticated={"type": "boolean"},
        ),
        sso=flat_schema(login=LINK, logout=LINK),
    )

    async def get(self, call: Call) -> Answer:
        """The caller's own identity."""
        caller, links = call.caller, call.links
        user = {"id": caller.user_id, "username": caller.username or None, "first_name": caller.first_name,
                "authenticated": caller.logged_in}  # fmt: skip
        sso = {"login": f"{links.base}{LOGIN}", "logout": f"{links.base}{LOGOUT}"}
        return Answer({"user": user, "sso": sso})


class Root(Endpoint):
    """GET the names and URLs of all lists."""

    title = "Api Root"
    description = "The lists of this API."
    schema: Mapping[str, Any] = {"type": "object", "additionalProperties": LINK}
    lists: tuple[str, ...] = ()

    async def get(self, call: Call) -> Answer:
        """Name -> URL."""
        return Answer({name: call.links.to(name) for name in self.lists})


class Health(Endpoint):
    """GET whether requests can be answered."""

    title = "Health"
    description = "Whether the database answers."
    schema = flat_schema(status=STRING)

    async def get(self, call: Call) -> Answer:
        """200 when the database answers; raises Problem 503 when it does not."""
        await call.api.database.rows(select(literal(1)))
        return Answer({"status": "ok"})


class Home(Endpoint):
    """GET the way to the API."""

    title = "Home"
    description = "The API begins at /api/v4/."

    async def get(self, call: Call) -> Answer:
        """A redirect to the root of the API."""
        return Answer({"api": call.links.to()}, 302, {"Location": call.links.to()})
