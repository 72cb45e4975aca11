"""Code to copy, with which other programs read a raster source."""

from collections.abc import Iterator
from typing import Any

from pipeline.api.links import Links


def recipes(source: Any, links: Links, first_uri: str | None) -> Iterator[tuple[str, str]]:
    """Yield name and text of each recipe for a raster source; `first_uri` is a file that the caller may see."""
    url = links.to("rastersources", source.uuid)
    login = "" if source.access_modifier == 0 else " -u __key__:YOUR_KEY"
    auth = "" if source.access_modifier == 0 else ', auth=("__key__", "YOUR_KEY")'
    sign_in = "" if source.access_modifier == 0 else "; authentication Basic, __key__ and YOUR_KEY"
    yield "curl", f"curl{login} '{url}?format=json'"
    yield (
        "Python",
        f'import httpx\n\nsource = httpx.get("{url}"{auth}).raise_for_status().json()\n'
        'print(source["name"], source["spatial_bounds"])',
    )
    yield (
        "SQL",
        "SELECT file.uri, file.times, file.footprint\n"
        "FROM raster_files AS file JOIN raster_sources AS source ON source.id = file.source_id\n"
        f"WHERE source.uuid = '{source.uuid}';",
    )
    tiles = f"{url}tiles/{{z}}/{{x}}/{{y}}.png"
    yield f"QGIS: Layer > Add Layer > Add XYZ Layer, URL{sign_in}", tiles
    if first_uri:
        path = first_uri.replace("s3://", "/vsis3/").removeprefix("file://")
        yield "QGIS or GDAL: the first file itself", path
