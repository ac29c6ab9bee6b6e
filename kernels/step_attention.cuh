// Attention of a decoder step: keys and values into the cache, and the cache's slots weighed; see decoder_step.cu.
#pragma once

#include "step_sizes.cuh"
#include "tensor_core.cuh"

#define PARTIAL (C2T_HEAD + 2)  // a weighted sum of values, its largest score, its sum of weights
#define ATTENDING (C2T_WARPS * C2T_ATTENDED * PARTIAL)  // floats of the place where the warps' parts meet
#define LANES_OF_SLOT (C2T_HEAD / 8)
#define SLOTS_OF_WARP (32 / LANES_OF_SLOT)
#define SLOTS_OF_BLOCK (C2T_WARPS * SLOTS_OF_WARP)

// Where a row's keys and values go, and what its queries and keys are turned by; read once, for all layers.
struct Places {
    int slot[C2T_ROWS];
    float cosine[C2T_ROWS][C2T_HEAD / 2], sine[C2T_ROWS][C2T_HEAD / 2];
};
__device__ inline void read_places(const Step& s, Places& places) {
    for (int at = threadIdx.x; at < s.batch * s.tokens * (C2T_HEAD / 2); at += THREADS) {
        const int row = at / (C2T_HEAD / 2), dim = at % (C2T_HEAD / 2);
        const long long angle = s.positions[row] * (C2T_HEAD / 2) + dim;
        places.cosine[row][dim] = s.cosines[angle];
        places.sine[row][dim] = s.sines[angle];
        if (dim == 0) places.slot[row] = int(s.write_index[row / s.tokens]) + row % s.tokens;
    }
}

// A layer's queries, keys and values: the first two turned by their positions, the last two written to the cache.
__device__ inline void finish_heads(const Step& s, const Places& places, unsigned short* keys, unsigned short* values,
                                    int row, int column, float one, float other) {
    const int cell = row / s.tokens;
    const long long slot = places.slot[row];
    if (column >= QUERIES + KEYS) {
        const int kv = (column - QUERIES - KEYS) / C2T_HEAD, dim = column % C2T_HEAD;
        unsigned short* place = values + ((long long)(cell * C2T_KV_HEADS + kv) * s.capacity + slot) * C2T_HEAD + dim;
        place[0] = (unsigned short)pack_halves(one, 0.0f);
        place[1] = (unsigned short)pack_halves(other, 0.0f);
        return;
    }
    const int dim = column % C2T_HEAD / 2;
    const float cosine = places.cosine[row][dim], sine = places.sine[row][dim];
    unsigned short* place;
    if (column < QUERIES) {
        place = s.queries + row * QUERIES + column / C2T_HEAD * C2T_HEAD + dim;
    } else {
        const int kv = (column - QUERIES) / C2T_HEAD;
        place = keys + ((long long)(cell * C2T_KV_HEADS + kv) * s.capacity + slot) * C2T_HEAD + dim;
    }
    place[0] = (unsigned short)pack_halves(one * cosine - other * sine, 0.0f);
    place[C2T_HEAD / 2] = (unsigned short)pack_halves(other * cosine + one * sine, 0.0f);
}

// Keys and values of TURNS slots of a lane; a read takes as long as many sums, so several are on their way together.
template <int TURNS> struct Slots {
    Words key[TURNS], value[TURNS];

    // Those in [begin, end) of the turns from `turn` on; `kv` is where the head's first slot lies in the cache.
    __device__ void read(const unsigned short* keys, const unsigned short* values, long long kv, int turn, int begin,
                         int end) {
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            const int slot = slot_of_lane(turn + t);
            if (slot >= begin && slot < end) {
                key[t] = load_shared_by_blocks((const Words*)(keys + kv + (long long)slot * C2T_HEAD));
                value[t] = load_shared_by_blocks((const Words*)(values + kv + (long long)slot * C2T_HEAD));
            }
        }
    }
    // Each turn takes as many slots as the block has groups of lanes.
    static __device__ int slot_of_lane(int turn) {
        return turn * SLOTS_OF_BLOCK + int(threadIdx.x / 32) * SLOTS_OF_WARP + int(threadIdx.x % 32) / LANES_OF_SLOT;
    }
};

// What a block attends to at a time: some tokens of one cell, and one head.
struct Attended {
    int row, head, count;  // the first of the rows, how many
    int before;            // slots that the first of the rows sees, less its own
    long long kv;          // where the lane's part of the head's first slot lies in the cache

    __device__ Attended(const Step& s, const Places& places, int item) {
        const int groups = (s.tokens + C2T_ATTENDED - 1) / C2T_ATTENDED, group = item / C2T_HEADS;
        const int cell = group / groups, begin = group % groups * C2T_ATTENDED;
        head = item % C2T_HEADS;
        row = cell * s.tokens + begin;
        count = s.tokens - begin < C2T_ATTENDED ? s.tokens - begin : C2T_ATTENDED;
        before = places.slot[row];
        kv = (long long)(cell * C2T_KV_HEADS + head / (C2T_HEADS / C2T_KV_HEADS)) * s.capacity * C2T_HEAD +
             threadIdx.x % LANES_OF_SLOT * 8;
    }
    static __device__ int items(const Step& s) {
        return s.batch * ((s.tokens + C2T_ATTENDED - 1) / C2T_ATTENDED) * C2T_HEADS;
    }
};

