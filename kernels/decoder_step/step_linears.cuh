// The linears of a decoder step: rows times the streamed matrices, on tensor cores; see decoder_step.cu.
#pragma once

#include "decoder_step/weight_stream.cuh"

#define ROW_TILES (C2T_ROWS / 8)  // tensor cores take 8 rows at a time
// A number's partial sums, one of each streaming warp, lie side by side. The next number's begin this many floats
// further: the four extra ones spread lanes that each read four partial sums over different banks of shared memory.
#define PARTIAL_STRIDE (C2T_STREAM_WARPS + 4)
// Partial sums of int8 are exact in any order: the warps add them to one number. From one row to the next; the four extra
// ones spread the lanes of a warp over different banks.
#define INTEGER_STRIDE (16 + 4)
// Of one buffer of SumExchange.
#define EXCHANGE_FLOATS (ALL_INT8 ? 0 : C2T_ROWS * 16 * PARTIAL_STRIDE)
#define EXCHANGE_INTEGERS (SOME_INT8 ? C2T_ROWS * INTEGER_STRIDE : 0)
// Groups of activations that are read ahead: more would spill registers.
#define GROUPS_AHEAD (C2T_ROWS == 8 && !INT8 ? 2 : 1)
#define CHUNK_TILES (C2T_CHUNK / PIECES<INT8>)

// A lane's activations for a group of tiles, as tensor cores take them: 16 bytes of each tile and row.
template <bool INT8> struct Activations {
    static_assert(C2T_CHUNK % GROUP_PIECES == 0, "a chunk is whole groups");
    Words tile[C2T_GROUP][ROW_TILES];
};
// Index of the lane's first input in a group; those of the next tile are TILE_INPUTS further.
template <bool INT8> __device__ inline int first_input(int group) {
    const int warp = threadIdx.x / 32;
    const int piece =
        (group / CHUNK_GROUPS * C2T_STREAM_WARPS + warp) * C2T_CHUNK + group % CHUNK_GROUPS * GROUP_PIECES;
    return piece * 32 + threadIdx.x % 4 * (TILE_INPUTS<INT8> / 4);
}

// A lane's sums of a unit [16 columns, rows], as tensor cores leave them. Of few rows, two accumulators, for the even and
// the odd instructions: each instruction waits for the one before that adds to the same registers.
template <bool INT8> struct SumType { typedef float Number; };
template <> struct SumType<true> { typedef int Number; };
template <bool INT8> struct Sums {
    static const int COUNT = ROW_TILES <= 2 ? 2 : 1;
    typename SumType<INT8>::Number accumulator[COUNT][ROW_TILES][4];

    __device__ typename SumType<INT8>::Number sum(int row_tile, int i) const {
        return COUNT == 1 ? accumulator[0][row_tile][i]
                          : accumulator[0][row_tile][i] + accumulator[COUNT - 1][row_tile][i];
    }
};

// Add a group of tiles times its activations.
template <bool INT8>
__device__ inline void add_group(Sums<INT8>& sums, const Group& group, const Activations<INT8>& rows) {
#pragma unroll
    for (int i = 0; i < C2T_GROUP; ++i) {
#pragma unroll
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
            const Words& numbers = rows.tile[i][row_tile];
            multiply_add(sums.accumulator[0][row_tile], group.tile[i][0], numbers.x, numbers.y);
            multiply_add(sums.accumulator[Sums<INT8>::COUNT - 1][row_tile], group.tile[i][1], numbers.z, numbers.w);
        }
    }
}

// Add a chunk, from its group GROUP on. `next_rows(group)` returns the activations of one group after another. After the
// LAST chunk of a unit the caller must call refill_held.
template <bool INT8, bool LAST, int GROUP = 0, class Source>
__device__ inline void add_chunk(Sums<INT8>& sums, Stream& stream, Source next_rows) {
    if constexpr (GROUP < CHUNK_GROUPS) {
        constexpr int held_before = LAST && GROUP > CHUNK_GROUPS - HELD ? GROUP - (CHUNK_GROUPS - HELD) : 0;
        const Activations<INT8> rows = next_rows(GROUP);
        add_group<INT8>(sums, stream.wait_for_group<held_before>(), rows);
        if (!LAST || GROUP < CHUNK_GROUPS - HELD) stream.refill();
        add_chunk<INT8, LAST, GROUP + 1>(sums, stream, next_rows);
    }
}

