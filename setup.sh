#!/bin/sh
# Set up this checkout: PostgreSQL + PostGIS with apt where they are missing, and .venv from a lock file.
# Usage: setup.sh LOCKFILE. Does nothing, within a tenth of a second, when everything is there.
set -eu
cd "$(dirname "$0")"
lock=$1
python=${PYTHON:-python3}

fail() {
    echo "rastersources: $1" >&2
    exit 1
}

# Install packages, $2, with apt; $1 says what they are.
apt_install() {
    command -v apt-get >/dev/null || fail "please install $1 with your system's package manager, then run this again."
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "please let an administrator run: apt-get install $2"
        as_root="sudo"
    fi
    echo "Installing $1 with apt ..."
    log=$(mktemp)
    # shellcheck disable=SC2086 # several packages, and no sudo for root
    if ! { $as_root apt-get -q update && $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -q install -y --no-install-recommends $2; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        fail "apt could not install $1; its last lines are above."
    fi
    rm -f "$log"
}

has_postgis() {
    for pg_ctl in /usr/lib/postgresql/*/bin/pg_ctl; do
        version=$(basename "$(dirname "$(dirname "$pg_ctl")")")
        [ -x "$pg_ctl" ] && [ -e "/usr/share/postgresql/$version/extension/postgis.control" ] && return 0
    done
    return 1
}

make_venv() {
    echo "Making .venv from $lock (about a minute) ..."
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install "Python's venv module" "python3-venv"
    "$python" -m venv --clear .venv
    install="--quiet --quiet --no-cache-dir --disable-pip-version-check --root-user-action=ignore"
    # shellcheck disable=SC2086 # several options
    .venv/bin/python -m pip install $install --require-hashes -r "$lock"
    # shellcheck disable=SC2086
    .venv/bin/python -m pip install $install --no-deps --no-build-isolation --editable .
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
    fail "Python 3.11 or newer is needed; name it with PYTHON=..., for example: make run PYTHON=python3.12"
if [ -z "${RASTERSOURCES_DATABASE_URL:-}" ] && ! has_postgis; then
    apt_install "PostgreSQL and PostGIS" "postgresql postgresql-postgis"
fi
if [ "$lock" = requirements-dev.lock ] && ! command -v chromedriver >/dev/null; then
    # Ubuntu has no such package: the tests of the pages are skipped there
    (apt_install "Chromium, for the tests of the pages" "chromium chromium-driver") || true
fi
# What .venv was made from, and where: a checkout that was moved needs a new one.
stamp() {
    echo "$(cat "$1" pyproject.toml | cksum) $(pwd)"
}
if ! .venv/bin/python -c '' 2>/dev/null || ! grep -qxF "$(stamp "$lock")" .venv/made-from 2>/dev/null; then
    make_venv
    stamp "$lock" >.venv/made-from
    # the packages for the tests hold those for running
    [ "$lock" = requirements.lock ] || stamp requirements.lock >>.venv/made-from
fi
