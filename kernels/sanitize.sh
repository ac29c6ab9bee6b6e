#!/usr/bin/env bash
# Build the CPU kernels with AddressSanitizer and UndefinedBehaviorSanitizer, then with ThreadSanitizer, and run their
# tests under each instruction set of this machine. Usage, from anywhere: bash kernels/sanitize.sh
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
export PYTHONSAFEPATH=1
case $(uname -m) in
  aarch64 | arm64) isas="scalar neon" ;;
  *)
    isas="scalar avx2 avx512"
    if grep -qw amx_int8 /proc/cpuinfo; then isas+=" amx"; fi
    ;;
esac

# sanitize NAME LIBRARIES TEST...: build with -fsanitize=NAME; Python is not instrumented, so LIBRARIES must come first.
sanitize() {
  local name=$1 libraries=$2
  shift 2
  local flags="-fsanitize=$name -fno-sanitize-recover=all -fno-omit-frame-pointer -g -O1"
  cmake -S "$root/kernels" -B "$build/$name" -DCMAKE_BUILD_TYPE=Debug -DCMAKE_CXX_FLAGS="$flags" \
    -DCMAKE_SHARED_LINKER_FLAGS="$flags" >/dev/null
  cmake --build "$build/$name" -j "$(nproc)" >/dev/null
  local preload=""
  for library in $libraries; do preload+="$(g++ -print-file-name="$library.so") "; done
  for isa in ${C2T_ISAS:-$isas}; do
    echo "== $name, $isa"
    LD_PRELOAD=$preload C2T_KERNELS_LIBRARY="$build/$name/libc2t_kernels.so" C2T_FORCE_ISA=$isa \
      pytest -q -p no:cacheprovider "${@/#/$root/tests/kernels/}"
  done
}

# Python's own leaks are not ours. GCC 12 does not align vectors of 64 bytes on the stack that the other check would use:
# https://gcc.gnu.org/bugzilla/show_bug.cgi?id=110027
export ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 UBSAN_OPTIONS=print_stacktrace=1
sanitize address,undefined "libasan libubsan" test_attention.py \
  test_count_maps.py test_gene_embedding.py test_rank_value.py test_cpu_encoder.py test_cpu_step.py test_cpu_step_pack.py \
  test_cpu_projector.py test_cpu_tokens.py ../runtime/generation/test_native_drafts.py ../runtime/generation/test_native_turns.py
# NumPy's threads are not instrumented, and a test starts threads in a child of fork().
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:die_after_fork=0
sanitize thread libtsan test_count_maps.py test_cpu_encoder.py test_cpu_projector.py test_cpu_step.py
