"""Rejects definitions of a CRS that name a file by its path, because GDAL and PROJ would open it."""

import re

from pipeline.errors import UnsupportedCRS

_NAMES_FILES = re.compile(
    r"""extension|parameterfile|grids|proj[\s=-]|(file|init)\s*=|^\s*\{""", re.IGNORECASE
)
"""Places in which a definition can name a file: extensions and parameters of WKT, PROJ strings, and PROJJSON."""

_PATH = re.compile(r"""\S/|/\S|[=,"@]\s*/|\\""")
"""A slash, except in names such as `WGS 84 / UTM zone 31N`, or a backslash, which may stand for a slash in JSON.

PROJ looks for a name without a slash only in its own folders.
"""


def require_no_path(text: str) -> None:
    """Raise UnsupportedCRS for a definition that names a file outside PROJ's folders, whether or not it exists."""
    if _NAMES_FILES.search(text) and _PATH.search(text):
        raise UnsupportedCRS(
            "its CRS names a file by its path or URL, and that file is not opened; assign another CRS, for example "
            "with gdal_edit.py -a_srs EPSG:CODE FILE"
        )
