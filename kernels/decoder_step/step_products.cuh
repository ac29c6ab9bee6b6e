// Products of a decoder step's rows with the streamed matrices, on tensor cores; see decoder_step.cu.
#pragma once

#include "decoder_step/weight_stream.cuh"

#define HALVES (C2T_ROWS / 8)  // tensor cores take 8 rows at a time
// Floats from a number's parts, which lie side by side by warp, to the next number's: so far apart that lanes which read
// four parts each meet different banks.
#define PARTS (C2T_WARPS + 4)
#define MEETING (C2T_ROWS * 16 * PARTS)  // floats of the place where the parts of a unit's sums meet
#define AHEAD (C2T_ROWS == 8 ? 2 : 1)    // groups of activations that are read ahead, as registers allow

// Activations that a group of tiles is multiplied by, as tensor cores take them: 8 numbers of a row, and of the row 8
// further.
struct Rows {
    Words tile[C2T_GROUP][HALVES];
};
// Where the lane's numbers of a group begin; those of the next tile lie 32 further.
__device__ inline int first_number(int group) {
    const int warp = threadIdx.x / 32, tile = (group / GROUPS * C2T_WARPS + warp) * C2T_CHUNK + group % GROUPS * C2T_GROUP;
    return tile * 32 + threadIdx.x % 4 * 8;
}

// Sums of a unit [16 columns, rows] as tensor cores leave them; even and odd products apart, since one waits for the one
// before.
struct Sums {
    float part[2][HALVES][4];
};

// Add a group of the streamed matrix's next unit.
__device__ inline void add_group(Sums& sums, const Group& group, const Rows& rows) {
#pragma unroll
    for (int i = 0; i < C2T_GROUP; ++i) {
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
            const Words& numbers = rows.tile[i][half];
            multiply_add(sums.part[0][half], group.tile[i][0], numbers.x, numbers.y);
            multiply_add(sums.part[1][half], group.tile[i][1], numbers.z, numbers.w);
        }
    }
}

// Add a chunk, from a group of it on; `next_rows(group)` is what the chunk's groups are multiplied by, one after another.
// The last chunk of a unit leaves to the caller to refill what is held.
template <bool LAST, int GROUP = 0, class Source>
__device__ inline void add_chunk(Sums& sums, Stream& stream, Source next_rows) {
    if constexpr (GROUP < GROUPS) {
        constexpr int held_before = LAST && GROUP > GROUPS - HELD ? GROUP - (GROUPS - HELD) : 0;
        const Rows rows = next_rows(GROUP);
        add_group(sums, stream.wait_for_group<held_before>(), rows);
        if (!LAST || GROUP < GROUPS - HELD) stream.refill();
        add_chunk<LAST, GROUP + 1>(sums, stream, next_rows);
    }
}

// Parts of a number by all streaming warps, in an order that is always the same.
__device__ inline float sum_of_parts(const float* parts) {
    float sum[4] = {};
#pragma unroll
    for (int w = 0; w < C2T_WARPS; w += 4) {
        const Words four = *(const Words*)(parts + w);
        sum[0] += __uint_as_float(four.x);
        sum[1] += __uint_as_float(four.y);
        sum[2] += __uint_as_float(four.z);
        sum[3] += __uint_as_float(four.w);
    }
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

// The two places where the parts of a block's units meet in turn: while some warps finish one unit, the others sum the
// next.
struct Meeting {
    float* floats;
    int units;  // that were given, or taken

    __device__ int place() const { return units % 2; }

    // A streaming warp gives its part of the next unit, once the unit before the last has been taken.
    __device__ void give(const Sums& sums, int rows) {
        const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        if (units >= 2) wait_at(EMPTIED + place(), THREADS);
        float* parts = floats + place() * MEETING + warp;
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
#pragma unroll
            for (int i = 0; i < 4; ++i) {  // two rows of a column, then of the column 8 further
                const int row = half * 8 + lane % 4 * 2 + i % 2, column = lane / 4 + i / 2 * 8;
                if (row < rows) {
                    parts[(row * 16 + column) * PARTS] = sums.part[0][half][i] + sums.part[1][half][i];
                }
            }
        }
        arrive_at(FILLED + place(), THREADS);
        ++units;
    }
    // The finishing warps take the sums of the next unit: `finish(row, column, one, other)` for each pair of its 16
    // columns, on one lane.
    template <class Finish> __device__ void take(int rows, Finish finish) {
        const int thread = threadIdx.x - STREAMING;
        wait_at(FILLED + place(), THREADS);
        for (int first = thread / 32 * 32; first < rows * 16; first += FINISHING) {
            const int at = first + thread % 32;
            const float value = at < rows * 16 ? sum_of_parts(floats + place() * MEETING + at * PARTS) : 0.0f;
            const float other = __shfl_xor_sync(0xFFFFFFFF, value, 1);
            if (at < rows * 16 && at % 2 == 0) finish(at / 16, at % 16, value, other);
        }
        arrive_at(EMPTIED + place(), THREADS);
        ++units;
    }
    // A streaming warp leaves no place unmet.
    __device__ void end() {
        for (int p = 0; p < 2 && p < units; ++p) wait_at(EMPTIED + p, THREADS);
    }
};

