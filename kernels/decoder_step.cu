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

#include "step_attention.cuh"
#include "step_products.cuh"

#define AHEAD 4  // tiles of the MLP's inner activations that are read ahead

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
