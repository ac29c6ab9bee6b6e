// The linears of a decoder step: rows times the streamed matrices, on tensor cores; see decoder_step.cu.
#pragma once

#include "decoder_step/weight_stream.cuh"

#define ROW_TILES (C2T_ROWS / 8)  // tensor cores take 8 rows at a time
// A number's partial sums, one of each streaming warp, lie side by side. The next number's begin this many floats
// further: the four extra ones spread lanes that each read four partial sums over different banks of shared memory.
#define PARTIAL_STRIDE (C2T_STREAM_WARPS + 4)
#define EXCHANGE_FLOATS (C2T_ROWS * 16 * PARTIAL_STRIDE)  // of one buffer of SumExchange
// Groups of activations that are read ahead: more would spill registers.
#define GROUPS_AHEAD (C2T_ROWS == 8 && !INT8 ? 2 : 1)

// A lane's activations for a group of tiles, as tensor cores take them: 8 numbers of a row, and of the row 8 further.
template <bool INT8> struct Activations {
    static_assert(C2T_CHUNK % GROUP_PIECES == 0, "a chunk is whole groups");
    Words piece[GROUP_PIECES][ROW_TILES];
};
// Index of the lane's first input in a group; those of the next piece are 32 further.
template <bool INT8> __device__ inline int first_input(int group) {
    const int warp = threadIdx.x / 32;
    const int piece =
        (group / CHUNK_GROUPS * C2T_STREAM_WARPS + warp) * C2T_CHUNK + group % CHUNK_GROUPS * GROUP_PIECES;
    return piece * 32 + threadIdx.x % 4 * 8;
}

// A lane's sums of a unit [16 columns, rows], as tensor cores leave them. Two accumulators, for the even and the odd
// instructions: each instruction waits for the one before that adds to the same registers.
struct Sums {
    float accumulator[2][ROW_TILES][4];
};

// A piece's two halves as tensor cores take them.
struct Halves {
    Words half[2];
};
template <bool INT8> __device__ inline Halves halves_of_piece(const Group& group, int piece) {
    if constexpr (INT8) {
        const Words& bytes = group.tile[piece / 2][piece % 2];
        return {Words{halves_of_bytes<false>(bytes.x), halves_of_bytes<true>(bytes.x), halves_of_bytes<false>(bytes.y),
                      halves_of_bytes<true>(bytes.y)},
                Words{halves_of_bytes<false>(bytes.z), halves_of_bytes<true>(bytes.z), halves_of_bytes<false>(bytes.w),
                      halves_of_bytes<true>(bytes.w)}};
    } else {
        return {group.tile[piece][0], group.tile[piece][1]};
    }
}

// Add a group of tiles times its activations.
template <bool INT8>
__device__ inline void add_group(Sums& sums, const Group& group, const Activations<INT8>& rows) {
#pragma unroll
    for (int i = 0; i < GROUP_PIECES; ++i) {
        const Halves weights = halves_of_piece<INT8>(group, i);
#pragma unroll
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
            const Words& numbers = rows.piece[i][row_tile];
            multiply_add(sums.accumulator[0][row_tile], weights.half[0], numbers.x, numbers.y);
            multiply_add(sums.accumulator[1][row_tile], weights.half[1], numbers.z, numbers.w);
        }
    }
}

