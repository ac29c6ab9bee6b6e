// Attention of a decoder step: queries, keys and values are written, and the cache is attended to; see decoder_step.cu.
#pragma once

#include "decoder_step/step_sizes.cuh"
#include "cuda/tensor_core.cuh"

#define PARTIAL_FLOATS (C2T_HEAD_SIZE + 2)  // a warp's result: weighted values, largest score, sum of weights
#define ATTENTION_FLOATS (WARPS * C2T_QUERIES * PARTIAL_FLOATS)  // of shared memory, where the warps' results are merged
// A lane holds 8 numbers of a head, so some lanes together hold a cache position.
#define LANES_PER_POSITION (C2T_HEAD_SIZE / 8)
#define POSITIONS_PER_WARP (32 / LANES_PER_POSITION)
#define POSITIONS_PER_BLOCK (WARPS * POSITIONS_PER_WARP)
// Cache positions that a lane attends to together. It decides how sums are rounded, so it must be the same for every
// number of rows.
#define POSITIONS_PER_LANE 4

// Of each row: where its keys and values go, and its rotary embedding. Read once, for all layers.
struct RowPositions {
    long long cache_offset[C2T_ROWS];  // of the row's cache position in its cell's first head
    int cache_position[C2T_ROWS];
    float cosine[C2T_ROWS][C2T_HEAD_SIZE / 2], sine[C2T_ROWS][C2T_HEAD_SIZE / 2];
};
__device__ inline void read_positions(const Step& s, RowPositions& of_rows) {
    for (int at = threadIdx.x; at < s.batch * s.tokens * (C2T_HEAD_SIZE / 2); at += THREADS) {
        const int row = at / (C2T_HEAD_SIZE / 2), dim = at % (C2T_HEAD_SIZE / 2);
        const long long angle = s.positions[row] * (C2T_HEAD_SIZE / 2) + dim;
        of_rows.cosine[row][dim] = s.cosines[angle];
        of_rows.sine[row][dim] = s.sines[angle];
        if (dim == 0) {
            const int cell = row / s.tokens, position = int(s.write_index[cell]) + s.first_token + row % s.tokens;
            of_rows.cache_position[row] = position;
            of_rows.cache_offset[row] = ((long long)cell * C2T_KV_HEADS * s.capacity + position) * C2T_HEAD_SIZE;
        }
    }
}

// Two columns of qkv: queries and keys are rotated, keys and values go to the cache. The columns are rope-interleaved
// (pack_weights.cu): the two of a query or key are rotated together.
__device__ inline void write_qkv(const Step& s, const RowPositions& of_rows, unsigned short* keys, unsigned short* values,
                                 int row, int column, float one, float other) {
    const long long offset = of_rows.cache_offset[row], head_stride = (long long)s.capacity * C2T_HEAD_SIZE;
    if (column >= Q_COLUMNS + KV_COLUMNS) {
        const int value_column = column - Q_COLUMNS - KV_COLUMNS;
        unsigned short* out = values + offset + value_column / C2T_HEAD_SIZE * head_stride + column % C2T_HEAD_SIZE;
        out[0] = (unsigned short)pack_halves(one, 0.0f);
        out[1] = (unsigned short)pack_halves(other, 0.0f);
        return;
    }
    const int dim = column % C2T_HEAD_SIZE / 2;
    const float cosine = of_rows.cosine[row][dim], sine = of_rows.sine[row][dim];
    unsigned short* out;
    if (column < Q_COLUMNS) {
        out = s.queries + row * Q_COLUMNS + column / C2T_HEAD_SIZE * C2T_HEAD_SIZE + dim;
    } else {
        out = keys + offset + (column - Q_COLUMNS) / C2T_HEAD_SIZE * head_stride + dim;
    }
    out[0] = (unsigned short)pack_halves(one * cosine - other * sine, 0.0f);
    out[C2T_HEAD_SIZE / 2] = (unsigned short)pack_halves(other * cosine + one * sine, 0.0f);
}

// Keys and values of POSITIONS_PER_LANE cache positions, a lane's 8 numbers of each. Several are read at once: a read's
// latency is worth many sums.
struct KeyValues {
    Words key[POSITIONS_PER_LANE], value[POSITIONS_PER_LANE];

