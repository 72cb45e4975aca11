#!/bin/sh
# Run pytest with a home and a temporary folder of their own, gone afterwards: browsers, Prefect and caches leave
# things in both.
set -eu
folder=$(mktemp -d -t rastersources-test-XXXXXX)
chmod 711 "$folder" # tests that are root become somebody else for a moment, who must reach a folder of theirs in it
memory=''
trap 'rm -rf "$folder" "$memory"' EXIT
trap 'exit 130' INT TERM
unset PYTHONDONTWRITEBYTECODE # else each of hundreds of processes compiles our modules anew
# No test speaks TLS. With one certificate, clients start 30 ms earlier than with those of the machine; with none, some do not.
sed '/END CERTIFICATE/q' .venv/lib/python3*/site-packages/certifi/cacert.pem >"$folder/certificate.pem"
# Tests make and drop hundreds of databases of 300 files. A disk can take long to find room for them; memory does not.
if [ -z "${RASTERSOURCES_HOME:-}" ] && [ "$(df --output=avail /dev/shm 2>/dev/null | tail -n 1)" -gt 4000000 ] 2>/dev/null; then
  memory=$(mktemp -d /dev/shm/rastersources-test-XXXXXX)
  chmod 711 "$memory"
fi
HOME="$folder" CLUSTER_OF_TESTS="$memory" TMPDIR="$folder" SSL_CERT_FILE="$folder/certificate.pem" SSL_CERT_DIR="$folder" .venv/bin/pytest "$@"