// Add a chunk, from its group GROUP on. `next_rows(group)` returns the activations of one group after another. After the
// LAST chunk of a unit the caller must call refill_held.
template <bool INT8, bool LAST, int GROUP = 0, class Source>
__device__ inline void add_chunk(Sums& sums, Stream& stream, Source next_rows) {
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
    int units;  // produced or consumed by this warp so far

    __device__ int buffer() const { return units % 2; }

    // A streaming warp writes its partial sums of the next unit. From the third unit on the buffer must be empty first.
    __device__ void produce(const Sums& sums, int rows) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        if (units >= 2) wait_at(EMPTY + buffer(), THREADS);
        float* partials = floats + buffer() * EXCHANGE_FLOATS + warp;
#pragma unroll
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {  // two rows of a column, then two of the column 8 further
                const int row = row_tile * 8 + lane % 4 * 2 + i % 2, column = lane / 4 + i / 2 * 8;
                if (row < rows) {
                    partials[(row * 16 + column) * PARTIAL_STRIDE] =
                        sums.accumulator[0][row_tile][i] + sums.accumulator[1][row_tile][i];
                }
            }
        }
        arrive_at(FULL + buffer(), THREADS);
        ++units;
    }
    // The epilogue warps add the partial sums of the next unit, and multiply each by its column's scale. They call
    // `epilogue(row, column, one, other)` on one lane for each pair of neighbouring columns; `column` is that of `one`
    // within the unit. `scales`: of the unit; null: all are 1.
    template <class Epilogue> __device__ void consume(int rows, const float* scales, Epilogue epilogue) {
        const int thread = threadIdx.x - STREAM_THREADS;
        const float scale = scales ? scales[thread % 16] : 1.0f;  // all numbers of a thread are of one column
        wait_at(FULL + buffer(), THREADS);
        for (int first = thread / 32 * 32; first < rows * 16; first += EPILOGUE_THREADS) {
            const int at = first + thread % 32;
            const float value =
                at < rows * 16 ? sum_of_partials(floats + buffer() * EXCHANGE_FLOATS + at * PARTIAL_STRIDE) * scale
                               : 0.0f;
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

// Activations of a group from float16 values [rows, inputs]; zeros beyond the rows and the inputs.
template <bool INT8>
__device__ inline Activations<INT8> read_activations(const unsigned short* values, int group, int rows, int inputs) {
    const int row = threadIdx.x % 32 / 4, first = first_input<INT8>(group);
    Activations<INT8> a;
#pragma unroll
    for (int i = 0; i < GROUP_PIECES; ++i) {
#pragma unroll
        for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
            const int mine = row + row_tile * 8, k = first + i * 32;
            a.piece[i][row_tile] = k < inputs && mine < rows ? load_from_l2((const Words*)(values + mine * inputs + k))
                                                             : Words{0, 0, 0, 0};
        }
    }
    return a;
}

// Sums of a unit over values [rows, inputs]. They are read ahead, since a read takes longer than a group's arithmetic.
template <bool INT8>
__device__ inline void add_read(Sums& sums, Stream& stream, const unsigned short* values, int rows, int inputs) {
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

// A lane's share of a row of the residual stream, float32; zeros beyond the rows and hidden_size.
struct ResidualRow {
    float number[C2T_CHUNK][8];

    __device__ void read(const Step& s, int row, bool exists) {
        const float* values = s.residual + (exists ? row * C2T_HIDDEN_SIZE : 0);
        const int first = first_input<false>(0);  // of a whole chunk, which is the same for both types
#pragma unroll
        for (int i = 0; i < C2T_CHUNK; ++i) {
#pragma unroll
            for (int j = 0; j < 8; j += 4) {
                const int k = first + i * 32 + j;
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
        for (int i = 0; i < 8 * C2T_CHUNK; ++i) sum[i % 2] = fmaf(number[i / 8][i % 8], number[i / 8][i % 8], sum[i % 2]);
        return sum[0] + sum[1];
    }
};

// RMS-normalised rows of the residual stream as activations; row i is row `source(i)` of the stream. The normalisation's
// own weights have been multiplied into a matrix of float16 that follows (pack_weights.cu); for one of int8 they are
// `norm`.
template <bool INT8, class Source>
__device__ inline void read_normalised(Activations<INT8> (&a)[CHUNK_GROUPS], const Step& s, int rows, float* squares,
                                       const float* norm, Source source) {
    const int row = threadIdx.x % 32 / 4;
    ResidualRow x;
    const auto read = [&](int row_tile) {
        const int mine = row + row_tile * 8;
        x.read(s, mine < rows ? source(mine) : 0, mine < rows);
    };
#pragma unroll
    for (int row_tile = 0; row_tile < ROW_TILES; ++row_tile) {
        read(row_tile);
        float square = x.sum_of_squares();
        square += __shfl_xor_sync(0xFFFFFFFF, square, 1);
        square += __shfl_xor_sync(0xFFFFFFFF, square, 2);
        if (threadIdx.x % 4 == 0) squares[(row + row_tile * 8) * PARTIAL_STRIDE + threadIdx.x / 32] = square;
    }
    wait_at(SQUARES_WRITTEN, STREAM_THREADS);
#pragma unroll
    for (int row_tile = ROW_TILES - 1; row_tile >= 0; --row_tile) {
        if (row_tile + 1 < ROW_TILES) read(row_tile);  // again: the registers have room for 8 rows only
        const float mean = sum_of_partials(squares + (row + row_tile * 8) * PARTIAL_STRIDE) * (1.0f / C2T_HIDDEN_SIZE);
        const float factor = rsqrtf(mean + s.epsilon);
#pragma unroll
        for (int i = 0; i < C2T_CHUNK; ++i) {
            float y[8];
#pragma unroll
            for (int j = 0; j < 8; ++j) y[j] = x.number[i][j] * factor;
            if constexpr (INT8) {
#pragma unroll
                for (int j = 0; j < 8; j += 4) {
                    const Words four = *(const Words*)(norm + first_input<INT8>(0) + i * 32 + j);
                    y[j] *= __uint_as_float(four.x);
                    y[j + 1] *= __uint_as_float(four.y);
                    y[j + 2] *= __uint_as_float(four.z);
                    y[j + 3] *= __uint_as_float(four.w);
                }
            }
            a[i / GROUP_PIECES].piece[i % GROUP_PIECES][row_tile] = {pack_halves(y[0], y[1]), pack_halves(y[2], y[3]),
                                                                     pack_halves(y[4], y[5]), pack_halves(y[6], y[7])};
        }
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
