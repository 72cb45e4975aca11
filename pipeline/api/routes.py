"""Every path of the API and what answers it, with and without a trailing slash."""

from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from pipeline.api.endpoint import Api, Endpoint
from pipeline.api.links import API
from pipeline.api.pages import FOLDER
from pipeline.api.resources.layers import LABEL_TYPES, LAYERS, SCENARIOS
from pipeline.api.resources.raster_sources import RASTER_SOURCES
from pipeline.api.resources.read_only import (
    CONTRACTS,
    FILES,
    ORGANISATIONS,
    REJECTED_FILES,
    TASKS,
    UPLOADS,
    USERS,
)
from pipeline.api.views.change_feed import Changes
from pipeline.api.views.docs import Docs, OpenApi
from pipeline.api.views.list_detail import ReadDetail, ReadList, WriteDetail, WriteList
from pipeline.api.views.related import (
    LOGIN,
    LOGOUT,
    Bootstrap,
    Health,
    Home,
    OrganisationUsage,
    OrganisationUsers,
    PartsOfSource,
    Root,
    UserOrganisations,
)
from pipeline.api.views.sign_in import SignIn, SignOut
from pipeline.api.views.source_data import SourceData

EDITABLE = (RASTER_SOURCES, LAYERS, LABEL_TYPES, SCENARIOS)
LISTS = (
    "rastersources",
    "rasters",
    "labeltypes",
    "scenarios",
    "organisations",
    "users",
    "contracts",
    "changes",
    "rejectedfiles",
)


def endpoints(api: Api) -> Iterator[tuple[str, Endpoint]]:
    """Path with its trailing slash, endpoint."""
    root = Root(api)
    root.lists = LISTS
    yield f"{API}/", root
    yield "/api/v3/", root
    for resource in EDITABLE:
        yield f"{API}/{resource.path}/", WriteList(api, resource)
        yield f"{API}/{resource.path}/{{uuid}}/", WriteDetail(api, resource)
    yield f"{API}/rastersources/{{uuid}}/data/", SourceData(api)
    for part in (UPLOADS, FILES):
        yield f"{API}/{part.path}/", PartsOfSource(api, part)
    yield f"{API}/organisations/", ReadList(api, ORGANISATIONS)
    yield f"{API}/organisations/{{uuid}}/", ReadDetail(api, ORGANISATIONS)
    yield f"{API}/organisations/{{uuid}}/users/", OrganisationUsers(api, USERS)
    yield f"{API}/organisations/{{uuid}}/usage/", OrganisationUsage(api)
    yield f"{API}/users/", ReadList(api, USERS)
    yield f"{API}/users/{{id}}/", ReadDetail(api, USERS)
    yield f"{API}/users/{{id}}/organisations/", UserOrganisations(api, ORGANISATIONS)
    yield f"{API}/contracts/", ReadList(api, CONTRACTS)
    yield f"{API}/changes/", Changes(api)
    yield f"{API}/rejectedfiles/", ReadList(api, REJECTED_FILES)
    yield f"{API}/tasks/{{uuid}}/", ReadDetail(api, TASKS)
    yield "/bootstrap/lizard/", Bootstrap(api)
    yield "/health/", Health(api)


def routes(api: Api) -> list[BaseRoute]:
    """Both forms of every path; neither redirects to the other."""
    made = list(endpoints(api))
    for path, endpoint in made:
        endpoint.below = words_below(path, [other for other, _ in made])
    openapi = OpenApi(api, made)
    answers: list[tuple[str, Endpoint | Docs | SignIn]] = [
        *made,
        ("/", Home(api)),
        (f"{API}/openapi.json/", openapi),
        (f"{API}/docs/", Docs(openapi)),
        (LOGIN, SignIn(api)),
        (LOGOUT, SignOut(api)),
    ]
    return [*(route for path, answer in answers for route in both(path, answer)), static()]


def words_below(path: str, paths: Iterable[str]) -> list[str]:
    """What continues a path that names one thing by a word."""
    longer = (other.removeprefix(path) for other in paths if other.startswith(path))
    return [rest for rest in longer if rest.count("/") == 1] if "{" in path else []


def both(path: str, answer: Endpoint | Docs | SignIn) -> list[Route]:
    """The path with and without its trailing slash."""
    answer.path = path
    return [Route(form, answer) for form in {path: 0, path.rstrip("/") or "/": 0}]


class WholeFiles(StaticFiles):
    """Files that are sent as a whole: a Range is a wish, and a wrong one would be refused outside our envelope."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; raises HTTPException 404 or 405."""
        headers = [(name, value) for name, value in scope["headers"] if name != b"range"]
        await super().__call__({**scope, "headers": headers}, receive, send)


def static() -> Mount:
    """The files that pages load."""
    return Mount("/static", WholeFiles(directory=FOLDER / "static"))
