#!/usr/bin/env bash
# Build the sdist, and of it the wheels for Linux: bash packaging/wheels/build.sh [x86_64] [aarch64]
#
# They are written to dist/. aarch64 is cross-compiled: Zig, which comes from PyPI, compiles against glibc 2.17 and puts
# libc++ into the library, so that a wheel runs on distributions since 2014. auditwheel looks at the symbols that the
# library needs and writes the tag that they allow; another tag than manylinux2014 is an error.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

tools=$root/build/wheel-tools # kept: Zig builds libc++ for each of its folders anew, which takes minutes
[ -x "$tools/bin/python" ] || python3 -m venv "$tools"
"$tools/bin/pip" install -q -r "$here/requirements.txt"
export PATH="$tools/bin:$PATH" PYTHONSAFEPATH=1
C2T_ZIG=$(python -c "import pathlib, ziglang; print(pathlib.Path(ziglang.__file__).parent / 'zig')")
export C2T_ZIG C2T_REQUIRE_NATIVE=1

mkdir -p "$root/dist"
python -m build --sdist -o "$work" "$root" >"$work/sdist.log" 2>&1 || { cat "$work/sdist.log"; exit 1; }
source=("$work"/c2t-*.tar.gz) # wheels are built of what is published, so that nothing is missing there
[ $# -gt 0 ] || set -- x86_64 aarch64
for arch in "$@"; do
    export C2T_ARCH=$arch _PYTHON_HOST_PLATFORM=linux-$arch # the latter is what the wheel is tagged with at first
    pip wheel -q --no-deps -w "$work/$arch" --config-settings=build-dir="$work/build-$arch" \
        --config-settings=cmake.args="-DCMAKE_TOOLCHAIN_FILE=$here/zig.cmake" "${source[0]}"
    auditwheel repair -w "$work/tagged" "$work/$arch"/*.whl
    mv "$work/tagged"/c2t-*-py3-none-manylinux2014_"$arch".*.whl "$root/dist" # fails if the tag is another one
done
mv "${source[0]}" "$root/dist"
ls -l "$root"/dist/c2t-*