// Float16 activations [rows, sums] of a group; zero beyond the rows and the sum.
__device__ inline Rows read_rows(const unsigned short* values, int group, int rows, int sums) {
    const int row = threadIdx.x % 32 / 4, first = first_number(group);
    Rows a;
#pragma unroll
    for (int i = 0; i < C2T_GROUP; ++i) {
#pragma unroll
        for (int half = 0; half < HALVES; ++half) {
            const int mine = row + half * 8, k = first + i * 32;
            a.tile[i][half] = k < sums && mine < rows
                                  ? load_shared_by_blocks((const Words*)(values + mine * sums + k))
                                  : Words{0, 0, 0, 0};
        }
    }
    return a;
}

// The sums of a unit over such activations, which are read ahead: that takes longer than to multiply them.
__device__ inline void add_read(Sums& sums, Stream& stream, const unsigned short* values, int rows, int length) {
    const int chunks = CHUNKS(length), groups = chunks * GROUPS;
    Rows next[AHEAD];
#pragma unroll
    for (int i = 0; i < AHEAD; ++i) {
        if (i < groups) next[i] = read_rows(values, i, rows, length);
    }
    int ahead = AHEAD;
    const auto next_rows = [&](int) {
        const Rows now = next[0];
#pragma unroll
        for (int i = 0; i + 1 < AHEAD; ++i) next[i] = next[i + 1];
        if (ahead < groups) next[AHEAD - 1] = read_rows(values, ahead, rows, length);
        ++ahead;
        return now;
    };
    for (int chunk = 1; chunk < chunks; ++chunk) add_chunk<false>(sums, stream, next_rows);
    add_chunk<true>(sums, stream, next_rows);
}

// What the lane takes of a row between layers, float32; zero beyond the rows and the width.
struct Residual {
    float number[C2T_CHUNK][8];

    __device__ void read(const Step& s, int row, bool there) {
        const float* values = s.residual + (there ? row * C2T_WIDTH : 0);
        const int first = first_number(0);
#pragma unroll
        for (int i = 0; i < C2T_CHUNK; ++i) {
#pragma unroll
            for (int j = 0; j < 8; j += 4) {
                const int k = first + i * 32 + j;
                const Words four = there && k < C2T_WIDTH ? load_shared_by_blocks((const Words*)(values + k))
                                                          : Words{0, 0, 0, 0};
                number[i][j] = __uint_as_float(four.x);
                number[i][j + 1] = __uint_as_float(four.y);
                number[i][j + 2] = __uint_as_float(four.z);
                number[i][j + 3] = __uint_as_float(four.w);
            }
        }
    }
    __device__ float square() const {
        float sum[2] = {};
#pragma unroll
        for (int i = 0; i < 8 * C2T_CHUNK; ++i) sum[i % 2] = fmaf(number[i / 8][i % 8], number[i / 8][i % 8], sum[i % 2]);
        return sum[0] + sum[1];
    }
};

// Rows of the stream between layers over their root mean square; `source(row)` is where a row lies. The weights of the
// normalisation are in the matrix that follows.
template <class Source>
__device__ inline void read_normalised(Rows (&a)[GROUPS], const Step& s, int rows, float* squares, Source source) {
    const int row = threadIdx.x % 32 / 4;
    Residual x;
    const auto read = [&](int half) {
        const int mine = row + half * 8;
        x.read(s, mine < rows ? source(mine) : 0, mine < rows);
    };
#pragma unroll
    for (int half = 0; half < HALVES; ++half) {
        read(half);
        float square = x.square();
        square += __shfl_xor_sync(0xFFFFFFFF, square, 1);
        square += __shfl_xor_sync(0xFFFFFFFF, square, 2);
        if (threadIdx.x % 4 == 0) squares[(row + half * 8) * PARTS + threadIdx.x / 32] = square;
    }
    wait_at(STREAMED, STREAMING);
#pragma unroll
    for (int half = HALVES - 1; half >= 0; --half) {
        if (half + 1 < HALVES) read(half);  // once more: registers hold 8 rows
        const float mean = sum_of_parts(squares + (row + half * 8) * PARTS) * (1.0f / C2T_WIDTH);
        const float factor = rsqrtf(mean + s.epsilon);
#pragma unroll
        for (int i = 0; i < C2T_CHUNK; ++i) {
            const float* y = x.number[i];
            a[i / C2T_GROUP].tile[i % C2T_GROUP][half] = {
                pack_halves(y[0] * factor, y[1] * factor), pack_halves(y[2] * factor, y[3] * factor),
                pack_halves(y[4] * factor, y[5] * factor), pack_halves(y[6] * factor, y[7] * factor)};
        }
    }
}
