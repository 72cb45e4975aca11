"""/stac and /ogc follow their OpenAPI documents."""

import subprocess
import sys
from pathlib import Path

import pytest
from httpx import Client

from tests.api.conftest import address_of
from tests.api.stac.conftest import Uuids
from tests.support.commands import REPOSITORY

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
    "response_headers_conformance",
)  # fmt: skip
HOOKS = """
import schemathesis

@schemathesis.hook
def before_call(context, case, kwargs):
    names = case.path_parameters or {}
    if "collectionId" in names:
        names["collectionId"] = "UUID"
    if "featureId" in names:
        names["featureId"] = "UUID" if "rastersources" in case.operation.path else "1"
"""


@pytest.mark.parametrize("root", ["stac", "ogc"])
def test_a_root_follows_its_document(
    client: Client, uuids: Uuids, tmp_path: Path, root: str
) -> None:
    pytest.importorskip("schemathesis")
    (tmp_path / "hooks_of_features.py").write_text(HOOKS.replace("UUID", uuids["rain"]))
    (tmp_path / "schemathesis.toml").write_text('hooks = "hooks_of_features"\n')
    program = Path(sys.executable).with_name("st")
    done = subprocess.run(
        [program, "run", f"{address_of(client)}/{root}/api", "--no-color", "--checks", ",".join(CHECKS),
         "--phases", "fuzzing", "-n", "6", "--seed", "1", "--continue-on-failure"],
        check=False, cwd=tmp_path, env={"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "PATH": "/usr/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
