// A whole step of a Llama decoder, of up to 16 tokens, in one kernel that reads every weight once.
//
// A step of few tokens costs what reading the weights costs, so they are one stream that never pauses: each warp copies
// its own pieces of all matrices of all layers, in order, through a ring in shared memory, and runs ahead of the sums by
// the ring's length. So memory stays busy while the blocks wait for each other between the parts of a layer.
//
// One block on every multiprocessor; they must all run at once (a cooperative launch). 16 columns of a matrix are a unit
// of one block, whose warps share the sum and add their parts in a fixed order: a row's numbers do not depend on how
// many rows there are, and nothing changes from run to run.
//   C2T_LAYERS, C2T_WIDTH, C2T_INNER (of the MLP), C2T_HEADS, C2T_KV_HEADS, C2T_HEAD (size), C2T_VOCABULARY
//   C2T_ROWS    8 or 16: the most rows (tokens of all cells) of the step
//   C2T_STAGES  pieces in a warp's ring

#ifndef C2T_WARPS
#define C2T_WARPS 16
#endif

#include "tensor_core.cuh"

#define QUERIES (C2T_HEADS * C2T_HEAD)
#define KEYS (C2T_KV_HEADS * C2T_HEAD)
#define THREADS (C2T_WARPS * 32)
#define TILE 64  // Words of a tile: 16 columns by 32 numbers of the sum
// Tiles of a sum, and the most of a warp.
#define TILES(sums) (((sums) + 31) / 32)
#define PART(sums) ((TILES(sums) + C2T_WARPS - 1) / C2T_WARPS)
#define UNITS(columns) (((columns) + 15) / 16)
// Floats of the place where the warps' parts meet: a row's 16 columns by the warps, 17 apart for the banks.
#define MEETING (C2T_ROWS * 16 * (C2T_WARPS + 1))
#define AHEAD 4  // tiles of the MLP's inner activations that are read ahead
#define ATTENDED 4  // the most tokens of a cell that attend together
#define QUARTERS 4
#define PARTIAL (C2T_HEAD + 4)  // a weighted sum of values, its largest score and sum of weights, and to 16 bytes
#define ATTENDING (C2T_WARPS * ATTENDED * PARTIAL)  // floats of the place where the warps' parts meet
#define LANES_OF_SLOT (C2T_HEAD / 8)
#define SLOTS_OF_WARP (32 / LANES_OF_SLOT)

// Matrix `number` of 4 in each layer, and at last the logits'.
struct Matrix {
    int units, tiles;  // of 16 columns; of its sum
    int first;         // the block's first unit
    __device__ int tiles_of_warp() const { return (tiles - int(threadIdx.x / 32) + C2T_WARPS - 1) / C2T_WARPS; }
};
__device__ inline Matrix matrix_of(int number) {
    const int heads = UNITS(QUERIES + 2 * KEYS), width = UNITS(C2T_WIDTH), inner = UNITS(2 * C2T_INNER);
    const int part = number % 4;
    Matrix m = {width, TILES(part == 1 ? QUERIES : part == 3 ? C2T_INNER : C2T_WIDTH), 0};
    if (part == 0) m.units = number == 4 * C2T_LAYERS ? UNITS(C2T_VOCABULARY) : heads;
    if (part == 2) m.units = inner;
    // The blocks take turns over all matrices, so that none has more than its share in the end.
    const int before = number / 4 * (heads + 2 * width + inner) + (part > 0 ? heads : 0) + (part > 1 ? width : 0) +
                       (part > 2 ? inner : 0);
    const int turn = (int(blockIdx.x) - before) % int(gridDim.x);
    m.first = turn < 0 ? turn + int(gridDim.x) : turn;
    return m;
}

// A warp's pieces of all matrices, in the order in which they are used: every so many tiles of a unit, so that the
// warps of a block read side by side.
struct Stream {
    const Words* base;  // of the matrix
    const Words* next;
    Words* ring;
    Matrix matrix;
    int number, unit, left, slot;

