#!/usr/bin/env bash
# Gets what a fresh machine lacks to build and run Tillside: a C compiler and linker, and the
# server binaries of PostgreSQL. As root it installs them with apt; otherwise it says what to do.
# It changes nothing when nothing is missing.
set -euo pipefail

servers=/usr/lib/postgresql
oldest=15

has_server() {
  local folder
  for folder in "$servers"/*/bin; do
    if [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ]; then
      local version=${folder#"$servers"/}
      version=${version%/bin}
      if [ "$version" -ge "$oldest" ] 2>/dev/null; then return 0; fi
    fi
  done
  # Not Debian: wherever pg_config says, as the service itself will look.
  folder=$(pg_config --bindir 2>/dev/null) || return 1
  [ -x "$folder/postgres" ] && [ -x "$folder/initdb" ]
}

missing=()
command -v cc >/dev/null || missing+=(gcc libc6-dev)
has_server || missing+=(postgresql)

if ! command -v cargo >/dev/null; then
  echo 'Rust is missing: install it from https://rustup.rs and start again.' >&2
  exit 1
fi
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "Missing: ${missing[*]} (PostgreSQL $oldest or newer). On Debian and Ubuntu:" >&2
  echo "  sudo apt-get install ${missing[*]}" >&2
  exit 1
fi

echo "Installing ${missing[*]} …"
# The packages would start a server of their own on port 5432. Nobody asked for that one.
quiet=/etc/postgresql-common/createcluster.d/tillside.conf
mkdir -p "$(dirname "$quiet")"
trap 'rm -f "$quiet"' EXIT
echo 'create_main_cluster = false' >"$quiet"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q </dev/null
apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null

if ! has_server; then
  echo "The packages of this system have no PostgreSQL $oldest or newer. Add the packages of" >&2
  echo "https://apt.postgresql.org and start again." >&2
  exit 1
fi
