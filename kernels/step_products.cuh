// Products of a decoder step's rows with the streamed matrices, on tensor cores; see decoder_step.cu.
#pragma once

#include "weight_stream.cuh"

#define HALVES (C2T_ROWS / 8)  // tensor cores take 8 rows at a time
// Floats of the place where the warps' parts meet: a row's 16 columns by the warps, 17 apart for the banks.
#define MEETING (C2T_ROWS * 16 * (C2T_WARPS + 1))

// The warp's part of a chunk, as tensor cores take it: 8 numbers of a row, and of the row 8 further.
struct Activations {
    Words tile[C2T_CHUNK][HALVES];
};
// Where the lane's numbers of the warp's part of a chunk begin; those of the next tile lie 32 further.
__device__ inline int first_number(int chunk) {
    return (chunk * C2T_WARPS + int(threadIdx.x / 32)) * C2T_CHUNK * 32 + threadIdx.x % 4 * 8;
}

// Add a chunk of the streamed matrix's next unit to its sums [16 columns, rows]; even and odd products apart, since one
// waits for the one before.
__device__ inline void add_chunk(float sum[2][HALVES][4], Stream& stream, const Activations& a) {
#pragma unroll
    for (int i = 0; i < C2T_CHUNK; ++i) {
        Words first, second;
        stream.take(first, second);
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
            const Words& numbers = a.tile[i][half];
            multiply_add(sum[0][half], first, numbers.x, numbers.y);
            multiply_add(sum[1][half], second, numbers.z, numbers.w);
        }
    }
}

// The sums of the warps' parts of a unit: `finish(row, column, one, other)` for each pair of columns, on one lane.
template <class Finish>
__device__ inline void meet(float* meeting, const float sum[2][HALVES][4], int rows, int unit, Finish finish) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int half = 0; half < HALVES; ++half) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {  // two rows of a column, then of the column 8 further
            const int row = half * 8 + lane % 4 * 2 + i % 2, column = lane / 4 + i / 2 * 8;
            if (row < rows) {
                meeting[(row * 16 + column) * (C2T_WARPS + 1) + warp] = sum[0][half][i] + sum[1][half][i];
            }
        }
    }
    __syncthreads();
    for (int first = warp * 32; first < rows * 16; first += THREADS) {
        const int at = first + lane;
        float value = 0.0f;
        if (at < rows * 16) {
#pragma unroll
            for (int w = 0; w < C2T_WARPS; ++w) value += meeting[at * (C2T_WARPS + 1) + w];
        }
        const float other = __shfl_xor_sync(0xFFFFFFFF, value, 1);
        if (at < rows * 16 && at % 2 == 0) finish(at / 16, unit * 16 + at % 16, value, other);
    }
}

// A chunk of float16 activations [rows, sums]; zero beyond the rows and the sum.
__device__ inline Activations read_chunk(const unsigned short* values, int chunk, int rows, int sums) {
    const int row = threadIdx.x % 32 / 4;
    Activations a;
#pragma unroll
    for (int i = 0; i < C2T_CHUNK; ++i) {
        const int k = first_number(chunk) + i * 32;
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
            const int mine = row + half * 8;
            a.tile[i][half] = k < sums && mine < rows
                                  ? load_shared_by_blocks((const Words*)(values + mine * sums + k))
                                  : Words{0, 0, 0, 0};
        }
    }
    return a;
}

// Rows of the stream between layers over their root mean square; `source(row)` is where a row lies. The weights of the
// normalisation are in the matrix that follows.
template <class Source>
__device__ inline Activations read_normalised(const Step& s, int rows, float* squares, Source source) {
    const int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 4;
    float x[HALVES][C2T_CHUNK][8];
#pragma unroll
    for (int half = 0; half < HALVES; ++half) {
        const int mine = row + half * 8;
        const float* values = s.residual + (mine < rows ? source(mine) * C2T_WIDTH : 0);
#pragma unroll
        for (int i = 0; i < C2T_CHUNK; ++i) {
            const int k = first_number(0) + i * 32;
            const bool there = mine < rows && k < C2T_WIDTH;
#pragma unroll
            for (int j = 0; j < 8; j += 4) {
                const Words w = there ? load_shared_by_blocks((const Words*)(values + k + j)) : Words{0, 0, 0, 0};
                x[half][i][j] = __uint_as_float(w.x);
                x[half][i][j + 1] = __uint_as_float(w.y);
                x[half][i][j + 2] = __uint_as_float(w.z);
                x[half][i][j + 3] = __uint_as_float(w.w);
            }
        }
    }
#pragma unroll
    for (int half = 0; half < HALVES; ++half) {
        float square = 0.0f;
#pragma unroll
        for (int i = 0; i < C2T_CHUNK; ++i) {
#pragma unroll
            for (int j = 0; j < 8; ++j) square = fmaf(x[half][i][j], x[half][i][j], square);
        }
        square += __shfl_xor_sync(0xFFFFFFFF, square, 1);
        square += __shfl_xor_sync(0xFFFFFFFF, square, 2);
        if (threadIdx.x % 4 == 0) squares[(row + half * 8) * C2T_WARPS + warp] = square;
    }
    __syncthreads();
    Activations a;
#pragma unroll
    for (int half = 0; half < HALVES; ++half) {
        float total = 0.0f;
#pragma unroll
        for (int w = 0; w < C2T_WARPS; ++w) total += squares[(row + half * 8) * C2T_WARPS + w];
        const float factor = 1.0f / sqrtf(total / C2T_WIDTH + s.epsilon);
#pragma unroll
        for (int i = 0; i < C2T_CHUNK; ++i) {
            const float* y = x[half][i];
            a.tile[i][half] = {pack_halves(y[0] * factor, y[1] * factor), pack_halves(y[2] * factor, y[3] * factor),
                               pack_halves(y[4] * factor, y[5] * factor), pack_halves(y[6] * factor, y[7] * factor)};
        }
    }
    return a;
}
