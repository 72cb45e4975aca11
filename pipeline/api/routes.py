"""Maps every path, with and without a trailing slash, to its view."""

from collections.abc import Iterable, Iterator

from starlette.routing import BaseRoute, Mount, Route

from pipeline.api.documentation import WholeFiles, documentation_routes
from pipeline.api.endpoint import Api, Endpoint, View
from pipeline.api.links import API, LOGIN, LOGOUT
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
from pipeline.api.site.routes import site_pages
from pipeline.api.stac.routes import feature_endpoints
from pipeline.api.views.change_feed import Changes
from pipeline.api.views.confirm_delete import RasterSourceDetail
from pipeline.api.views.layer_data import DownloadFile, LayerData, LayerTimeSteps
from pipeline.api.views.list_detail import ReadDetail, ReadList, WriteDetail, WriteList
from pipeline.api.views.openapi import Docs, OpenApi
from pipeline.api.views.pictures import SourcePreview, SourceStatistics, SourceTile
from pipeline.api.views.related import (
    OrganisationUsage,
    OrganisationUsers,
    PartsOfSource,
    UserOrganisations,
)
from pipeline.api.views.root import Bootstrap, Health, Root
from pipeline.api.views.sign_in import SignIn, SignOut
from pipeline.api.views.source_data import SourceData
from pipeline.api.views.source_list import SourceList


def endpoints(api: Api) -> Iterator[tuple[str, Endpoint]]:
    """Yield each path, with its trailing slash, and its endpoint."""
    root = Root(api)
    yield f"{API}/", root
    yield "/api/v3/", root
    yield f"{API}/rastersources/", SourceList(api, RASTER_SOURCES)
    yield f"{API}/rastersources/{{uuid}}/", RasterSourceDetail(api, RASTER_SOURCES)
    for resource in (LAYERS, LABEL_TYPES, SCENARIOS):
        yield f"{API}/{resource.path}/", WriteList(api, resource)
        yield f"{API}/{resource.path}/{{uuid}}/", WriteDetail(api, resource)
    yield f"{API}/rasters/{{uuid}}/data/", LayerData(api)
    yield f"{API}/rasters/{{uuid}}/timesteps/", LayerTimeSteps(api)
    yield f"{API}/rastersources/{{uuid}}/data/", SourceData(api)
    yield f"{API}/rastersources/{{uuid}}/statistics/", SourceStatistics(api)
    yield f"{API}/rastersources/{{uuid}}/preview.png", SourcePreview(api)
    yield f"{API}/rastersources/{{uuid}}/tiles/{{z}}/{{x}}/{{y}}.png", SourceTile(api)
    for part in (UPLOADS, FILES):
        yield f"{API}/{part.path}/", PartsOfSource(api, part)
    yield f"{API}/organisations/", ReadList(api, ORGANISATIONS)
    yield f"{API}/organisations/{{uuid}}/", ReadDetail(api, ORGANISATIONS)
    yield f"{API}/organisations/{{uuid}}/users/", OrganisationUsers(api)
    yield f"{API}/organisations/{{uuid}}/usage/", OrganisationUsage(api)
    yield f"{API}/users/", ReadList(api, USERS)
    yield f"{API}/users/{{id}}/", ReadDetail(api, USERS)
    yield f"{API}/users/{{id}}/organisations/", UserOrganisations(api)
    yield f"{API}/contracts/", ReadList(api, CONTRACTS)
    yield f"{API}/changes/", Changes(api)
    yield f"{API}/rejectedfiles/", ReadList(api, REJECTED_FILES)
    yield f"{API}/tasks/{{uuid}}/", ReadDetail(api, TASKS)
    yield f"{API}/downloads/{{uuid}}/", DownloadFile(api)
    yield "/bootstrap/lizard/", Bootstrap(api)
    yield "/health/", Health(api)


def routes(api: Api) -> list[BaseRoute]:
    """Return routes for both forms of every path, with and without a trailing slash; neither redirects to the other."""
    documented = list(endpoints(api))
    for path, endpoint in documented:
        endpoint.subpaths = subpaths(path, [other_path for other_path, _ in documented])
    openapi = OpenApi(api, documented)
    views: list[tuple[str, View]] = [
        *documented,
        (f"{API}/openapi.json/", openapi),
        (f"{API}/docs/", Docs(openapi)),
        (LOGIN, SignIn(api)),
        (LOGOUT, SignOut(api)),
        *feature_endpoints(api),
        *site_pages(api),
    ]
    static = Mount("/static", WholeFiles(directory=FOLDER / "static"))
    documentation = documentation_routes(api.config.documentation)
    return [
        *(route for path, view in views for route in both_forms(path, view)),
        static,
        *documentation,
    ]


def subpaths(path: str, paths: Iterable[str]) -> list[str]:
    """Return the words that may follow a path, such as data/."""
    longer = (other.removeprefix(path) for other in paths if other.startswith(path))
    return [word for word in longer if word.count("/") == 1] if "{" in path else []


def both_forms(path: str, view: View) -> list[Route]:
    """Return routes for the path with and without its trailing slash."""
    view.path = path
    bare = path.rstrip("/")
    return [Route(form, view) for form in dict.fromkeys([path, bare or "/", f"{bare}/"])]
