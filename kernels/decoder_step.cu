// A whole step of a Llama decoder, of up to 16 tokens, in one kernel that reads every weight once.
//
// A step of few tokens cannot be faster than reading the weights, so they are one stream: pieces of all matrices of all
// layers are copied, in order, through rings in shared memory, ahead of the sums by a ring's length. So memory stays
// busy while the blocks wait for each other between the parts of a layer.
//
// One block on every multiprocessor; they must all run at once (a cooperative launch). 16 columns of a matrix are a
// unit of one block, whose warps share the sum and add their parts in a fixed order: a row's numbers do not depend on
// how many rows there are, and nothing changes from run to run.
//   C2T_LAYERS, C2T_WIDTH, C2T_INNER (of the MLP), C2T_HEADS, C2T_KV_HEADS, C2T_HEAD (size), C2T_VOCABULARY
//   C2T_ROWS    8 or 16: the most rows (tokens of all cells) of the step
//   C2T_WARPS
//   C2T_STAGES  pieces in a warp's ring
//   C2T_ATTENDED  the most tokens of a cell that attend together
//   C2T_FIXED   bytes of shared memory besides the rings, as the host has counted them

#include "tensor_core.cuh"

#define QUERIES (C2T_HEADS * C2T_HEAD)
#define KEYS (C2T_KV_HEADS * C2T_HEAD)
#define THREADS (C2T_WARPS * 32)
#define TILE 64  // Words of a tile: 16 columns by 32 numbers of the sum
#define TILES(sums) (((sums) + 31) / 32)
#define ROUNDS(sums) ((TILES(sums) + C2T_WARPS - 1) / C2T_WARPS)  // in which each warp takes a tile of the sum
#define UNITS(columns) (((columns) + 15) / 16)
// Floats of the place where the warps' parts meet: a row's 16 columns by the warps, 17 apart for the banks.
#define MEETING (C2T_ROWS * 16 * (C2T_WARPS + 1))
#define AHEAD 4  // tiles of the MLP's inner activations that are read ahead
#define PARTIAL (C2T_HEAD + 2)  // a weighted sum of values, its largest score, its sum of weights
#define ATTENDING (C2T_WARPS * C2T_ATTENDED * PARTIAL)  // floats of the place where the warps' parts meet
#define LANES_OF_SLOT (C2T_HEAD / 8)
#define SLOTS_OF_WARP (32 / LANES_OF_SLOT)
#define SLOTS_OF_BLOCK (C2T_WARPS * SLOTS_OF_WARP)

// The matrices in order, four in each layer and at last the logits', and which units of them are the block's. The
// blocks take turns over all matrices, so that none has more than its share in the end.
struct Matrix {
    int number, units, tiles;
    int first;  // the block's first unit

    __device__ void begin() {
        number = 0;
        first = blockIdx.x;
        size();
    }
    __device__ void next() {
        first = (first + int(gridDim.x) - units % int(gridDim.x)) % int(gridDim.x);
        ++number;
        size();
    }
    __device__ void size() {
        const int part = number % 4;
        units = number == 4 * C2T_LAYERS ? UNITS(C2T_VOCABULARY)
                : part == 0              ? UNITS(QUERIES + 2 * KEYS)
                : part == 2              ? UNITS(2 * C2T_INNER)
                                         : UNITS(C2T_WIDTH);
        tiles = TILES(part == 1 ? QUERIES : part == 3 ? C2T_INNER : C2T_WIDTH);
    }
    __device__ bool is_last() const { return number == 4 * C2T_LAYERS; }
    __device__ int tiles_of_warp() const { return (tiles - int(threadIdx.x / 32) + C2T_WARPS - 1) / C2T_WARPS; }
};

// A ring for each warp, that its lanes fill themselves: a piece is a tile, and a lane reads what it copied.
struct Stream {
    const Words* base;  // of the matrix
    const Words* next;
    Words* ring;
    Matrix matrix;
    int unit, left, slot;

