// Attention of a decoder step: keys and values into the cache, and the cache's slots weighed; see decoder_step.cu.
#pragma once

#include "decoder_step/step_sizes.cuh"
#include "cuda/tensor_core.cuh"

#define PARTIAL (C2T_HEAD + 2)  // a weighted sum of values, its largest score, its sum of weights
#define ATTENDING (ALL_WARPS * C2T_ATTENDED * PARTIAL)  // floats of the place where the warps' parts meet
#define LANES_OF_SLOT (C2T_HEAD / 8)
#define SLOTS_OF_WARP (32 / LANES_OF_SLOT)
#define SLOTS_OF_BLOCK (ALL_WARPS * SLOTS_OF_WARP)
// Slots of a lane that are weighed together. It decides how sums are rounded, so it is the same for all numbers of rows.
#define TURNS 4

// Where a row's keys and values go, and what its queries and keys are turned by; read once, for all layers.
struct Places {
    long long first[C2T_ROWS];  // in the cache, of the row's slot in its cell's first head
    int slot[C2T_ROWS];
    float cosine[C2T_ROWS][C2T_HEAD / 2], sine[C2T_ROWS][C2T_HEAD / 2];
};
__device__ inline void read_places(const Step& s, Places& places) {
    for (int at = threadIdx.x; at < s.batch * s.tokens * (C2T_HEAD / 2); at += THREADS) {
        const int row = at / (C2T_HEAD / 2), dim = at % (C2T_HEAD / 2);
        const long long angle = s.positions[row] * (C2T_HEAD / 2) + dim;
        places.cosine[row][dim] = s.cosines[angle];
        places.sine[row][dim] = s.sines[angle];
        if (dim == 0) {
            const int cell = row / s.tokens, slot = int(s.write_index[cell]) + row % s.tokens;
            places.slot[row] = slot;
            places.first[row] = ((long long)cell * C2T_KV_HEADS * s.capacity + slot) * C2T_HEAD;
        }
    }
}

// A layer's queries, keys and values: the first two turned by their positions, the last two written to the cache.
__device__ inline void finish_heads(const Step& s, const Places& places, unsigned short* keys, unsigned short* values,
                                    int row, int column, float one, float other) {
    const long long first = places.first[row], head = (long long)s.capacity * C2T_HEAD;
    if (column >= QUERIES + KEYS) {
        unsigned short* place = values + first + (column - QUERIES - KEYS) / C2T_HEAD * head + column % C2T_HEAD;
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
        place = keys + first + (column - QUERIES) / C2T_HEAD * head + dim;
    }
    place[0] = (unsigned short)pack_halves(one * cosine - other * sine, 0.0f);
    place[C2T_HEAD / 2] = (unsigned short)pack_halves(other * cosine + one * sine, 0.0f);
}

// Keys and values of TURNS slots of a lane; a read takes as long as many sums, so several are on their way together.
struct Slots {
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
    int old;               // those of them that earlier steps have left
    long long kv;          // where the lane's part of the head's first slot lies in the cache

    __device__ Attended(const Step& s, const Places& places, int item) {
        const int groups = (s.tokens + C2T_ATTENDED - 1) / C2T_ATTENDED, group = item / C2T_HEADS;
        const int cell = group / groups, begin = group % groups * C2T_ATTENDED;
        head = item % C2T_HEADS;
        row = cell * s.tokens + begin;
        count = s.tokens - begin < C2T_ATTENDED ? s.tokens - begin : C2T_ATTENDED;
        before = places.slot[row];
        old = before - begin;
        kv = (long long)(cell * C2T_KV_HEADS + head / (C2T_HEADS / C2T_KV_HEADS)) * s.capacity * C2T_HEAD +
             threadIdx.x % LANES_OF_SLOT * 8;
    }
    static __device__ int items(const Step& s) {
        return s.batch * ((s.tokens + C2T_ATTENDED - 1) / C2T_ATTENDED) * C2T_HEADS;
    }
};

// The minuend of exponents under a largest score; 0 where there are no scores.
__device__ inline float exponent_base(float top) { return top == -1.0f / 0.0f ? 0.0f : top; }

// Values weighed by their slots' scores, on the way: a lane's 8 numbers of a head, of some rows.
struct Weighed {
    float sum[C2T_ATTENDED][8], top[C2T_ATTENDED], weight[C2T_ATTENDED];

