"""The files in deploy/ name things that exist, hold no secret, and let services listen on this machine only."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml  # type: ignore[import-untyped]

from pipeline.cli.main import app
from pipeline.settings import API_PORT, PREFIX, Settings
from tests.support.commands import REPOSITORY
from tests.support.docs_commands import find_code_blocks

DEPLOY = REPOSITORY / "deploy"
FILES = sorted(path for path in DEPLOY.iterdir() if path.name != ".env")
UNITS = sorted(DEPLOY.glob("*.service"))
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ")
NGINX = (REPOSITORY / "docs" / "how-to" / "nginx.md").read_text()
REFERENCE = re.compile(r"\$\{(\w+):\?[^}]+\}")
"""A reference to a variable of the environment that compose requires."""


def list_commands() -> list[list[str]]:
    """Return our commands that the files name, without the program."""
    (default,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    commands = [
        yaml.safe_load(default),
        *(service["command"] for service in SERVICES.values() if "command" in service),
    ]
    commands += [
        shlex.split(re.findall(r"^ExecStart=(.+)$", unit.read_text(), re.MULTILINE)[0])
        for unit in UNITS
    ]
    return [words[1:] for words in commands if words[0].endswith("rastersources")]


@pytest.mark.parametrize("words", list_commands(), ids=" ".join)
def test_each_command_exists_and_takes_its_options(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    context = command.make_context("rastersources", list(words), resilient_parsing=True)
    while hasattr(command, "commands"):
        name, *words = words
        command = command.commands[name]
    context = command.make_context(name, words, parent=context)
    assert context.args == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_setting_exists(path: Path) -> None:
    named = set(re.findall(rf"\b{PREFIX}(\w+)", path.read_text()))
    assert named <= {name.upper() for name in Settings.__dataclass_fields__}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_page_of_deploying_names_each_file(path: Path) -> None:
    assert f"deploy/{path.name}" in (REPOSITORY / "docs" / "deployment.md").read_text()


def test_no_file_holds_a_secret_and_each_reference_is_in_the_example() -> None:
    example = dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    assert set(REFERENCE.findall((DEPLOY / "compose.yaml").read_text())) == set(example)
    assert set(example.values()) == {""}
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|AUTH|SECRET", name):
                assert REFERENCE.search(value), name
    for path in FILES:
        assert not re.search(r"://\w+:[^@/$\s]+@", path.read_text()), path.name
    assert ".env" in (REPOSITORY / ".gitignore").read_text().split()


def test_everything_listens_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert "ports" not in SERVICES["database"]
    hosts = re.findall(
        rf"^{PREFIX}HOST=(.*)$", (DEPLOY / "rastersources.env").read_text(), re.MULTILINE
    )
    assert hosts == ["127.0.0.1"]


def test_the_services_fit_together() -> None:
    volumes = {
        text.split(":")[0]
        for service in SERVICES.values()
        for text in service["volumes"]
        if text[0].isalpha()
    }
    assert volumes == set(COMPOSE["volumes"])
    for name, service in SERVICES.items():
        for needed, condition in service.get("depends_on", {}).items():
            assert condition == {"condition": "service_healthy"}
            assert "healthcheck" in SERVICES[needed], (name, needed)
        if name != "database":
            build = service["build"]
            assert (
                DEPLOY / build["context"] / build["dockerfile"]
            ).resolve() == DEPLOY / "Dockerfile"
    assert SERVICES["worker"]["environment"]["PREFECT_API_URL"] == "http://prefect:4200/api"
    assert "@database/" in SERVICES["api"]["environment"]["RASTERSOURCES_DATABASE_URL"]


def test_the_image_copies_existing_files_and_runs_as_a_user_without_rights() -> None:
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    assert copied
    assert [name for name in copied if not (REPOSITORY / name).exists()] == []
    allowed = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert {f"!{name.removeprefix('./')}" for name in copied} <= set(allowed)
    packages = re.findall(
        r"^packages = \{ find = \{ include = (.*) \} \}",
        (REPOSITORY / "pyproject.toml").read_text(),
        re.M,
    )
    assert {name.rstrip("*") for name in yaml.safe_load(packages[0])} <= set(copied)
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert f"useradd --system --uid {user} " in DOCKERFILE
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(
        re.fullmatch(r"[\w/]+:[\w.-]+", base) and not base.endswith("latest") for base in bases
    )
    assert "--require-hashes" in DOCKERFILE
    assert not re.search(r"^ADD |apt-get|curl|wget", DOCKERFILE, re.MULTILINE)


def test_the_pages_name_the_ports_that_the_files_open() -> None:
    page = (REPOSITORY / "docs" / "deployment.md").read_text()
    published = [
        port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())
    ]
    (exposed,) = re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE)
    environment = (DEPLOY / "rastersources.env").read_text()
    configured = re.findall(rf"^{PREFIX}(?:PREFECT_)?PORT=(\d+)$", environment, re.MULTILINE)
    assert sorted(published) == sorted(configured) == ["4200", "8000"]
    assert int(exposed) == API_PORT
    assert all(f"http://127.0.0.1:{port}/" in page for port in published)
    assert f"proxy_pass http://127.0.0.1:{API_PORT};" in NGINX


def test_hadolint_finds_no_mistake() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [hadolint, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0)


def test_nginx_denies_access_to_the_metrics() -> None:
    (prefix,) = re.findall(r"location (\S+) \{[^}]*deny all", NGINX)
    assert all(path.startswith(prefix) for path in ("/metrics", "/metrics/"))


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_accepts_the_configuration_of_the_page(tmp_path: Path) -> None:
    (site,) = find_code_blocks("nginx", NGINX)
    certificate, key = tmp_path / "rasters.pem", tmp_path / "rasters.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=rasters", "-keyout", key, "-out",
         certificate], check=True, capture_output=True,
    )  # fmt: skip
    site = re.sub(r"\S+/(rasters\.\w+);", rf"{tmp_path}/\1;", site)
    folders = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
        f"http {{ access_log {tmp_path}/log; {folders} {site} }}\n"
    )
    done = subprocess.run(
        ["nginx", "-t", "-e", tmp_path / "log", "-c", config],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """Replace the program, which is not installed where the unit names it."""
    text = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", unit.read_text(), flags=re.MULTILINE)
    copy = tmp_path / unit.name
    copy.write_text(text)
    done = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False
    )
    own_lines = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, own_lines) == (0, [])
