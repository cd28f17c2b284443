#!/bin/sh
# Slice the example parts again: examples/slice.sh [FOLDER]   (default: beside this file)
# Needs prusa-slicer 2.5 (Debian: apt-get install prusa-slicer) and python3 with numpy.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
out=${1:-$here}
python=${PYTHON:-python3}
command -v prusa-slicer >/dev/null || {
    echo "slice.sh: prusa-slicer is not installed. Install it with: apt-get install prusa-slicer" >&2
    exit 2
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out" "$work/settings"

"$python" "$here/models/make_models.py" "$work"
for part in cable_clip washer; do
    for material in pla petg; do
        # An empty --datadir: settings of the user must not change the result.
        prusa-slicer --datadir "$work/settings" --loglevel 1 --load "$here/slicer/mk3s_$material.ini" \
            --center 125,105 --export-gcode --output "$out/${part}_$material.gcode" "$work/$part.stl"
    done
done