    __device__ void begin(const Words* weights, Words* rings) {
        base = weights;
        ring = rings + threadIdx.x / 32 * (C2T_STAGES * TILE) + threadIdx.x % 32;
        number = 0;
        slot = 0;
        matrix = matrix_of(0);
        unit = matrix.first;
        enter();
        for (int i = 0; i < C2T_STAGES - 1; ++i) copy();
    }
    // The warp's part of the current unit; nothing, where the matrix has no unit for the block.
    __device__ void enter() {
        left = unit < matrix.units ? matrix.tiles_of_warp() : 0;
        next = base + ((long long)unit * matrix.tiles + threadIdx.x / 32) * TILE + threadIdx.x % 32;
    }
    // Start to copy the next piece, if there is one, and count it in any case.
    __device__ void copy() {
        while (left == 0 && number <= 4 * C2T_LAYERS) {
            unit += gridDim.x;
            if (unit >= matrix.units) {
                base += (long long)matrix.units * matrix.tiles * TILE;
                if (++number > 4 * C2T_LAYERS) break;
                matrix = matrix_of(number);
                unit = matrix.first;
            }
            enter();
        }
        if (left) {
            copy_async(ring + slot * TILE, next);
            copy_async(ring + slot * TILE + 32, next + 32);
            next += TILE * C2T_WARPS;
            --left;
        }
        commit_copies();
        slot = slot + 1 == C2T_STAGES ? 0 : slot + 1;
    }
    // The two Words of this lane of the oldest piece; the place of the one before is filled again.
    __device__ void take(Words& first, Words& second) {
        wait_for_copies<C2T_STAGES - 2>();
        const int oldest = slot + 1 == C2T_STAGES ? 0 : slot + 1;
        first = ring[oldest * TILE];
        second = ring[oldest * TILE + 32];
        copy();
    }
};

// What all blocks write and read.
struct Step {
    const float *cosines, *sines;  // [positions, head / 2]
    const unsigned short* embeds;  // [rows, width]
    const long long *positions;    // [rows]
    const long long *write_index;  // [batch]
    const long long *logit_rows;   // [batch, places]
    unsigned short* cache;         // keys of the first layer, [batch, KV heads, capacity, head]
    float* logits;                 // [batch, places, vocabulary]
    float* residual;               // [rows, width]
    unsigned short *queries, *context;  // [rows, heads, head]
    float* parts;                  // [quarters, rows, heads, PARTIAL]: see `attend_all`
    unsigned short* product;       // [rows, inner]
    unsigned* barrier;             // 2 zeros, left as zeros
    long long cache_stride;        // from keys to values, and on to the next layer's keys
    int batch, tokens, places, capacity;
    float epsilon, scale;
};

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