    __device__ void begin(const Words* weights, Words* rings) {
        base = weights;
        ring = rings + threadIdx.x / 32 * (C2T_STAGES * TILE) + threadIdx.x % 32;
        slot = 0;
        matrix.begin();
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
        while (left == 0 && unit < matrix.units + int(gridDim.x)) {
            unit += gridDim.x;
            if (unit >= matrix.units) {
                if (matrix.is_last()) {
                    unit = matrix.units + gridDim.x;
                    break;
                }
                base += (long long)matrix.units * matrix.tiles * TILE;
                matrix.next();
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
    // The two Words of this lane of the next tile, if there is one for the warp; the place of the one before is filled
    // again.
    __device__ void take(Words& first, Words& second, bool mine) {
        if (!mine) return;
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
template <int COUNT, class Finish>
__device__ inline void multiply(Stream& stream, const Activations (&a)[COUNT], const Matrix& matrix, int rows,
                                float* meeting, Finish finish) {
    const int mine = matrix.tiles_of_warp();
    int turn = 0;
    for (int unit = matrix.first; unit < matrix.units; unit += gridDim.x) {
        float sum[2][4] = {};
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            Words first, second;
            stream.take(first, second, i < mine);
            if (i < mine) add_tile(sum, a[i], first, second);
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

// COUNT tokens of one cell from token `begin` on, and one head: warps and groups of lanes share the slots. Slots are
// read TURNS at a time, since a read takes as long as many sums.
template <int COUNT, int TURNS>
__device__ inline void attend(const Step& s, const unsigned short* keys, const unsigned short* values, int cell,
                              int begin, int head, int before, float* meeting) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, dim = lane % LANES_OF_SLOT * 8;
    const int count = s.tokens - begin < COUNT ? s.tokens - begin : COUNT;
    const int slots = before + count;  // `before`: what the first of the tokens sees, less its own
    const long long kv =
        (long long)(cell * C2T_KV_HEADS + head / (C2T_HEADS / C2T_KV_HEADS)) * s.capacity * C2T_HEAD + dim;
    const int row = cell * s.tokens + begin;
    Words q[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        const int at = (row + (i < count ? i : 0)) * QUERIES + head * C2T_HEAD + dim;
        q[i] = load_shared_by_blocks((const Words*)(s.queries + at));
    }
    float sum[COUNT][8], top[COUNT], weight[COUNT];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        top[i] = -1.0f / 0.0f;
        weight[i] = 0.0f;
        for (int j = 0; j < 8; ++j) sum[i][j] = 0.0f;
    }
    const int mine = warp * SLOTS_OF_WARP + lane / LANES_OF_SLOT;
    // All lanes of the block make the same number of turns: they exchange numbers.
    for (int turn = 0; turn < slots; turn += TURNS * SLOTS_OF_BLOCK) {
        Words key[TURNS], value[TURNS];
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            const int slot = turn + t * SLOTS_OF_BLOCK + mine;
            const long long at = kv + (long long)(slot < slots ? slot : 0) * C2T_HEAD;
            key[t] = load_shared_by_blocks((const Words*)(keys + at));
            value[t] = load_shared_by_blocks((const Words*)(values + at));
        }
#pragma unroll
        for (int t = 0; t < TURNS; ++t) {
            const int slot = turn + t * SLOTS_OF_BLOCK + mine;
            const unsigned k[4] = {key[t].x, key[t].y, key[t].z, key[t].w};
            const unsigned v[4] = {value[t].x, value[t].y, value[t].z, value[t].w};
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                const unsigned mine_of_query[4] = {q[i].x, q[i].y, q[i].z, q[i].w};
                float score = 0.0f;
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    score = fmaf(low_half(mine_of_query[j]), low_half(k[j]), score);
                    score = fmaf(high_half(mine_of_query[j]), high_half(k[j]), score);
                }
#pragma unroll
                for (int step = 1; step < LANES_OF_SLOT; step *= 2) score += __shfl_xor_sync(0xFFFFFFFF, score, step);
                if (slot <= before + i && slot < slots) {  // what comes after a token is not seen by it
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
    for (int at = threadIdx.x; at < count * C2T_HEAD; at += THREADS) {
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
        const int place_of_row = (row + at / C2T_HEAD) * QUERIES + head * C2T_HEAD + at % C2T_HEAD;
        s.context[place_of_row] = (unsigned short)pack_halves(value / total, 0.0f);
    }
    __syncthreads();
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

const int SHARED_FLOATS = (2 * MEETING > ATTENDING ? 2 * MEETING : ATTENDING) + C2T_ROWS * C2T_WARPS;
static_assert(SHARED_FLOATS * sizeof(float) + sizeof(Places) == C2T_FIXED, "the host counts other shared memory");
static_assert(TILE * sizeof(Words) == 1024, "the host counts other pieces");

extern "C" __global__ void __launch_bounds__(THREADS) decoder_step(
    const Words* __restrict__ weights, const float* __restrict__ cosines, const float* __restrict__ sines,
    const unsigned short* __restrict__ embeds, const long long* __restrict__ positions,
    const long long* __restrict__ write_index, const long long* __restrict__ logit_rows, unsigned short* cache,
    float* logits, float* residual, unsigned short* queries, unsigned short* context, unsigned short* product,
    unsigned* barrier, long long cache_stride, int batch, int tokens, int places_of_cell, int capacity, float epsilon,
    float scale) {
    const Step s = {cosines,  sines,   embeds,  positions, write_index,  logit_rows, cache,  logits,         residual,
                    queries,  context, product, barrier,   cache_stride, batch,      tokens, places_of_cell, capacity,
                    epsilon,  scale};
    Words* rings = shared_memory();
    float* meeting = (float*)(rings + C2T_WARPS * C2T_STAGES * TILE);
    Places& places = *(Places*)(meeting + SHARED_FLOATS);
    float* squares = meeting + SHARED_FLOATS - C2T_ROWS * C2T_WARPS;
    const int rows = s.batch * s.tokens;
    unsigned passed = 0;
    Stream stream;
    stream.begin(weights, rings);

    read_places(s, places);
    for (int i = blockIdx.x * THREADS + threadIdx.x; i < rows * C2T_WIDTH; i += gridDim.x * THREADS) {
        s.residual[i] = half_value(s.embeds[i]);
    }
    wait_for_all(s, passed);
    Activations a[ROUNDS(C2T_WIDTH)];
    const auto same = [](int row) { return row; };
    Matrix matrix;
    matrix.begin();
    for (int layer = 0; layer < C2T_LAYERS; ++layer) {
        unsigned short* keys = s.cache + 2 * layer * s.cache_stride;
        unsigned short* values = keys + s.cache_stride;
        const auto add = [&](int row, int column, float one, float other) {
            float* place = s.residual + row * C2T_WIDTH + column;
            place[0] = load_shared_by_blocks(place) + one;
            place[1] = load_shared_by_blocks(place + 1) + other;
        };
        read_normalised(a, s, rows, squares, same);
        multiply(stream, a, matrix, rows, meeting, [&](int row, int column, float one, float other) {
            finish_heads(s, places, keys, values, row, column, one, other);
        });
        matrix.next();
        wait_for_all(s, passed);

        const int groups = (s.tokens + C2T_ATTENDED - 1) / C2T_ATTENDED;
        for (int item = blockIdx.x; item < s.batch * groups * C2T_HEADS; item += gridDim.x) {
            const int head = item % C2T_HEADS, group = item / C2T_HEADS;
            const int cell = group / groups, begin = group % groups * C2T_ATTENDED;
            const int before = places.slot[cell * s.tokens + begin];
            if (s.tokens == 1) {
                attend<1, 4>(s, keys, values, cell, begin, head, before, meeting);
            } else {
                attend<C2T_ATTENDED, 2>(s, keys, values, cell, begin, head, before, meeting);
            }
        }
        wait_for_all(s, passed);

        Activations context[ROUNDS(QUERIES)];
#pragma unroll
        for (int i = 0; i < ROUNDS(QUERIES); ++i) {
            context[i] = read_tile<QUERIES>(s.context, i * C2T_WARPS + threadIdx.x / 32, rows);
        }
        multiply(stream, context, matrix, rows, meeting, add);
        matrix.next();
        wait_for_all(s, passed);

        read_normalised(a, s, rows, squares, same);
        multiply(stream, a, matrix, rows, meeting, [&](int row, int column, float gate, float up) {
            const float value = gate / (1.0f + __expf(-gate)) * up;
            s.product[row * C2T_INNER + column / 2] = (unsigned short)pack_halves(value, 0.0f);
        });
        matrix.next();
        wait_for_all(s, passed);

        // The MLP's inner activations are too many for registers: they are read a few tiles ahead.
        const int mine = matrix.tiles_of_warp(), warp = threadIdx.x / 32;
        int turn = 0;
        for (int unit = matrix.first; unit < matrix.units; unit += gridDim.x) {
            float sum[2][4] = {};
            Activations ahead[AHEAD];
#pragma unroll
            for (int i = 0; i < AHEAD; ++i) ahead[i] = read_tile<C2T_INNER>(s.product, i * C2T_WARPS + warp, rows);
            for (int begin = 0; begin < ROUNDS(C2T_INNER); begin += AHEAD) {
#pragma unroll
                for (int i = 0; i < AHEAD; ++i) {
                    if (begin + i >= ROUNDS(C2T_INNER)) break;
                    const Activations now = ahead[i];
                    const int later = begin + AHEAD + i;
                    if (later < mine) ahead[i] = read_tile<C2T_INNER>(s.product, later * C2T_WARPS + warp, rows);
                    Words first, second;
                    stream.take(first, second, begin + i < mine);
                    if (begin + i < mine) add_tile(sum, now, first, second);
                }
            }
            meet(meeting + turn * MEETING, sum, rows, unit, add);
            turn ^= 1;
        }
        matrix.next();
        wait_for_all(s, passed);
    }
    const int chosen = s.batch * s.places;
    read_normalised(a, s, chosen, squares, [&](int row) {
        return row / s.places * s.tokens + int(s.logit_rows[row]);
    });
    multiply(stream, a, matrix, chosen, meeting, [&](int row, int column, float one, float other) {
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
