// Products of a decoder step's rows with the streamed matrices, on tensor cores; see decoder_step.cu.
#pragma once

#include "weight_stream.cuh"

// A row's and its partner's (8 rows on) numbers of a tile, as tensor cores take them.
struct Activations {
    Words row;
#if C2T_ROWS == 16
    Words partner;
#endif
};

__device__ inline void add_tile(float sum[2][4], const Activations& a, const Words& first, const Words& second) {
#if C2T_ROWS == 16
    const Words p = a.partner;
#else
    const Words p = {0, 0, 0, 0};
#endif
    multiply_add(sum[0], a.row.x, p.x, a.row.y, p.y, first.x, first.y);
    multiply_add(sum[1], a.row.x, p.x, a.row.y, p.y, second.x, second.y);
    multiply_add(sum[0], a.row.z, p.z, a.row.w, p.w, first.z, first.w);
    multiply_add(sum[1], a.row.z, p.z, a.row.w, p.w, second.z, second.w);
}

// The sums of the warps' parts of a unit, by row and pair of columns: `finish(row, column, one, other)` on one lane.
template <class Finish>
__device__ inline void meet(float* meeting, const float sum[2][4], int rows, int unit, Finish finish) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row = lane / 4, column = lane % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
#pragma unroll
        for (int i = 0; i < C2T_ROWS / 4; ++i) {  // two columns of the row, then of the row 8 further
            const int at = (row + i / 2 * 8) * 16 + half * 8 + column + i % 2;
            if (row + i / 2 * 8 < rows) meeting[at * (C2T_WARPS + 1) + warp] = sum[half][i];
        }
    }
    __syncthreads();
    // A warp adds two columns at a time, 16 lanes each.
    for (int pair = warp; pair < rows * 8; pair += C2T_WARPS) {
        float value = 0.0f;
        const float* place = meeting + (pair * 2 + lane / 16) * (C2T_WARPS + 1);
        for (int i = lane % 16; i < C2T_WARPS; i += 16) value += place[i];
        for (int step = 8; step; step /= 2) value += __shfl_xor_sync(0xFFFFFFFF, value, step);
        const float other = __shfl_xor_sync(0xFFFFFFFF, value, 16);
        if (lane == 0) finish(pair / 8, unit * 16 + pair % 8 * 2, value, other);
    }
}

// A matrix product whose activations fit into registers; `meeting` alternates, so that units need one barrier each.
template <int COUNT, class Finish>
__device__ inline void multiply(Stream& stream, const Activations (&a)[COUNT], const Matrix& matrix, int rows,
                                float* meeting, Finish finish) {
    const int mine = matrix.tiles_of_warp();
    int turn = 0;
    for (int unit = matrix.first; unit < matrix.units; unit += gridDim.x) {
        float sum[2][4] = {};
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            if (i < mine) {
                Words first, second;
                stream.take(first, second);
                add_tile(sum, a[i], first, second);
            }
        }
        meet(meeting + turn * MEETING, sum, rows, unit, finish);
        turn ^= 1;
    }
}

// float16 activations [rows, sums] of a tile of the warp's part; zero beyond the rows and the sum.
template <int SUMS>
__device__ inline Activations read_tile(const unsigned short* values, int tile, int rows) {
    const int row = threadIdx.x % 32 / 4, k = tile * 32 + threadIdx.x % 4 * 8;
    Activations a = {};
    if (k < SUMS && row < rows) a.row = load_shared_by_blocks((const Words*)(values + row * SUMS + k));
#if C2T_ROWS == 16
    if (k < SUMS && row + 8 < rows) a.partner = load_shared_by_blocks((const Words*)(values + (row + 8) * SUMS + k));
#endif
    return a;
}

// Rows of the stream between layers over their root mean square; `source(row)` is where a row lies. The weights of the
// normalisation are in the matrix that follows.
template <class Source>
__device__ inline void read_normalised(Activations (&a)[ROUNDS(C2T_WIDTH)], const Step& s, int rows, float* squares,
                                       Source source) {
    const int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 4, quarter = threadIdx.x % 4;
    float x[C2T_ROWS / 8][ROUNDS(C2T_WIDTH)][8];
#pragma unroll
    for (int half = 0; half < C2T_ROWS / 8; ++half) {
        const int mine = row + half * 8;
        const float* values = s.residual + (mine < rows ? source(mine) * C2T_WIDTH : 0);
        float square = 0.0f;
#pragma unroll
        for (int i = 0; i < ROUNDS(C2T_WIDTH); ++i) {
            const int k = (i * C2T_WARPS + warp) * 32 + quarter * 8;
            const bool there = mine < rows && k < C2T_WIDTH;
#pragma unroll
            for (int j = 0; j < 8; j += 4) {
                const Words w = there ? load_shared_by_blocks((const Words*)(values + k + j)) : Words{0, 0, 0, 0};
                x[half][i][j] = __uint_as_float(w.x);
                x[half][i][j + 1] = __uint_as_float(w.y);
                x[half][i][j + 2] = __uint_as_float(w.z);
                x[half][i][j + 3] = __uint_as_float(w.w);
            }
#pragma unroll
            for (int j = 0; j < 8; ++j) square += x[half][i][j] * x[half][i][j];
        }
        square += __shfl_xor_sync(0xFFFFFFFF, square, 1);
        square += __shfl_xor_sync(0xFFFFFFFF, square, 2);
        if (quarter == 0) squares[mine * C2T_WARPS + warp] = square;
    }
    __syncthreads();
#pragma unroll
    for (int half = 0; half < C2T_ROWS / 8; ++half) {
        float total = 0.0f;
        for (int i = 0; i < C2T_WARPS; ++i) total += squares[(row + half * 8) * C2T_WARPS + i];
        const float factor = 1.0f / sqrtf(total / C2T_WIDTH + s.epsilon);
#pragma unroll
        for (int i = 0; i < ROUNDS(C2T_WIDTH); ++i) {
            float y[8];
#pragma unroll
            for (int j = 0; j < 8; ++j) y[j] = x[half][i][j] * factor;
            const Words halves = {pack_halves(y[0], y[1]), pack_halves(y[2], y[3]), pack_halves(y[4], y[5]),
                                  pack_halves(y[6], y[7])};
#if C2T_ROWS == 16
            if (half) a[i].partner = halves;
#endif
            if (half == 0) a[i].row = halves;
        }
    }
}