    // Read the lane's positions of `round` that lie in [begin, end). `offset`: of the head's first position in the cache.
    __device__ void read(const unsigned short* keys, const unsigned short* values, long long offset, int round, int begin,
                         int end) {
#pragma unroll
        for (int t = 0; t < POSITIONS_PER_LANE; ++t) {
            const int position = position_of_lane(round + t);
            if (position >= begin && position < end) {
                key[t] = load_from_l2((const Words*)(keys + offset + (long long)position * C2T_HEAD_SIZE));
                value[t] = load_from_l2((const Words*)(values + offset + (long long)position * C2T_HEAD_SIZE));
            }
        }
    }
    // In each round the block's lanes take POSITIONS_PER_BLOCK positions in a row.
    static __device__ int position_of_lane(int round) {
        return round * POSITIONS_PER_BLOCK + int(threadIdx.x / 32) * POSITIONS_PER_WARP +
               int(threadIdx.x % 32) / LANES_PER_POSITION;
    }
};

// What a block attends with at a time: one head of up to C2T_QUERIES tokens of one cell.
struct AttentionItem {
    int row, head, count;  // the first token's row; how many tokens
    int before;            // cache positions before the first token's own
    int old;               // those of them that earlier steps wrote
    long long kv_offset;   // the lane's share of the head's first position in the cache

    __device__ AttentionItem(const Step& s, const RowPositions& of_rows, int item) {
        const int groups = (s.tokens + C2T_QUERIES - 1) / C2T_QUERIES, group = item / C2T_HEADS;
        const int cell = group / groups, begin = group % groups * C2T_QUERIES;
        head = item % C2T_HEADS;
        row = cell * s.tokens + begin;
        count = s.tokens - begin < C2T_QUERIES ? s.tokens - begin : C2T_QUERIES;
        before = of_rows.cache_position[row];
        old = before - begin;
        kv_offset = (long long)(cell * C2T_KV_HEADS + head / (C2T_HEADS / C2T_KV_HEADS)) * s.capacity * C2T_HEAD_SIZE +
                    threadIdx.x % LANES_PER_POSITION * 8;
    }
    static __device__ int items(const Step& s) {
        return s.batch * ((s.tokens + C2T_QUERIES - 1) / C2T_QUERIES) * C2T_HEADS;
    }
};

// What is subtracted from scores before exp: the largest score; 0 where there is none yet, since -infinity minus itself
// is NaN.
__device__ inline float exponent_base(float largest) { return largest == -1.0f / 0.0f ? 0.0f : largest; }

// Online softmax: values weighted by exp(score), while scores come in. A lane's 8 numbers of a head, of each token.
struct OnlineSoftmax {
    float sum[C2T_QUERIES][8], largest[C2T_QUERIES], weight[C2T_QUERIES];

    __device__ void begin() {
#pragma unroll
        for (int i = 0; i < C2T_QUERIES; ++i) {
            largest[i] = -1.0f / 0.0f;
            weight[i] = 0.0f;
#pragma unroll
            for (int j = 0; j < 8; ++j) sum[i][j] = 0.0f;
        }
    }
    // Add a round of cache positions below `end`; token i sees the positions up to its own, before + i. All lanes of a
    // warp must call it: they exchange numbers.
    __device__ void add(const KeyValues& kv, const Words (&queries)[C2T_QUERIES], int round, int before, int end,
                        float scale) {
#pragma unroll
        for (int i = 0; i < C2T_QUERIES; ++i) {
            const unsigned q[4] = {queries[i].x, queries[i].y, queries[i].z, queries[i].w};
            float score[POSITIONS_PER_LANE], new_largest = largest[i];
#pragma unroll
            for (int t = 0; t < POSITIONS_PER_LANE; ++t) {
                const unsigned k[4] = {kv.key[t].x, kv.key[t].y, kv.key[t].z, kv.key[t].w};
                float product = 0.0f;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    product = fmaf(low_half(q[j]), low_half(k[j]), product);
                    product = fmaf(high_half(q[j]), high_half(k[j]), product);
                }
                score[t] = product;
            }
#pragma unroll
            for (int step = 1; step < LANES_PER_POSITION; step *= 2) {
#pragma unroll
                for (int t = 0; t < POSITIONS_PER_LANE; ++t) score[t] += __shfl_xor_sync(0xFFFFFFFF, score[t], step);
            }
#pragma unroll
            for (int t = 0; t < POSITIONS_PER_LANE; ++t) {
                const int position = KeyValues::position_of_lane(round + t);
                score[t] = position <= before + i && position < end ? score[t] * scale : -1.0f / 0.0f;
                new_largest = fmaxf(new_largest, score[t]);
            }
            rescale(i, new_largest);
#pragma unroll
            for (int t = 0; t < POSITIONS_PER_LANE; ++t) {
                // A later token's value may be infinite, and times a weight of zero that is NaN.
                if (C2T_QUERIES > 1 && KeyValues::position_of_lane(round + t) > before + i) continue;
                const unsigned v[4] = {kv.value[t].x, kv.value[t].y, kv.value[t].z, kv.value[t].w};
                const float factor = __expf(score[t] - exponent_base(new_largest));
                weight[i] += factor;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    sum[i][2 * j] = fmaf(factor, low_half(v[j]), sum[i][2 * j]);
                    sum[i][2 * j + 1] = fmaf(factor, high_half(v[j]), sum[i][2 * j + 1]);
                }
            }
        }
    }
    // Merge with the lanes of this warp that attended to other positions.
    __device__ void merge_lanes() {
#pragma unroll
        for (int i = 0; i < C2T_QUERIES; ++i) {
#pragma unroll
            for (int step = LANES_PER_POSITION; step < 32; step *= 2) {
                const float new_largest = fmaxf(largest[i], __shfl_xor_sync(0xFFFFFFFF, largest[i], step));
                rescale(i, new_largest);
                weight[i] += __shfl_xor_sync(0xFFFFFFFF, weight[i], step);
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i][j] += __shfl_xor_sync(0xFFFFFFFF, sum[i][j], step);
            }
        }
    }
    __device__ void rescale(int i, float new_largest) {
        const float factor = __expf(largest[i] - exponent_base(new_largest));
        largest[i] = new_largest;
        weight[i] *= factor;
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] *= factor;
    }
};

