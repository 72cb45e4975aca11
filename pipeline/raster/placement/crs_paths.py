"""Refuses definitions of a CRS that name a file by its path, before GDAL or PROJ, which would open it, see them."""

import re

from pipeline.errors import UnsupportedCRS

_NAMES_FILES = re.compile(
    r"""extension|parameterfile|grids|proj[\s=-]|(file|init)\s*=|^\s*\{""", re.I
)
"""Where a definition can name a file: WKT's extensions and parameters, strings of PROJ in it or alone, and PROJJSON."""

_PATH = re.compile(r"""\S/|/\S|[=,"@]\s*/|\\""")
"""A slash but that of names such as `WGS 84 / UTM zone 31N`; PROJ looks for a name without one in its own folders.

Where there is a backslash, it may be an escape of JSON that stands for a slash.
"""


def require_no_path(text: str) -> None:
    """Raises UnsupportedCRS for a definition that names a file elsewhere than in PROJ's folders, be it there or not."""
    if _NAMES_FILES.search(text) and _PATH.search(text):
        raise UnsupportedCRS(
            "its CRS names a file by its path or address, which is not opened; assign a CRS without it, for example "
            "with gdal_edit.py -a_srs EPSG:CODE FILE"
        )
