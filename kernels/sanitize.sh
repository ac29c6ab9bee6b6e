#!/usr/bin/env bash
# Build the CPU kernels with AddressSanitizer and UndefinedBehaviorSanitizer and run their tests under each
# instruction set of this machine. Usage, from anywhere: bash kernels/sanitize.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

flags="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
cmake -S "$root/kernels" -B "$build" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS="$flags" \
  -DCMAKE_SHARED_LINKER_FLAGS="$flags" >/dev/null
cmake --build "$build" -j "$(nproc)" >/dev/null

# Python itself is not instrumented: the run-time libraries must come first, and its own leaks are not ours.
export LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so)"
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
export C2T_KERNELS_LIBRARY="$build/libc2t_kernels.so" PYTHONSAFEPATH=1
case $(uname -m) in
  aarch64 | arm64) isas="scalar neon" ;;
  *) isas="scalar avx2 avx512" ;;
esac
for isa in ${C2T_ISAS:-$isas}; do
  echo "== $isa"
  C2T_FORCE_ISA=$isa pytest -q -p no:cacheprovider \
    "$root/tests/kernels/test_attention.py" "$root/tests/kernels/test_gene_embedding.py" \
    "$root/tests/kernels/test_rank_value.py"
done
