#!/bin/sh
# SPDX-FileCopyrightText: 2026 The opennebula.elastichosts authors
# SPDX-License-Identifier: GPL-3.0-or-later
#
# Makes the virtual environment that demo and tests run in, with exactly the packages of tests/requirements.txt.
# usage: make_venv.sh FOLDER [PYTHON]
set -eu

folder=$1
wanted=${2:-}
requirements=$(dirname "$0")/../requirements.txt

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1
}

python=
for candidate in $wanted python3 python3.13 python3.12 python3.11; do
    if fits "$candidate"; then
        python=$candidate
        break
    fi
    if [ "$candidate" = "$wanted" ]; then
        echo "make: $wanted does not run as Python 3.11, 3.12 or 3.13; name another with make PYTHON=..." >&2
        exit 1
    fi
done
if [ -z "$python" ]; then
    echo "make: no Python 3.11, 3.12 or 3.13 found on PATH; install one, or name it with make PYTHON=/path/to/python3" >&2
    exit 1
fi

echo "Setting up $folder with $("$python" --version) (once; a minute or so)"
rm -rf "$folder"
if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    "$python" -m venv "$folder"
elif "$python" -m pip --version >/dev/null 2>&1; then
    # Debian's Python without python3-venv: its pip can fill an empty environment just as well.
    "$python" -m venv --without-pip "$folder"
    "$python" -m pip -qq --python "$folder/bin/python" install pip
else
    echo "make: $python has neither venv nor pip; on Debian: apt-get install python3-venv" >&2
    exit 1
fi
"$folder/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --requirement "$requirements"
touch "$folder/.ready"
