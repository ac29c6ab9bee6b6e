// Rows of the text token table to a decoder's input, converted from one number type to the other; one block for each row.
//
// Compiled at run time for one combination of number types:
//   C2T_TABLE   0 float32, 1 float16, 3 int8 with a scale per row
//   C2T_OUT     0 float32, 1 float16, 2 bfloat16

#ifndef C2T_THREADS
#define C2T_THREADS 256
#endif

#include "cuda/number_types.cuh"

extern "C" __global__ void __launch_bounds__(C2T_THREADS) token_rows(
    const int* __restrict__ token_ids,  // [N], -1: take the row from `given`
    const Table* __restrict__ table,    // [V, D]
    const float* __restrict__ scale,    // [V], int8 only
    const float* __restrict__ given,    // [N, D], read where a token is -1; may be null if none is
    Out* __restrict__ out,              // [N, D]
    long long vocabulary_size, long long hidden_size) {
    const long long row = blockIdx.x;
    const int token = token_ids[row];
    out += row * hidden_size;
    if (token < 0) {
        given += row * hidden_size;
        for (long long i = threadIdx.x; i < hidden_size; i += C2T_THREADS) out[i] = narrow(given[i]);
        return;
    }
    if (token >= vocabulary_size) return;  // the host has checked; this guards memory against a bug there
    table += (long long)token * hidden_size;
#if C2T_TABLE == 3
    const float factor = scale[token];
#else
    const float factor = 1.0f;
#endif
    for (long long i = threadIdx.x; i < hidden_size; i += C2T_THREADS) out[i] = narrow(widen(table[i]) * factor);
}
