// RMS-normalised rows of the residual stream, as the linears of a decoder step take them; see decoder_step.cu.
#pragma once

#include "decoder_step/step_linears.cuh"

// A lane's share of a row of the residual stream, float32; zeros beyond the rows and hidden_size.
template <bool INT8> struct ResidualRow {
    static const int NUMBERS = TILE_INPUTS<INT8> / 4;  // of a tile
    float number[CHUNK_TILES][NUMBERS];

    __device__ void read(const Step& s, int row, bool exists) {
        const float* values = s.residual + (exists ? row * C2T_HIDDEN_SIZE : 0);
        const int first = first_input<INT8>(0);
#pragma unroll
        for (int i = 0; i < CHUNK_TILES; ++i) {
#pragma unroll
            for (int j = 0; j < NUMBERS; j += 4) {
                const int k = first + i * TILE_INPUTS<INT8> + j;
                const Words four = exists && k < C2T_HIDDEN_SIZE ? load_from_l2((const Words*)(values + k))
                                                                 : Words{0, 0, 0, 0};
                number[i][j] = __uint_as_float(four.x);
                number[i][j + 1] = __uint_as_float(four.y);
                number[i][j + 2] = __uint_as_float(four.z);
                number[i][j + 3] = __uint_as_float(four.w);
            }
        }
    }
    __device__ float sum_of_squares() const {
        float sum[2] = {};
#pragma unroll
        for (int i = 0; i < 8 * C2T_CHUNK; ++i) {
            const float x = number[i / NUMBERS][i % NUMBERS];
            sum[i % 2] = fmaf(x, x, sum[i % 2]);
        }
        return sum[0] + sum[1];
    }
};

// Normalised activations of a chunk: in registers or in shared memory, where each lane reads only what it has written.
template <bool INT8, bool SHARED> struct ChunkActivations {
    Activations<INT8> groups[CHUNK_GROUPS];

    __device__ explicit ChunkActivations(Words*) {}
    __device__ void set(int tile, int row_tile, const Words& words) {
        groups[tile / C2T_GROUP].tile[tile % C2T_GROUP][row_tile] = words;
    }
    __device__ Activations<INT8> operator()(int group) const { return groups[group]; }
};
template <bool INT8> struct ChunkActivations<INT8, true> {
    Words* mine;

    __device__ explicit ChunkActivations(Words* shared)
        : mine(shared + threadIdx.x / 32 * (CHUNK_TILES * ROW_TILES * 32) + threadIdx.x % 32) {}
    __device__ void set(int tile, int row_tile, const Words& words) { mine[(tile * ROW_TILES + row_tile) * 32] = words; }
    __device__ Activations<INT8> operator()(int group) const {
        Activations<INT8> a;
#pragma unroll
        for (int i = 0; i < C2T_GROUP * ROW_TILES; ++i) {
            a.tile[i / ROW_TILES][i % ROW_TILES] = mine[(group * C2T_GROUP * ROW_TILES + i) * 32];
        }
        return a;
    }
};
// Words of shared memory for it.
template <bool INT8>
constexpr int ACTIVATION_WORDS = C2T_SHARED_ACTIVATIONS ? C2T_STREAM_WARPS * CHUNK_TILES * ROW_TILES * 32 : 0;

// Read and normalise rows; row i is row `source(i)` of the stream. The normalisation's own weights have been multiplied
// into a matrix of float16 that follows (pack_weights.cu); for one of int8 they are `norm`.
template <bool INT8, class Target, class Source>
__device__ inline void read_normalised(Target& a, const Step& s, int rows, float* squares, const float* norm,
                                       int layer, int linear, Source source) {
    const int row = threadIdx.x % 32 / 4;
    ResidualRow<INT8> x;
    const auto read = [&](int row_tile) {
        const int mine = row + row_tile * 8;
        x.read(s, mine < rows ? source(mine) : 0, mine < rows);
    };
    const auto square = [&](int row_tile) {
        float square = x.sum_of_squares();
        square += __shfl_xor_sync(0xFFFFFFFF, square, 1);
        square += __shfl_xor_sync(0xFFFFFFFF, square, 2);
        if (threadIdx.x % 4 == 0) squares[(row + row_tile * 8) * PARTIAL_STRIDE + threadIdx.x / 32] = square;
    };
    const auto normalise = [&](int row_tile) {
        const float mean = sum_of_partials(squares + (row + row_tile * 8) * PARTIAL_STRIDE) * (1.0f / C2T_HIDDEN_SIZE);
        const float factor = rsqrtf(mean + s.epsilon);
#pragma unroll
        for (int i = 0; i < CHUNK_TILES; ++i) {
            float y[ResidualRow<INT8>::NUMBERS];
#pragma unroll
            for (int j = 0; j < ResidualRow<INT8>::NUMBERS; ++j) y[j] = x.number[i][j] * factor;
            unsigned word[4];
            if constexpr (INT8) {
                const InputSteps steps(s, layer, linear);
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    const Words four = *(const Words*)(norm + first_input<INT8>(0) + i * TILE_INPUTS<INT8> + j * 4);
                    word[j] = pack_bytes(steps(y[4 * j] * __uint_as_float(four.x)),
                                         steps(y[4 * j + 1] * __uint_as_float(four.y)),
                                         steps(y[4 * j + 2] * __uint_as_float(four.z)),
                                         steps(y[4 * j + 3] * __uint_as_float(four.w)));
                }
            } else {
#pragma unroll
                for (int j = 0; j < 4; ++j) word[j] = pack_halves(y[2 * j], y[2 * j + 1]);
            }
            a.set(i, row_tile, Words{word[0], word[1], word[2], word[3]});
        }
    };
    // Each row tile is read twice but the last: the registers have room for 8 rows only.
    if constexpr (C2T_SHARED_ACTIVATIONS) {
#pragma unroll 1
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) read(row_tile), square(row_tile);
        wait_at(SQUARES_WRITTEN, STREAM_THREADS);
        normalise(ROW_TILES - 1);
#pragma unroll 1
        for (int row_tile = ROW_TILES - 2; row_tile >= 0; --row_tile) read(row_tile), normalise(row_tile);
    } else {
#pragma unroll
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) read(row_tile), square(row_tile);
        wait_at(SQUARES_WRITTEN, STREAM_THREADS);
        normalise(ROW_TILES - 1);
#pragma unroll
        for (int row_tile = ROW_TILES - 2; row_tile >= 0; --row_tile) read(row_tile), normalise(row_tile);
    }
}

// The shared memory that `norm` of read_normalised lies in: floats of a chunk, zeros beyond hidden_size.
#define NORM_FLOATS (SOME_INT8 ? 32 * C2T_STREAM_WARPS * C2T_CHUNK : 0)
// The epilogue warps copy a normalisation's weights there while the block waits for others. Not the warp that signals: a
// signal waits for the memory accesses that its warp has in flight.
__device__ inline void copy_norm(const float* weights, float* norm) {
    const int first = STREAM_THREADS + 32;
    if (threadIdx.x < first) return;
#pragma unroll 4
    for (int at = (threadIdx.x - first) * 4; at < NORM_FLOATS; at += (THREADS - first) * 4) {
        *(Words*)(norm + at) = at < C2T_HIDDEN_SIZE ? *(const Words*)(weights + at) : Words{0, 0, 0, 0};
    }
}
