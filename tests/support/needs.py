"""Marks that skip tests without the programs or folders that they need; setup.sh installs what it can."""

import os
import shutil
from pathlib import Path

import pytest

from tests.support.commands import CORPUS, STAC_SCHEMAS

needs_own_cluster = pytest.mark.skipif(
    "RASTERSOURCES_DATABASE_URL" in os.environ,
    reason="a database is given, so PostgreSQL's programs may be missing",
)
needs_gdal = pytest.mark.skipif(
    shutil.which("gdalinfo") is None,
    reason="GDAL's programs are missing (Debian and Ubuntu: apt install gdal-bin)",
)
QGIS_PYTHON = "/usr/bin/python3"
"""The Python of the system, for which QGIS is installed."""
needs_qgis = pytest.mark.skipif(
    not Path("/usr/lib/python3/dist-packages/qgis").is_dir(),
    reason="QGIS is missing (Debian and Ubuntu: apt install --no-install-recommends python3-qgis, 170 packages)",
)
needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the folder shared/corpus beside the checkout is missing"
)
needs_stac_schemas = pytest.mark.skipif(
    not STAC_SCHEMAS.is_dir(),
    reason="the folder shared/stac-schemas beside the checkout is missing",
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
