#!/bin/sh
# Builds DeePMD-kit (OpenLAM) against the torch that is installed: its wheels on PyPI are built for another one.
# usage: install-deepmd.sh PYTHON    (in the folder of constraints.txt)
set -eu

python="$1"
release="$(grep '^deepmd-kit==' constraints.txt)"

# A wheel that pip has kept from a build against another torch does not load its operators.
works() {
    "$python" - "${release#*==}" >/dev/null 2>&1 <<'EOF'
import sys
from importlib.metadata import version

assert version("deepmd-kit") == sys.argv[1]
from deepmd.pt.cxx_op import ENABLE_CUSTOMIZED_OP

assert ENABLE_CUSTOMIZED_OP
EOF
}

build() {
    DP_ENABLE_TENSORFLOW=0 DP_ENABLE_PYTORCH=1 DP_VARIANT=cpu \
        PYTORCH_ROOT="$("$python" -c 'import importlib.util as u; print(u.find_spec("torch").submodule_search_locations[0])')" \
        SKBUILD_CMAKE_DEFINE="CMAKE_DISABLE_FIND_PACKAGE_MPI=ON" \
        "$python" -m pip install --quiet --constraint constraints.txt --no-binary deepmd-kit "$@" "$release"
}

works && exit 0
build
works && exit 0
echo "setup: deepmd-kit does not load with this torch; building it again without pip's cache" >&2
build --no-cache-dir --force-reinstall --no-deps
works || {
    echo "setup: deepmd-kit was built but does not load; remove it with: $python -m pip uninstall deepmd-kit" >&2
    exit 1
}