// All blocks have come this far, and see what the others wrote.
__device__ inline void wait_for_all(const Step& s, unsigned& passed) {
    __syncthreads();
    if (threadIdx.x == 0) {
        __threadfence();
        atomicAdd(s.barrier, 1u);
        passed += gridDim.x;
        while (load_acquire(s.barrier) < passed) {
        }
        __threadfence();
    }
    __syncthreads();
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
template <int PARTS, class Finish>
__device__ inline void multiply(Stream& stream, const Activations (&a)[PARTS], int number, int rows, float* meeting,
                                Finish finish) {
    const Matrix matrix = matrix_of(number);
    const int mine = matrix.tiles_of_warp();
    int turn = 0;
    for (int unit = matrix.first; unit < matrix.units; unit += gridDim.x) {
        float sum[2][4] = {};
#pragma unroll
        for (int i = 0; i < PARTS; ++i) {
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
__device__ inline void read_normalised(Activations (&a)[PART(C2T_WIDTH)], const Step& s, int rows, float* squares,
                                       Source source) {
    const int warp = threadIdx.x / 32, row = threadIdx.x % 32 / 4, quarter = threadIdx.x % 4;
    float x[C2T_ROWS / 8][PART(C2T_WIDTH)][8];
#pragma unroll
    for (int half = 0; half < C2T_ROWS / 8; ++half) {
        const int mine = row + half * 8;
        const float* values = s.residual + (mine < rows ? source(mine) * C2T_WIDTH : 0);
        float square = 0.0f;
#pragma unroll
        for (int i = 0; i < PART(C2T_WIDTH); ++i) {
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
        for (int i = 0; i < PART(C2T_WIDTH); ++i) {
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

// A weighted sum of values so far (largest score, sum of weights, one number of the sum) and that of further slots.
__device__ inline void merge(float& top, float& weight, float& value, float other_top, float other_weight,
                             float other_value) {
    const float larger = fmaxf(top, other_top);
    const float mine = weight > 0.0f ? __expf(top - larger) : 0.0f;
    const float theirs = other_weight > 0.0f ? __expf(other_top - larger) : 0.0f;
    top = larger;
    weight = fmaf(other_weight, theirs, weight * mine);
    value = fmaf(other_value, theirs, value * mine);
}

// What an item of attention is: COUNT tokens of a cell, and a head.
struct Attended {
    int cell, head, first, count;  // the first token and how many
    int before;                    // slots that the first of the tokens sees, less its own
    long long kv;                  // of the cell's and head's keys in the layer's
};

template <int COUNT>
__device__ inline Attended attended(const Step& s, int number, const int* slot_of_row) {
    const int groups = (s.tokens + COUNT - 1) / COUNT, group = number / C2T_HEADS;
    Attended item;
    item.cell = group / groups;
    item.head = number % C2T_HEADS;
    item.first = group % groups * COUNT;
    item.count = s.tokens - item.first < COUNT ? s.tokens - item.first : COUNT;
    item.before = slot_of_row[item.cell * s.tokens + item.first];
    const int kv_head = item.head / (C2T_HEADS / C2T_KV_HEADS);
    item.kv = (long long)(item.cell * C2T_KV_HEADS + kv_head) * s.capacity * C2T_HEAD;
    return item;
}
__device__ inline float* part_of(const Step& s, int quarter, int row, int head) {
    return s.parts + ((long long)(quarter * C2T_ROWS + row) * C2T_HEADS + head) * PARTIAL;
}

// COUNT tokens over the slots of one quarter: turn t of the block, of a slot for each group of lanes, belongs to quarter
// t % 4, whichever block runs it. Leaves each warp's part in `meeting`: [warps, COUNT, PARTIAL].
template <int COUNT>
__device__ inline void attend(const Step& s, const unsigned short* keys, const unsigned short* values,
                              const Attended& item, int quarter, float* meeting) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = lane % LANES_OF_SLOT * 8;
    const int stride = QUARTERS * C2T_WARPS * SLOTS_OF_WARP;
    float query[COUNT][8], sum[COUNT][8], top[COUNT], weight[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        const int row = item.cell * s.tokens + item.first + (i < item.count ? i : 0);
        const Words q = load_shared_by_blocks((const Words*)(s.queries + row * QUERIES + item.head * C2T_HEAD + dim));
        const unsigned both[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            query[i][j] = (j % 2 ? high_half(both[j / 2]) : low_half(both[j / 2])) * s.scale;
            sum[i][j] = 0.0f;
        }
        top[i] = -1.0f / 0.0f;
        weight[i] = 0.0f;
    }
    const int slots = item.before + item.count;
    const unsigned short* key_row = keys + item.kv + dim;
    const unsigned short* value_row = values + item.kv + dim;
    const Words nothing = {0, 0, 0, 0};
    int slot = (quarter * C2T_WARPS + warp) * SLOTS_OF_WARP + lane / LANES_OF_SLOT;
    Words next_key = nothing, next_value = nothing;
    if (slot < slots) {
        next_key = load_shared_by_blocks((const Words*)(key_row + (long long)slot * C2T_HEAD));
        next_value = load_shared_by_blocks((const Words*)(value_row + (long long)slot * C2T_HEAD));
    }
    // All lanes of the block make the same number of turns: they exchange numbers.
    for (int turn = quarter * C2T_WARPS * SLOTS_OF_WARP; turn < slots; turn += stride, slot += stride) {
        const Words key = next_key, value = next_value;
        if (slot + stride < slots) {
            next_key = load_shared_by_blocks((const Words*)(key_row + (long long)(slot + stride) * C2T_HEAD));
            next_value = load_shared_by_blocks((const Words*)(value_row + (long long)(slot + stride) * C2T_HEAD));
        }
        const unsigned k[4] = {key.x, key.y, key.z, key.w}, v[4] = {value.x, value.y, value.z, value.w};
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            float score = 0.0f;
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                score = fmaf(query[i][2 * j], low_half(k[j]), score);
                score = fmaf(query[i][2 * j + 1], high_half(k[j]), score);
            }
#pragma unroll
            for (int step = 1; step < LANES_OF_SLOT; step *= 2) score += __shfl_xor_sync(0xFFFFFFFF, score, step);
            if (slot <= item.before + i && slot < slots) {  // what comes after a token is not seen by it
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
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
#pragma unroll
        for (int step = LANES_OF_SLOT; step < 32; step *= 2) {
            const float other_top = __shfl_xor_sync(0xFFFFFFFF, top[i], step);
            const float other_weight = __shfl_xor_sync(0xFFFFFFFF, weight[i], step);
            const float my_top = top[i], my_weight = weight[i];
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                const float other = __shfl_xor_sync(0xFFFFFFFF, sum[i][j], step);
                top[i] = my_top;
                weight[i] = my_weight;
                merge(top[i], weight[i], sum[i][j], other_top, other_weight, other);
            }
        }
        float* place = meeting + (warp * COUNT + i) * PARTIAL;
        if (lane < LANES_OF_SLOT) {
#pragma unroll
            for (int j = 0; j < 8; ++j) place[dim + j] = sum[i][j];
            if (lane == 0) {
                place[C2T_HEAD] = top[i];
                place[C2T_HEAD + 1] = weight[i];
            }
        }
    }
}

// Bring the keys and values that attention will read into the cache that all blocks share, while the layer's own are
// still computed.
template <int COUNT> __device__ inline void prefetch_slots(const Step& s, const unsigned short* keys,
                                                           const unsigned short* values, const int* slot_of_row,
                                                           int splits) {
    const int groups = (s.tokens + COUNT - 1) / COUNT, items = s.batch * groups * C2T_HEADS * splits;
    for (int number = blockIdx.x; number < items; number += gridDim.x) {
        const Attended item = attended<COUNT>(s, number / splits, slot_of_row);
        if (item.head % (C2T_HEADS / C2T_KV_HEADS)) continue;  // the first of the heads does it for all that share
        for (int slot = threadIdx.x; slot < item.before; slot += THREADS) {
            if (splits > 1 && slot / (C2T_WARPS * SLOTS_OF_WARP) % QUARTERS != number % splits) continue;
            for (int dim = 0; dim < C2T_HEAD; dim += 64) {  // a line of 128 bytes
                prefetch(keys + item.kv + (long long)slot * C2T_HEAD + dim);
                prefetch(values + item.kv + (long long)slot * C2T_HEAD + dim);
            }
        }
    }
}

// The context of a tile, merged from its quarters.
__device__ inline Words read_parts(const Step& s, int tile, int row) {
    const int k = tile * 32 + threadIdx.x % 4 * 8;
    float top = -1.0f / 0.0f, weight = 0.0f, value[8] = {};
#pragma unroll
    for (int quarter = 0; quarter < QUARTERS; ++quarter) {
        const float* part = part_of(s, quarter, row, k / C2T_HEAD);
        const Words one = load_shared_by_blocks((const Words*)(part + k % C2T_HEAD));
        const Words two = load_shared_by_blocks((const Words*)(part + k % C2T_HEAD + 4));
        const Words ends = load_shared_by_blocks((const Words*)(part + C2T_HEAD));
        const unsigned bits[8] = {one.x, one.y, one.z, one.w, two.x, two.y, two.z, two.w};
        const float my_top = top, my_weight = weight;
#pragma unroll
        for (int j = 0; j < 8; ++j) {
            top = my_top;
            weight = my_weight;
            merge(top, weight, value[j], __uint_as_float(ends.x), __uint_as_float(ends.y), __uint_as_float(bits[j]));
        }
    }
    return Words{pack_halves(value[0] / weight, value[1] / weight), pack_halves(value[2] / weight, value[3] / weight),
                 pack_halves(value[4] / weight, value[5] / weight), pack_halves(value[6] / weight, value[7] / weight)};
}

// Attention of all rows. Where there are blocks enough, each takes a quarter of the slots and leaves its part to
// `read_parts`; else each merges the quarters itself, in the same order and so to the same bits.
template <int COUNT>
__device__ inline void attend_all(const Step& s, const unsigned short* keys, const unsigned short* values,
                                  const int* slot_of_row, int splits, float* meeting) {
    const int groups = (s.tokens + COUNT - 1) / COUNT, items = s.batch * groups * C2T_HEADS * splits;
    for (int number = blockIdx.x; number < items; number += gridDim.x) {
        const Attended item = attended<COUNT>(s, number / splits, slot_of_row);
        const int row = threadIdx.x / C2T_HEAD, dim = threadIdx.x % C2T_HEAD;
        float top = -1.0f / 0.0f, weight = 0.0f, value = 0.0f;
        for (int quarter = number % splits; quarter < QUARTERS; quarter += splits) {
            attend<COUNT>(s, keys, values, item, quarter, meeting);
            __syncthreads();
            if (row < item.count) {
                const float* place = meeting + row * PARTIAL;
                float part_top = -1.0f / 0.0f, part_weight = 0.0f, part_value = 0.0f;
#pragma unroll
                for (int w = 0; w < C2T_WARPS; ++w) part_top = fmaxf(part_top, place[w * COUNT * PARTIAL + C2T_HEAD]);
#pragma unroll
                for (int w = 0; w < C2T_WARPS; ++w) {
                    const float* part = place + w * COUNT * PARTIAL;
                    const float factor = part[C2T_HEAD + 1] > 0.0f ? __expf(part[C2T_HEAD] - part_top) : 0.0f;
                    part_weight = fmaf(part[C2T_HEAD + 1], factor, part_weight);
                    part_value = fmaf(part[dim], factor, part_value);
                }
                if (splits == 1) {
                    merge(top, weight, value, part_top, part_weight, part_value);
                } else {
                    float* part = part_of(s, quarter, item.cell * s.tokens + item.first + row, item.head);
                    part[dim] = part_value;
                    if (dim == 0) {
                        part[C2T_HEAD] = part_top;
                        part[C2T_HEAD + 1] = part_weight;
                    }
                }
            }
            __syncthreads();
        }
        if (splits == 1 && row < item.count) {
            const int at = (item.cell * s.tokens + item.first + row) * QUERIES + item.head * C2T_HEAD + dim;
            s.context[at] = (unsigned short)pack_halves(value / weight, 0.0f);
        }
    }
}

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

extern "C" __global__ void __launch_bounds__(THREADS) decoder_step(
    const Words* __restrict__ weights, const float* __restrict__ cosines, const float* __restrict__ sines,
    const unsigned short* __restrict__ embeds, const long long* __restrict__ positions,
    const long long* __restrict__ write_index, const long long* __restrict__ logit_rows, unsigned short* cache,
    float* logits, float* residual, unsigned short* queries, unsigned short* context, float* parts,
    unsigned short* product, unsigned* barrier, long long cache_stride, int batch, int tokens, int places_of_cell, int capacity, float epsilon,
    float scale) {
    const Step s = {cosines, sines,   embeds, positions, write_index,  logit_rows, cache,  logits,         residual, queries,
                    context, parts,   product, barrier,  cache_stride, batch,      tokens, places_of_cell, capacity, epsilon,
                    scale};
    Words* rings = shared_memory();
    float* meeting = (float*)(rings + C2T_WARPS * C2T_STAGES * TILE);
    float* squares = meeting + (2 * MEETING > ATTENDING ? 2 * MEETING : ATTENDING);
    Places& places = *(Places*)(squares + C2T_ROWS * C2T_WARPS);
    const int rows = s.batch * s.tokens;
    unsigned passed = 0;
    Stream stream;
    stream.begin(weights, rings);

    read_places(s, places);
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < rows * C2T_WIDTH; i += gridDim.x * THREADS) {
        s.residual[i] = half_value(s.embeds[i]);
    }
    wait_for_all(s, passed);
    const int items = s.batch * C2T_HEADS * (s.tokens == 1 ? 1 : (s.tokens + ATTENDED - 1) / ATTENDED);
    const int splits = items * QUARTERS <= int(gridDim.x) ? QUARTERS : 1;
    Activations a[PART(C2T_WIDTH)];
    const auto same = [](int row) { return row; };
    for (int layer = 0; layer < C2T_LAYERS; ++layer) {
        unsigned short* keys = s.cache + 2 * layer * s.cache_stride;
        unsigned short* values = keys + s.cache_stride;
        const auto add = [&](int row, int column, float one, float other) {
            float* place = s.residual + row * C2T_WIDTH + column;
            place[0] = load_shared_by_blocks(place) + one;
            place[1] = load_shared_by_blocks(place + 1) + other;
        };
        if (s.tokens == 1) {
            prefetch_slots<1>(s, keys, values, places.slot, splits);
        } else {
            prefetch_slots<ATTENDED>(s, keys, values, places.slot, splits);
        }
        read_normalised(a, s, rows, squares, same);
        multiply(stream, a, 4 * layer, rows, meeting, [&](int row, int column, float one, float other) {
            finish_heads(s, places, keys, values, row, column, one, other);
        });
        wait_for_all(s, passed);

        if (s.tokens == 1) {
            attend_all<1>(s, keys, values, places.slot, splits, meeting);
        } else {
            attend_all<ATTENDED>(s, keys, values, places.slot, splits, meeting);
        }
        wait_for_all(s, passed);

        Activations context[PART(QUERIES)];
#pragma unroll
        for (int i = 0; i < PART(QUERIES); ++i) {
            const int tile = i * C2T_WARPS + threadIdx.x / 32;
            if (splits == 1) {
                context[i] = read_tile<QUERIES>(s.context, tile, rows);
                continue;
            }
            const int row = threadIdx.x % 32 / 4;
            const bool there = tile * 32 + threadIdx.x % 4 * 8 < QUERIES;
            context[i] = {};
            if (there && row < rows) context[i].row = read_parts(s, tile, row);
#if C2T_ROWS == 16
            if (there && row + 8 < rows) context[i].partner = read_parts(s, tile, row + 8);
#endif
        }
        multiply(stream, context, 4 * layer + 1, rows, meeting, add);
        wait_for_all(s, passed);

        read_normalised(a, s, rows, squares, same);
        multiply(stream, a, 4 * layer + 2, rows, meeting, [&](int row, int column, float gate, float up) {
            const float value = gate / (1.0f + __expf(-gate)) * up;
            s.product[row * C2T_INNER + column / 2] = (unsigned short)pack_halves(value, 0.0f);
        });
        wait_for_all(s, passed);

        // The MLP's inner activations are too many for registers: they are read a few tiles ahead.
        const Matrix down = matrix_of(4 * layer + 3);
        const int mine = down.tiles_of_warp(), warp = threadIdx.x / 32;
        int turn = 0;
        for (int unit = down.first; unit < down.units; unit += gridDim.x) {
            float sum[2][4] = {};
            Activations ahead[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) ahead[i] = read_tile<C2T_INNER>(s.product, i * C2T_WARPS + warp, rows);
            for (int begin = 0; begin < mine; begin += AHEAD) {
#pragma unroll
                for (int i = 0; i < AHEAD; ++i) {
                    const Activations now = ahead[i];
                    const int later = begin + AHEAD + i;
                    if (later < mine) ahead[i] = read_tile<C2T_INNER>(s.product, later * C2T_WARPS + warp, rows);
                    if (begin + i < mine) {
                        Words first, second;
                        stream.take(first, second);
                        add_tile(sum, now, first, second);
                    }
                }
            }
            meet(meeting + turn * MEETING, sum, rows, unit, add);
            turn ^= 1;
        }
        wait_for_all(s, passed);
    }
    const int chosen = s.batch * s.places;
    read_normalised(a, s, chosen, squares, [&](int row) {
        return row / s.places * s.tokens + int(s.logit_rows[row]);
    });
    multiply(stream, a, 4 * C2T_LAYERS, chosen, meeting, [&](int row, int column, float one, float other) {
        float* place = s.logits + (long long)row * C2T_VOCABULARY + column;
        if (column < C2T_VOCABULARY) place[0] = one;
        if (column + 1 < C2T_VOCABULARY) place[1] = other;
    });
    // The last block to come here leaves the counters as it found them: no block looks at them any more.
    if (threadIdx.x == 0 && atomicAdd(s.barrier + 1, 1u) == gridDim.x - 1) {
        s.barrier[0] = 0;
        s.barrier[1] = 0;
    }
}