// Attend with one item: the block's warps and lanes share its cache positions. `kv` holds those of the first round. The
// result is written as the layer's O takes it.
__device__ inline void attend(const Step& s, const unsigned short* keys, const unsigned short* values,
                              const AttentionItem& it, KeyValues& kv, float* exchange, int layer) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = lane % LANES_PER_POSITION * 8;
    const int end = it.before + it.count;
    Words queries[C2T_QUERIES];
#pragma unroll
    for (int i = 0; i < C2T_QUERIES; ++i) {
        const int at = (it.row + (i < it.count ? i : 0)) * Q_COLUMNS + it.head * C2T_HEAD_SIZE + dim;
        queries[i] = load_from_l2((const Words*)(s.queries + at));
    }
    OnlineSoftmax softmax;
    softmax.begin();
#pragma unroll 1
    for (int round = 0; round * POSITIONS_PER_BLOCK < end; round += POSITIONS_PER_LANE) {
        softmax.add(kv, queries, round, it.before, end, s.scale);
        kv.read(keys, values, it.kv_offset, round + POSITIONS_PER_LANE, 0, end);
    }
    softmax.merge_lanes();
    // Each warp writes its result; then the block's threads merge the warps' results by their largest scores.
#pragma unroll
    for (int i = 0; i < C2T_QUERIES; ++i) {
        float* partial = exchange + (warp * C2T_QUERIES + i) * PARTIAL_FLOATS;
        if (lane < LANES_PER_POSITION) {
#pragma unroll
            for (int j = 0; j < 8; ++j) partial[dim + j] = softmax.sum[i][j];
            if (lane == 0) {
                partial[C2T_HEAD_SIZE] = softmax.largest[i];
                partial[C2T_HEAD_SIZE + 1] = softmax.weight[i];
            }
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < it.count * C2T_HEAD_SIZE; at += THREADS) {
        const float* of_token = exchange + at / C2T_HEAD_SIZE * PARTIAL_FLOATS;
        float largest = -1.0f / 0.0f, total = 0.0f, value = 0.0f;
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            largest = fmaxf(largest, of_token[w * C2T_QUERIES * PARTIAL_FLOATS + C2T_HEAD_SIZE]);
        }
#pragma unroll
        for (int w = 0; w < WARPS; ++w) {
            const float* partial = of_token + w * C2T_QUERIES * PARTIAL_FLOATS;
            const float factor = __expf(partial[C2T_HEAD_SIZE] - exponent_base(largest));
            total = fmaf(partial[C2T_HEAD_SIZE + 1], factor, total);
            value = fmaf(partial[at % C2T_HEAD_SIZE], factor, value);
        }
        const int column = it.head * C2T_HEAD_SIZE + at % C2T_HEAD_SIZE;
        write_input(s, O, layer, it.row + at / C2T_HEAD_SIZE, column, value / total);
    }
}