    __device__ void begin() {
#pragma unroll
        for (int i = 0; i < C2T_ATTENDED; ++i) {
            top[i] = -1.0f / 0.0f;
            weight[i] = 0.0f;
#pragma unroll
            for (int j = 0; j < 8; ++j) sum[i][j] = 0.0f;
        }
    }
    // All lanes of a warp call it: they exchange numbers. A row sees the slots up to its own, and none from `end` on.
    __device__ void add(const Slots& slots, const Words (&queries)[C2T_ATTENDED], int turn, int before, int end, float scale) {
#pragma unroll
        for (int i = 0; i < C2T_ATTENDED; ++i) {
            const unsigned q[4] = {queries[i].x, queries[i].y, queries[i].z, queries[i].w};
            float score[TURNS], largest = top[i];
#pragma unroll
            for (int t = 0; t < TURNS; ++t) {
                const unsigned k[4] = {slots.key[t].x, slots.key[t].y, slots.key[t].z, slots.key[t].w};
                float product = 0.0f;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    product = fmaf(low_half(q[j]), low_half(k[j]), product);
                    product = fmaf(high_half(q[j]), high_half(k[j]), product);
                }
                score[t] = product;
            }
#pragma unroll
            for (int step = 1; step < LANES_OF_SLOT; step *= 2) {
#pragma unroll
                for (int t = 0; t < TURNS; ++t) score[t] += __shfl_xor_sync(0xFFFFFFFF, score[t], step);
            }
#pragma unroll
            for (int t = 0; t < TURNS; ++t) {
                const int slot = Slots::slot_of_lane(turn + t);
                score[t] = slot <= before + i && slot < end ? score[t] * scale : -1.0f / 0.0f;
                largest = fmaxf(largest, score[t]);
            }
            rescale(i, largest);
#pragma unroll
            for (int t = 0; t < TURNS; ++t) {
                const unsigned v[4] = {slots.value[t].x, slots.value[t].y, slots.value[t].z, slots.value[t].w};
                const float factor = __expf(score[t] - exponent_base(largest));
                weight[i] += factor;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    sum[i][2 * j] = fmaf(factor, low_half(v[j]), sum[i][2 * j]);
                    sum[i][2 * j + 1] = fmaf(factor, high_half(v[j]), sum[i][2 * j + 1]);
                }
            }
        }
    }
    // Add what the other groups of lanes have weighed.
    __device__ void add_groups() {
#pragma unroll
        for (int i = 0; i < C2T_ATTENDED; ++i) {
#pragma unroll
            for (int step = LANES_OF_SLOT; step < 32; step *= 2) {
                const float largest = fmaxf(top[i], __shfl_xor_sync(0xFFFFFFFF, top[i], step));
                rescale(i, largest);
                weight[i] += __shfl_xor_sync(0xFFFFFFFF, weight[i], step);
#pragma unroll
                for (int j = 0; j < 8; ++j) sum[i][j] += __shfl_xor_sync(0xFFFFFFFF, sum[i][j], step);
            }
        }
    }
    __device__ void rescale(int i, float largest) {
        const float factor = __expf(top[i] - exponent_base(largest));
        top[i] = largest;
        weight[i] *= factor;
#pragma unroll
        for (int j = 0; j < 8; ++j) sum[i][j] *= factor;
    }
};

// Some rows of one cell, and one head: warps and groups of lanes share the slots. `slots` are those of the first
// turns, read by now.
__device__ inline void attend(const Step& s, const unsigned short* keys, const unsigned short* values,
                              const Attended& it, Slots& slots, float* meeting) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = lane % LANES_OF_SLOT * 8;
    const int end = it.before + it.count;
    Words queries[C2T_ATTENDED];
#pragma unroll
    for (int i = 0; i < C2T_ATTENDED; ++i) {
        const int at = (it.row + (i < it.count ? i : 0)) * QUERIES + it.head * C2T_HEAD + dim;
        queries[i] = load_shared_by_blocks((const Words*)(s.queries + at));
    }
    Weighed found;
    found.begin();
#pragma unroll 1
    for (int turn = 0; turn * SLOTS_OF_BLOCK < end; turn += TURNS) {
        found.add(slots, queries, turn, it.before, end, s.scale);
        slots.read(keys, values, it.kv, turn + TURNS, 0, end);
    }
    found.add_groups();
    // Sums of the warps are weighed by their largest scores and added.
#pragma unroll
    for (int i = 0; i < C2T_ATTENDED; ++i) {
        float* place = meeting + (warp * C2T_ATTENDED + i) * PARTIAL;
        if (lane < LANES_OF_SLOT) {
#pragma unroll
            for (int j = 0; j < 8; ++j) place[dim + j] = found.sum[i][j];
            if (lane == 0) {
                place[C2T_HEAD] = found.top[i];
                place[C2T_HEAD + 1] = found.weight[i];
            }
        }
    }
    __syncthreads();
    for (int at = threadIdx.x; at < it.count * C2T_HEAD; at += THREADS) {
        const float* place = meeting + at / C2T_HEAD * PARTIAL;
        float largest = -1.0f / 0.0f, total = 0.0f, value = 0.0f;
#pragma unroll
        for (int w = 0; w < ALL_WARPS; ++w) largest = fmaxf(largest, place[w * C2T_ATTENDED * PARTIAL + C2T_HEAD]);
#pragma unroll
        for (int w = 0; w < ALL_WARPS; ++w) {
            const float* part = place + w * C2T_ATTENDED * PARTIAL;
            const float factor = __expf(part[C2T_HEAD] - exponent_base(largest));
            total = fmaf(part[C2T_HEAD + 1], factor, total);
            value = fmaf(part[at % C2T_HEAD], factor, value);
        }
        const int place_of_row = (it.row + at / C2T_HEAD) * QUERIES + it.head * C2T_HEAD + at % C2T_HEAD;
        s.context[place_of_row] = (unsigned short)pack_halves(value / total, 0.0f);
    }
}
