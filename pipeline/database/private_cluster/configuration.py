"""The configuration of the private cluster: its settings, and who may connect by socket and by TCP."""

import os
import pwd
import secrets
from pathlib import Path

SUPERUSER = "postgres"
DATABASE = "rastersources"
"""The name of the database and of its owner; the programs of this project connect as the owner."""
LOOPBACK = "127.0.0.1"
CONFIGURATION = """\
# Written by rastersources before each start.
listen_addresses = '{addresses}'
port = {port}
unix_socket_directories = '"{socket_folder}"'
unix_socket_permissions = 0700
timezone = 'UTC'
log_timezone = 'UTC'
jit = off
shared_buffers = '256MB'
work_mem = '16MB'
maintenance_work_mem = '128MB'
effective_cache_size = '2GB'
random_page_cost = 1.1
max_wal_size = '2GB'
"""
BY_SOCKET = "local all all peer map=rastersources\n"
BY_TCP = f"""\
host all {SUPERUSER} all reject
host all all {LOOPBACK}/32 scram-sha-256
"""


def configuration_files(socket_folder: Path, port: int, *, tcp: bool) -> dict[str, str]:
    """Return name -> content of the files to write into the data folder."""
    person = pwd.getpwuid(os.geteuid()).pw_name
    roles = (SUPERUSER, DATABASE)
    return {
        "rastersources.conf": CONFIGURATION.format(
            addresses=LOOPBACK if tcp else "", port=port, socket_folder=socket_folder
        ),
        "pg_hba.conf": BY_SOCKET + (BY_TCP if tcp else ""),
        "pg_ident.conf": "".join(f'rastersources "{person}" {role}\n' for role in roles),
    }


def read_or_create_password(file: Path) -> str:
    """Return the password for TCP; create it at the first call.

    The file has mode 0600 and one line, in the format of ~/.pgpass.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return file.read_text().strip().rpartition(":")[2]
    password = secrets.token_urlsafe(32)
    with os.fdopen(descriptor, "w") as new:
        new.write(f"{LOOPBACK}:*:*:{DATABASE}:{password}\n")
    return password