// Sum of a number's partial sums, in a fixed order.
__device__ inline float sum_of_partials(const float* partials) {
    float sum[4] = {};
#pragma unroll
    for (int w = 0; w < C2T_STREAM_WARPS; w += 4) {
        const Words four = *(const Words*)(partials + w);
        sum[0] += __uint_as_float(four.x);
        sum[1] += __uint_as_float(four.y);
        sum[2] += __uint_as_float(four.z);
        sum[3] += __uint_as_float(four.w);
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// Partial sums on their way from the streaming warps (producers) to the epilogue warps (consumers), through two buffers
// in shared memory: the epilogue of one unit runs while the next unit is summed.
struct SumExchange {
    float* floats;
    int* integers;  // zeros where no sums are
    float* spoilt;  // [C2T_ROWS]: what the epilogue warps add to a row's results in int8, see mark_if_spoilt
    int units;      // produced or consumed by this warp so far

    __device__ int buffer() const { return units % 2; }

    // A streaming warp writes its partial sums of the next unit. From the third unit on the buffer must be empty first.
    template <bool INT8> __device__ void produce(const Sums<INT8>& sums, int rows) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        if (units >= 2) wait_at(EMPTY + buffer(), THREADS);
#pragma unroll
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {  // two rows of a column, then two of the column 8 further
                const int row = row_tile * 8 + lane % 4 * 2 + i % 2, column = lane / 4 + i / 2 * 8;
                if (row < rows) {
                    if constexpr (INT8) {
                        add_to_shared(integers + buffer() * EXCHANGE_INTEGERS + row * INTEGER_STRIDE + column,
                                      sums.sum(row_tile, i));
                    } else {
                        floats[buffer() * EXCHANGE_FLOATS + (row * 16 + column) * PARTIAL_STRIDE + warp] =
                            sums.sum(row_tile, i);
                    }
                }
            }
        }
        arrive_at(FULL + buffer(), THREADS);
        ++units;
    }
    // A number of the next unit, once all its partial sums are there.
    template <bool INT8> __device__ float consumed(int row, int column, float scale) {
        if constexpr (INT8) {
            int* sum = integers + buffer() * EXCHANGE_INTEGERS + row * INTEGER_STRIDE + column;
            const int whole = *sum;
            *sum = 0;
            return float(whole) * scale + spoilt[row];
        } else {
            return sum_of_partials(floats + buffer() * EXCHANGE_FLOATS + (row * 16 + column) * PARTIAL_STRIDE);
        }
    }
    // The epilogue warps add the partial sums of the next unit, and multiply each by its column's scale. They call
    // `epilogue(row, column, one, other)` on one lane for each pair of neighbouring columns; `column` is that of `one`
    // within the unit. `scales`: of the unit's columns, in int8.
    template <bool INT8, class Epilogue> __device__ void consume(int rows, const float* scales, Epilogue epilogue) {
        const int thread = threadIdx.x - STREAM_THREADS;
        const float scale = INT8 ? scales[thread % 16] : 1.0f;  // all numbers of a thread are of one column
        wait_at(FULL + buffer(), THREADS);
        for (int first = thread / 32 * 32; first < rows * 16; first += EPILOGUE_THREADS) {
            const int at = first + thread % 32;
            const float value = at < rows * 16 ? consumed<INT8>(at / 16, at % 16, scale) : 0.0f;
            const float other = __shfl_xor_sync(0xFFFFFFFF, value, 1);
            if (at < rows * 16 && at % 2 == 0) epilogue(at / 16, at % 16, value, other);
        }
        arrive_at(EMPTY + buffer(), THREADS);
        ++units;
    }
    // A streaming warp waits for the buffers that it filled last: each arrival at a barrier needs its wait.
    __device__ void end() {
        for (int b = 0; b < 2 && b < units; ++b) wait_at(EMPTY + b, THREADS);
    }
};

// Activations of a group from values [rows, inputs] in float16 or int8; zeros beyond the rows and the inputs.
template <bool INT8>
__device__ inline Activations<INT8> read_activations(const void* values, int group, int rows, int inputs) {
    const int row = threadIdx.x % 32 / 4, first = first_input<INT8>(group);
    Activations<INT8> a;
#pragma unroll
    for (int i = 0; i < C2T_GROUP; ++i) {
#pragma unroll
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
            const int mine = row + row_tile * 8, k = first + i * TILE_INPUTS<INT8>;
            const char* place = (const char*)values + mine * row_bytes<INT8>(inputs) + k * (INT8 ? 1 : 2);
            a.tile[i][row_tile] = k < inputs && mine < rows ? load_from_l2((const Words*)place) : Words{0, 0, 0, 0};
        }
    }
    return a;
}

// Sums of a unit over values [rows, inputs]. They are read ahead, since a read takes longer than a group's arithmetic.
template <bool INT8>
__device__ inline void add_read(Sums<INT8>& sums, Stream& stream, const void* values, int rows, int inputs) {
    const int chunks = CHUNKS(inputs), groups = chunks * CHUNK_GROUPS;
    Activations<INT8> next[GROUPS_AHEAD];
#pragma unroll
    for (int i = 0; i < GROUPS_AHEAD; ++i) {
        if (i < groups) next[i] = read_activations<INT8>(values, i, rows, inputs);
    }
    int ahead = GROUPS_AHEAD;
    const auto next_rows = [&](int) {
        const Activations<INT8> now = next[0];
#pragma unroll
        for (int i = 0; i + 1 < GROUPS_AHEAD; ++i) next[i] = next[i + 1];
        if (ahead < groups) next[GROUPS_AHEAD - 1] = read_activations<INT8>(values, ahead, rows, inputs);
        ++ahead;
        return now;
    };
    for (int chunk = 1; chunk < chunks; ++chunk) add_chunk<INT8, false>(sums, stream, next_rows);
    add_chunk<INT8, true>(sums, stream, next_rows);
}
