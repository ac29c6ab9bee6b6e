#!/bin/sh
# benchmarks/gpu_engines.py on a machine without a network. What it needs is packed here, small enough to carry.
#
#   benchmarks/gpu_engines.sh pack FOLDER 1B_BUNDLE INT8_BUNDLE PYTHON_VERSION SM   where there is a network
#   benchmarks/gpu_engines.sh pack-rtx FOLDER PYTHON_VERSION              likewise: TensorRT for RTX, for the tests
#   benchmarks/gpu_engines.sh run FOLDER RESULT.json [OPTION...]         where the GPU is, in the clone
#
# INT8_BUNDLE: made of the 1B bundle by benchmarks/random_int8.py. Only skeletons of both are carried.
#
# `run` runs the tests (`pytest -m gpu`), then the measurements. FOLDER/rtx.* are pieces of one archive, of at most 54 MB
# each, so that they can be carried one after another. Without all of them, the tests of RTX plans are skipped by name.
#
# SM: the GPU's architecture, such as 90; ONNX Runtime's CUDA provider is carried with that machine code alone. The
# GPU's machine must have PyTorch for CUDA 13: the CUDA libraries that it brings are used.
set -eu
here=$(dirname "$0")
folder=${2:-}

# install TARGET PYTHON_VERSION PACKAGE...: wheels for the GPU's machine, whatever Python is here.
install() {
    target=$1 python_version=$2
    shift 2
    platforms=""
    for p in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014 manylinux2010 manylinux1; do
        platforms="$platforms --platform ${p}_x86_64"
    done
    # shellcheck disable=SC2086 # one word each
    python3 -m pip install -q --no-deps --only-binary=:all: --python-version "$python_version" --implementation cp \
        $platforms --target "$target" "$@"
}

case ${1:-} in
pack)
    bundle=$3 int8=$4 version=$5 architecture=$6
    mkdir -p "$folder"
    scratch=$(mktemp -d)
    install "$scratch/site" "$version" onnxruntime-gpu==1.31.0 msgspec \
        typer click shellingham typing-extensions rich markdown-it-py mdurl pygments \
        pytest iniconfig pluggy packaging h5py
    (cd "$scratch/site/onnxruntime" && rm -rf transformers tools quantization datasets capi/libonnxruntime.so.*)
    python3 "$here/gpu_library.py" "$scratch/site/onnxruntime/capi/libonnxruntime_providers_cuda.so" "$architecture"
    tar -C "$scratch" -cf - site | xz -T0 -6 > "$folder/site.tar.xz"
    rm -rf "$scratch" "$folder/demo" "$folder/skeleton" "$folder/skeleton-int8"
    c2t export "$here/../examples/demo/checkpoint" -o "$folder/demo"
    python3 "$here/preset_data.py" strip "$bundle" "$folder/skeleton"
    python3 "$here/preset_data.py" strip "$int8" "$folder/skeleton-int8"
    du -h "$folder"/*
    ;;
pack-rtx)
    version=$3
    scratch=$(mktemp -d)
    mkdir -p "$scratch/rtx"
    install "$scratch/rtx/site" "$version" \
        tensorrt-rtx-cu13-bindings==1.7.1.116 tensorrt-rtx-cu13-libs==1.7.1.116
    # The package that imports these two has no wheel; what is installed here is the same for every Python.
    cp -r "$(python3 -c 'import tensorrt_rtx; print(list(tensorrt_rtx.__path__)[0])')" "$scratch/rtx/site/tensorrt_rtx"
    rm -f "$folder"/rtx.*
    tar -C "$scratch" -cf - rtx | xz -T0 -9 | split -b 54MB -d - "$folder/rtx."
    (cd "$folder" && sha256sum rtx.[0-9]* > rtx.pieces)
    rm -rf "$scratch"
    du -h "$folder"/rtx.*
    ;;
run)
    site=$folder/site
    if [ ! -d "$site" ]; then
        tar -C "$folder" -xJf "$folder/site.tar.xz"
        # Where ONNX Runtime looks for them: the CUDA libraries that came with PyTorch.
        ln -s "$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])')" "$site/nvidia"
    fi
    # c2t is the clone itself: .pkg/c2t is a link to it.
    export PYTHONPATH="$site:$here/../.pkg" PYTHONUNBUFFERED=1
    result=$3
    shift 3
    if [ -f "$folder/rtx.pieces" ] && (cd "$folder" && sha256sum -c --status rtx.pieces); then
        [ -d "$folder/rtx" ] || cat "$folder"/rtx.[0-9]* | tar -C "$folder" -xJf -
        PYTHONPATH="$folder/rtx/site:$PYTHONPATH"
    fi
    exec python3 "$here/gpu_engines.py" --demo "$folder/demo" --skeleton "$folder/skeleton" \
        --skeleton-int8 "$folder/skeleton-int8" --scratch "$folder/scratch" -o "$result" "$@"
    ;;
*)
    sed -n '2,14p' "$0"
    exit 2
    ;;
esac
