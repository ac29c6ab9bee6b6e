// Rows of the text token table into a decoder's input: one block per row, looked up, widened, scaled, narrowed.
//
// Compiled at run time for one combination of types, given as macros:
//   C2T_TABLE   0 float32, 1 float16, 3 int8 with a scale per row
//   C2T_OUT     0 float32, 1 float16, 2 bfloat16

#ifndef C2T_THREADS
#define C2T_THREADS 256
#endif

#include "cuda/number_types.cuh"

extern "C" __global__ void __launch_bounds__(C2T_THREADS) token_rows(
    const int* __restrict__ token_ids,  // [N], -1: the row is given
    const Table* __restrict__ table,    // [V, D]
    const float* __restrict__ scale,    // [V], int8 only
    const float* __restrict__ given,    // [N, D], null where no row is given
    Out* __restrict__ out,              // [N, D]
    long long vocabulary, long long width) {
    const long long row = blockIdx.x;
    const int token = token_ids[row];
    out += row * width;
    if (token < 0) {
        given += row * width;
        for (long long i = threadIdx.x; i < width; i += C2T_THREADS) out[i] = narrow(given[i]);
        return;
    }
    if (token >= vocabulary) return;  // the host has checked: this only keeps a bug out of other memory
    table += (long long)token * width;
#if C2T_TABLE == 3
    const float factor = scale[token];
#else
    const float factor = 1.0f;
#endif
    for (long long i = threadIdx.x; i < width; i += C2T_THREADS) out[i] = narrow(widen(table[i]) * factor);
}
