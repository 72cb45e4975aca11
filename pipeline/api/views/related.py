"""The views of related rows: files and uploads of a raster source, users and usage of an organisation."""

from dataclasses import replace

from pipeline.api.endpoint import Api, Call, Endpoint, read_row
from pipeline.api.problems import forbidden, login_required
from pipeline.api.resources.field import INTEGER, object_schema
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.resources.read_only import ORGANISATIONS, ROLES_FIELD, USERS
from pipeline.api.responses import Answer
from pipeline.api.views.list_detail import ReadList, read_list
from pipeline.catalogue import lists


class PartsOfSource(ReadList):
    """GET a page of the files or uploads of a raster source."""

    row_of = RASTER_SOURCES

    async def get(self, call: Call) -> Answer:
        """Return one page; raise Problem 404 if the caller may not see the source."""
        source = await read_row(call, RASTER_SOURCES)
        within = self.resource.entity.table.c.source_id == source.id
        return Answer(await read_list(call, self.resource, [within]))


class OrganisationUsers(ReadList):
    """GET the users who have a role in an organisation, with these roles."""

    row_of = ORGANISATIONS

    def __init__(self, api: Api) -> None:
        super().__init__(api, replace(USERS, fields=(*USERS.fields, ROLES_FIELD)))
        self.filters = lists.users_of(0).filters

    async def get(self, call: Call) -> Answer:
        """Return one page to callers who have a role in the organisation; raise Problem 401, 403 or 404 for others."""
        organisation = await read_row(call, ORGANISATIONS)
        if not call.caller.logged_in:
            raise login_required()
        if organisation.id not in call.caller.belongs_to:
            raise forbidden("You have no role in that organisation.")
        entity = lists.users_of(organisation.id)
        return Answer(await read_list(call, replace(self.resource, entity=entity)))


class UserOrganisations(ReadList):
    """GET the organisations in which a user has a role, with these roles."""

    row_of = USERS

    def __init__(self, api: Api) -> None:
        super().__init__(api, replace(ORGANISATIONS, fields=(*ORGANISATIONS.fields, ROLES_FIELD)))

    async def get(self, call: Call) -> Answer:
        """Return one page; raise Problem 404 if the caller may not see the user."""
        user = await read_row(call, USERS)
        entity = lists.organisations_of(user.id)
        return Answer(await read_list(call, replace(self.resource, entity=entity)))


class OrganisationUsage(Endpoint):
    """GET counts and bytes of an organisation."""

    row_of = ORGANISATIONS
    title = "Organisation Usage"
    description = "The number of raster sources and scenarios of an organisation that you may see, and their bytes."
    schema = object_schema(
        raster_count=INTEGER,
        raster_total_size=INTEGER,
        scenario_count=INTEGER,
        scenario_total_size=INTEGER,
        timeseries_count=INTEGER,
        timeseries_total_size=INTEGER,
    )

    async def get(self, call: Call) -> Answer:
        """Return counts and bytes of the objects that the caller may see; there are no time series."""
        organisation = await read_row(call, ORGANISATIONS)
        (usage,) = await call.api.database.rows(lists.usage_statement(organisation.id, call.caller))
        return Answer({**usage._mapping, "timeseries_count": 0, "timeseries_total_size": 0})
