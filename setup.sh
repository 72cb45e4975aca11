#!/bin/sh
# Set up this checkout: PostgreSQL + PostGIS with apt if they are missing, and .venv from a lock file.
# Usage: setup.sh LOCKFILE. Does nothing, within a tenth of a second, when everything is there.
set -eu
cd "$(dirname "$0")"
lock=$1
python=${PYTHON:-python3}

install="--no-cache-dir --disable-pip-version-check --root-user-action=ignore"
# Packages for the tests that are published as source only.
sdists="lizard-connector threedi-scenario-downloader"

fail() {
    echo "rastersources: $1" >&2
    exit 1
}

# Install the packages $2 with apt; $1 is their name for messages.
apt_install() {
    command -v apt-get >/dev/null || fail "please install $1 with your system's package manager, then run this again."
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "please let an administrator run: apt-get install $2"
        as_root="sudo"
    fi
    echo "Installing $1 with apt (about a minute) ..."
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

# Run pip; show its progress in a terminal, and its last lines if it fails.
run_pip() {
    if ! [ -t 2 ]; then
        .venv/bin/python -m pip install --quiet --quiet "$@"
        return
    fi
    log=$(mktemp)
    { .venv/bin/python -m pip install --progress-bar off "$@" 2>&1 || echo "failed" >"$log.status"; } | tee "$log" | {
        number=0
        while read -r line; do
            case $line in
                Collecting*) number=$((number + 1)) && printf '\r  %d of %d packages' "$number" "$(packages)" >&2 ;;
                Installing*) printf '\r\033[K  unpacking them ...' >&2 ;;
            esac
        done
        printf '\r\033[K' >&2
    }
    if [ -e "$log.status" ]; then
        tail -n 20 "$log" >&2
        rm -f "$log" "$log.status"
        fail "pip could not install the packages; its last lines are above. See that the network is there, then run this again."
    fi
    rm -f "$log"
}

packages() {
    grep -c '==' "$lock"
}

# Install the packages of the complete lock file from wheels only, because building a package runs its code.
install_lock() {
    only="--only-binary :all:"
    if [ "$lock" = requirements-dev.lock ]; then
        for name in $sdists; do
            only="$only --no-binary $name"
        done
    fi
    # shellcheck disable=SC2086 # several options
    run_pip $install $only --no-deps --require-hashes -r "$lock"
}

make_venv() {
    echo "Making .venv from $lock: $(packages) packages are downloaded and checked (about a minute) ..."
    "$python" -c 'import ensurepip, venv' 2>/dev/null || apt_install "Python's venv module" "python3-venv"
    "$python" -m venv --clear .venv
    install_lock
    # shellcheck disable=SC2086
    .venv/bin/python -m pip install --quiet --quiet $install --no-deps --no-build-isolation --editable .
    # Users without permission to write compiled modules would compile them at each start.
    .venv/bin/python -m compileall -q pipeline flows
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
if [ "$lock" = requirements-dev.lock ] && ! { command -v ogr2ogr && [ -x /usr/sbin/pgbouncer ]; } >/dev/null; then
    # without them their tests are skipped
    (apt_install "PgBouncer and GDAL's programs, for tests" "pgbouncer gdal-bin") || true
fi
# What .venv was made from, and where: a checkout that was moved needs a new one.
stamp() {
    echo "$(cat "$1" pyproject.toml | cksum) $(pwd)"
}
made_from() {
    .venv/bin/python -c '' 2>/dev/null && grep -qxF "$(stamp "$1")" .venv/made-from 2>/dev/null
}
if made_from "$lock"; then
    exit 0
elif [ "$lock" = requirements-dev.lock ] && made_from requirements.lock; then
    # Remove nothing, because a program may be running from it; the packages for running are the same.
    echo "Adding the packages for the tests to .venv (about a minute) ..."
    install_lock
    stamp "$lock" >>.venv/made-from
else
    make_venv
    stamp "$lock" >.venv/made-from
    # the packages for the tests hold those for running
    [ "$lock" = requirements.lock ] || stamp requirements.lock >>.venv/made-from
fi
