#!/bin/sh
# benchmarks/gpu_engines.py on a machine without a network: what it needs is packed here, in pieces that travel.
#
#   benchmarks/gpu_engines.sh pack FOLDER 1B_BUNDLE PYTHON_VERSION [PACKAGE...]   where there is a network
#   benchmarks/gpu_engines.sh run FOLDER RESULT.json                             where the GPU is, in the clone
#
# PACKAGE: what the GPU's machine lacks. With PyTorch for CUDA 13 there: onnxruntime-gpu msgspec. Without: those and
# cuda-core cuda-bindings cuda-pathfinder nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cublas nvidia-curand (0.9 GB).
set -eu
here=$(dirname "$0")
folder=$2
case $1 in
pack)
    bundle=$3 version=$4
    shift 4
    mkdir -p "$folder/wheels" "$folder/pieces"
    platforms=""
    for p in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux2010 manylinux1; do
        platforms="$platforms --platform ${p}_x86_64"
    done
    # shellcheck disable=SC2086 # one word each
    python3 -m pip download --no-deps --only-binary=:all: --python-version "$version" --implementation cp \
        $platforms -d "$folder/wheels" "${@:-onnxruntime-gpu msgspec}"
    c2t export "$here/../examples/demo/checkpoint" -o "$folder/demo"
    # Hopper is no RTX GPU: whether its plans load there all the same is tried, with sm_80's.
    c2t build "$folder/demo" --target rtx --gpu sm_80 --cache "$folder/plans" || echo "no plans: c2t[rtx] is missing"
    python3 "$here/random_bundle.py" strip "$bundle" "$folder/skeleton"
    (cd "$folder/wheels" && for wheel in *.whl; do split -b 56M -d "$wheel" "../pieces/$wheel."; done)
    du -h "$folder"/*
    ;;
run)
    site=$folder/site
    if [ ! -d "$site" ]; then
        mkdir -p "$folder/joined"
        for first in "$folder"/pieces/*.whl.00; do
            wheel=${first%.00}
            cat "$wheel".?? > "$folder/joined/$(basename "$wheel")"
        done
        python3 -m pip install -q --no-index --no-deps --no-compile --target "$site.part" "$folder"/joined/*.whl
        mv "$site.part" "$site"
    fi
    # c2t is the clone itself: .pkg/c2t is a link to it.
    export PYTHONPATH="$site:$here/../.pkg" PYTHONUNBUFFERED=1
    set -- "$3"
    [ -d "$folder/plans" ] && set -- "$@" --plans "$folder/plans"
    exec python3 "$here/gpu_engines.py" --demo "$folder/demo" --skeleton "$folder/skeleton" \
        --scratch "$folder/scratch" -o "$@"
    ;;
*)
    sed -n '2,8p' "$0"
    exit 2
    ;;
esac