// Up to COUNT rows of one cell, and one head: warps and groups of lanes share the slots. `slots` are those of the first
// turns, read by now.
template <int COUNT, int TURNS>
__device__ inline void attend(const Step& s, const unsigned short* keys, const unsigned short* values,
                              const Attended& it, Slots<TURNS>& slots, float* meeting) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = lane % LANES_OF_SLOT * 8;
    const int end = it.before + it.count;
    Words q[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        const int at = (it.row + (i < it.count ? i : 0)) * QUERIES + it.head * C2T_HEAD + dim;
        q[i] = load_shared_by_blocks((const Words*)(s.queries + at));
    }
    float sum[COUNT][8], top[COUNT], weight[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        top[i] = -1.0f / 0.0f;
        weight[i] = 0.0f;
        for (int j = 0; j < 8; ++j) sum[i][j] = 0.0f;
    }
    // All lanes of the block make the same number of turns: they exchange numbers.
    for (int turn = 0; turn * SLOTS_OF_BLOCK < end; turn += TURNS) {
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            const int slot = Slots<TURNS>::slot_of_lane(turn + t);
            const unsigned k[4] = {slots.key[t].x, slots.key[t].y, slots.key[t].z, slots.key[t].w};
            const unsigned v[4] = {slots.value[t].x, slots.value[t].y, slots.value[t].z, slots.value[t].w};
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                const unsigned query[4] = {q[i].x, q[i].y, q[i].z, q[i].w};
                float score = 0.0f;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    score = fmaf(low_half(query[j]), low_half(k[j]), score);
                    score = fmaf(high_half(query[j]), high_half(k[j]), score);
                }
#pragma unroll
                for (int step = 1; step < LANES_OF_SLOT; step *= 2) score += __shfl_xor_sync(0xFFFFFFFF, score, step);
                if (slot <= it.before + i && slot < end) {  // what comes after a token is not seen by it
                    score *= s.scale;
                    const float larger = fmaxf(top[i], score);
                    const float old = __expf(top[i] - larger), now = __expf(score - larger);
                    top[i] = larger;
                    weight[i] = fmaf(weight[i], old, now);
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        sum[i][2 * j] = fmaf(now, low_half(v[j]), sum[i][2 * j] * old);
                        sum[i][2 * j + 1] = fmaf(now, high_half(v[j]), sum[i][2 * j + 1] * old);
                    }
                }
            }
        }
        slots.read(keys, values, it.kv, turn + TURNS, 0, end);
    }
    // Sums of groups of lanes, then of warps, are weighed by their largest scores and added.
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
#pragma unroll
        for (int step = LANES_OF_SLOT; step < 32; step *= 2) {
            const float their_top = __shfl_xor_sync(0xFFFFFFFF, top[i], step);
            const float their_weight = __shfl_xor_sync(0xFFFFFFFF, weight[i], step);
            const float larger = fmaxf(top[i], their_top);
            const float old = weight[i] > 0.0f ? __expf(top[i] - larger) : 0.0f;
            const float theirs = their_weight > 0.0f ? __expf(their_top - larger) : 0.0f;
            top[i] = larger;
            weight[i] = fmaf(their_weight, theirs, weight[i] * old);
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                sum[i][j] = fmaf(__shfl_xor_sync(0xFFFFFFFF, sum[i][j], step), theirs, sum[i][j] * old);
            }
        }
        float* place = meeting + (warp * C2T_ATTENDED + i) * PARTIAL;
        if (lane < LANES_OF_SLOT) {
#pragma unroll
            for (int j = 0; j < 8; ++j) place[dim + j] = sum[i][j];
            if (lane == 0) {
                place[C2T_HEAD] = top[i];
                place[C2T_HEAD + 1] = weight[i];
            }
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < it.count * C2T_HEAD; at += THREADS) {
        const float* place = meeting + at / C2T_HEAD * PARTIAL;
        float largest = -1.0f / 0.0f, total = 0.0f, value = 0.0f;
#pragma unroll
        for (int w = 0; w < C2T_WARPS; ++w) largest = fmaxf(largest, place[w * C2T_ATTENDED * PARTIAL + C2T_HEAD]);
#pragma unroll
        for (int w = 0; w < C2T_WARPS; ++w) {
            const float* part = place + w * C2T_ATTENDED * PARTIAL;
            const float factor = part[C2T_HEAD + 1] > 0.0f ? __expf(part[C2T_HEAD] - largest) : 0.0f;
            total = fmaf(part[C2T_HEAD + 1], factor, total);
            value = fmaf(part[at % C2T_HEAD], factor, value);
        }
        const int place_of_row = (it.row + at / C2T_HEAD) * QUERIES + it.head * C2T_HEAD + at % C2T_HEAD;
        s.context[place_of_row] = (unsigned short)pack_halves(value / total, 0.0f);
    }
    __syncthreads();
}
