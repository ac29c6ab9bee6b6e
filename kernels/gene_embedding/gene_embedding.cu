// Gene embedding on CUDA: one warp for each (cell, rank); the row stays in registers between its one read and one write.
//
// Compiled at run time for one hidden size and one combination of number types, so that loops unroll fully:
//   C2T_HIDDEN_SIZE   H
//   C2T_TABLE   0 float32, 1 float16, 3 int8 with a scale per row
//   C2T_OUT     0 float32, 1 float16, 2 bfloat16, 3 int8 with one scale

#ifndef C2T_WARPS
#define C2T_WARPS 8  // of a block; each embeds one row
#endif

#if C2T_HIDDEN_SIZE % 128 == 0
#define C2T_VECTOR 4  // neighbouring elements of a lane: 16-byte loads of float32
#else
#define C2T_VECTOR 1
#endif
#define C2T_VECTORS ((C2T_HIDDEN_SIZE + 32 * C2T_VECTOR - 1) / (32 * C2T_VECTOR))

template <class T> struct alignas(sizeof(T) * C2T_VECTOR) Pack { T at[C2T_VECTOR]; };

#include "cuda/number_types.cuh"

#if C2T_OUT == 3
typedef signed char Out;
__device__ inline Out store(float v, float scale) {
    return Out(__float2int_rn(fminf(fmaxf(__fdiv_rn(v, scale), -128.0f), 127.0f)));
}
#else
__device__ inline Out store(float v, float) { return narrow(v); }
#endif

__device__ inline float warp_sum(float v) {
#pragma unroll
    for (int step = 16; step; step >>= 1) v += __shfl_xor_sync(0xFFFFFFFFu, v, step);
    return v;
}

extern "C" __global__ void __launch_bounds__(32 * C2T_WARPS) embed_genes(
    const int* __restrict__ tokens,            // [B, token_stride]
    const int* __restrict__ lengths,           // [B]
    const Table* __restrict__ word,            // [V, H]
    const Table* __restrict__ position,        // [P, H]
    const float* __restrict__ word_scale,      // [V], int8 only
    const float* __restrict__ position_scale,  // [P], int8 only
    const float* __restrict__ token_type,      // [H] or null
    const float* __restrict__ gamma,           // [H]
    const float* __restrict__ beta,            // [H]
    Out* __restrict__ out,                     // [B, S, H]
    long long cells, long long ranks, long long token_stride, float epsilon, float out_scale) {
    const long long row = (long long)blockIdx.x * C2T_WARPS + threadIdx.x / 32;
    if (row >= cells * ranks) return;  // whole warps leave together
    const long long cell = row / ranks, rank = row % ranks;
    const int lane = threadIdx.x % 32;
    out += row * C2T_HIDDEN_SIZE;

    if (rank >= lengths[cell]) {
#pragma unroll
        for (int g = 0; g < C2T_VECTORS; ++g) {
            const int i = (g * 32 + lane) * C2T_VECTOR;
            if (C2T_HIDDEN_SIZE % (32 * C2T_VECTOR) == 0 || i < C2T_HIDDEN_SIZE) *(Pack<Out>*)(out + i) = Pack<Out>{};
        }
        return;
    }

    const long long token = tokens[cell * token_stride + rank];
    word += token * C2T_HIDDEN_SIZE;
    position += rank * C2T_HIDDEN_SIZE;
#if C2T_TABLE == 3
    const float word_factor = word_scale[token], position_factor = position_scale[rank];
#endif
    float x[C2T_VECTORS][C2T_VECTOR];
    float sum = 0.0f;
#pragma unroll
    for (int g = 0; g < C2T_VECTORS; ++g) {
        const int i = (g * 32 + lane) * C2T_VECTOR;
        const bool inside = C2T_HIDDEN_SIZE % (32 * C2T_VECTOR) == 0 || i < C2T_HIDDEN_SIZE;
        Pack<Table> w{}, p{};
        Pack<float> t{};
        if (inside) {
            w = *(const Pack<Table>*)(word + i);
            p = *(const Pack<Table>*)(position + i);
            if (token_type) t = *(const Pack<float>*)(token_type + i);
        }
#pragma unroll
        for (int k = 0; k < C2T_VECTOR; ++k) {
#if C2T_TABLE == 3
            x[g][k] = widen(w.at[k]) * word_factor + widen(p.at[k]) * position_factor + t.at[k];
#else
            x[g][k] = widen(w.at[k]) + widen(p.at[k]) + t.at[k];
#endif
            sum += x[g][k];
        }
    }
    const float mean = warp_sum(sum) / C2T_HIDDEN_SIZE;

    // Measure the rounding error of the mean and subtract it, as csrc/gene_embedding/gene_embedding.inl does.
    float residue = 0.0f, squares = 0.0f;
#pragma unroll
    for (int g = 0; g < C2T_VECTORS; ++g) {
        const bool inside = C2T_HIDDEN_SIZE % (32 * C2T_VECTOR) == 0 || (g * 32 + lane) * C2T_VECTOR < C2T_HIDDEN_SIZE;
#pragma unroll
        for (int k = 0; k < C2T_VECTOR; ++k) {
            x[g][k] -= mean;
            if (inside) {
                residue += x[g][k];
                squares += x[g][k] * x[g][k];
            }
        }
    }
    const float correction = warp_sum(residue) / C2T_HIDDEN_SIZE;
    float variance = warp_sum(squares) / C2T_HIDDEN_SIZE - correction * correction;
    variance = variance < 0.0f ? 0.0f : variance;
    const float inverse = __fdiv_rn(1.0f, __fsqrt_rn(variance + epsilon));

#pragma unroll
    for (int g = 0; g < C2T_VECTORS; ++g) {
        const int i = (g * 32 + lane) * C2T_VECTOR;
        if (C2T_HIDDEN_SIZE % (32 * C2T_VECTOR) != 0 && i >= C2T_HIDDEN_SIZE) continue;
        const Pack<float> scale = *(const Pack<float>*)(gamma + i), shift = *(const Pack<float>*)(beta + i);
        Pack<Out> y;
#pragma unroll
        for (int k = 0; k < C2T_VECTOR; ++k) {
            y.at[k] = store((x[g][k] - correction) * inverse * scale.at[k] + shift.at[k], out_scale);
        }
        *(Pack<Out>*)(out + i) = y;
    }
}
