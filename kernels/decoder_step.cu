// A whole step of a Llama decoder, of up to 16 tokens, in one kernel that reads every weight once.
//
// A step of few tokens cannot be faster than reading the weights, so they are one stream: tiles of all matrices of all
// layers are copied, in order, through rings in shared memory, ahead of the sums by a ring's length. So memory stays
// busy while the blocks wait for each other between the parts of a layer. All matrices go through one and the same loop
// of few instructions: longer forms of this kernel were slower (benchmarks/results/gpu_step.txt).
//
// One block on every multiprocessor; they must all run at once (a cooperative launch). 16 columns of a matrix are a
// unit of one block, whose warps share the sum and add their parts in a fixed order: a row's numbers do not depend on
// how many rows there are, and nothing changes from run to run.
//   C2T_LAYERS, C2T_WIDTH, C2T_INNER (of the MLP), C2T_HEADS, C2T_KV_HEADS, C2T_HEAD (size), C2T_VOCABULARY
//   C2T_ROWS    8 or 16: the most rows (tokens of all cells) of the step
//   C2T_BLOCKS  of the grid
//   C2T_WARPS   of a block
//   C2T_CHUNK   tiles of a warp whose activations are held together
//   C2T_STAGES  tiles in a warp's ring
//   C2T_ATTENDED  the most tokens of a cell that attend together
//   C2T_FIXED   bytes of shared memory besides the rings, as the host has counted them

#include "step_attention.cuh"
#include "step_products.cuh"

// The block's own columns of the stream between layers, which it alone adds to.
#define OWN_UNITS ((UNITS(C2T_WIDTH) + C2T_BLOCKS - 1) / C2T_BLOCKS)
__device__ inline float* own_place(float* own, int row, int column) {
    return own + (column / 16 / C2T_BLOCKS * C2T_ROWS + row) * 16 + column % 16;
}

// All blocks have come this far, and see what the others wrote; `times`: how often they have met, this time included.
__device__ inline void wait_for_all(const Step& s, unsigned times) {
    __syncthreads();
    if (threadIdx.x == 0) {
        add_release(s.barrier, 1);
        while (load_acquire(s.barrier) < times * C2T_BLOCKS) {
        }
    }
    __syncthreads();
}

// Two columns of a product, on the way to who reads them. `keys`, `values`: the layer's part of the cache.
__device__ inline void finish(const Step& s, const Places& places, unsigned short* keys, unsigned short* values,
                              float* own, int part, int row, int column, float one, float other) {
    if (part == HEADS) {
        finish_heads(s, places, keys, values, row, column, one, other);
    } else if (part == GATE_UP) {
        const float value = one / (1.0f + __expf(-one)) * other;
        s.product[row * C2T_INNER + column / 2] = (unsigned short)pack_halves(value, 0.0f);
    } else if (part == LOGITS) {
        float* place = s.logits + (long long)row * C2T_VOCABULARY + column;
        if (column < C2T_VOCABULARY) place[0] = one;
        if (column + 1 < C2T_VOCABULARY) place[1] = other;
    } else {
        float *mine = own_place(own, row, column), *place = s.residual + row * C2T_WIDTH + column;
        place[0] = mine[0] += one;
        place[1] = mine[1] += other;
    }
}

// All rows attend to the cache, once all blocks have written their keys and values.
template <int COUNT, int TURNS>
__device__ inline void attend_all(const Step& s, const Places& places, const unsigned short* keys,
                                  const unsigned short* values, float* meeting, unsigned times) {
    // Blocks with fewer units attend. A row alone has registers to spare: what earlier steps have written is read while
    // the blocks wait for each other.
    const int items = Attended::items(s), first = C2T_BLOCKS - 1 - int(blockIdx.x);
    Slots<TURNS> slots = {};
    int read = 0;
    if (COUNT == 1 && first < items) {
        const Attended it(s, places, first);
        slots.read(keys, values, it.kv, 0, 0, it.before);
        read = it.before;
    }
    wait_for_all(s, times);
    for (int item = first; item < items; item += C2T_BLOCKS) {
        const Attended it(s, places, item);
        slots.read(keys, values, it.kv, 0, read, it.before + it.count);
        attend<COUNT, TURNS>(s, keys, values, it, slots, meeting);
        read = 0;
    }
}

// Floats of shared memory: where warps meet, squares of the rows, the block's own columns.
const int MEETINGS = 2 * MEETING > ATTENDING ? 2 * MEETING : ATTENDING, SQUARES = C2T_ROWS * C2T_WARPS,
          OWN = OWN_UNITS * C2T_ROWS * 16;
static_assert((MEETINGS + SQUARES + OWN) * sizeof(float) + sizeof(Places) == C2T_FIXED,
              "the host counts other shared memory");
static_assert(TILE * sizeof(Words) == 1024, "the host counts other tiles");

extern "C" __global__ void __launch_bounds__(THREADS) decoder_step(
    const Words* __restrict__ weights, const long long* __restrict__ starts, const float* __restrict__ cosines,
    const float* __restrict__ sines, const unsigned short* __restrict__ embeds,
    const long long* __restrict__ positions, const long long* __restrict__ write_index,
    const long long* __restrict__ logit_rows, unsigned short* cache, float* logits, float* residual,
    unsigned short* queries, unsigned short* context, unsigned short* product, unsigned* barrier,
    long long cache_stride, int batch, int tokens, int places_of_cell, int capacity, float epsilon, float scale) {
    const Step s = {cosines,  sines,   embeds,  positions, write_index,  logit_rows, cache,  logits,         residual,
                    queries,  context, product, barrier,   cache_stride, batch,      tokens, places_of_cell, capacity,
                    epsilon,  scale};
    Words* rings = shared_memory();
    float* meeting = (float*)(rings + C2T_WARPS * C2T_STAGES * TILE);
    float* squares = meeting + MEETINGS;
    float* own = squares + SQUARES;
    Places& places = *(Places*)(own + OWN);
    Stream stream;
    stream.begin(weights, starts, rings);

    read_places(s, places);
    for (int unit = blockIdx.x; unit < UNITS(C2T_WIDTH); unit += C2T_BLOCKS) {
        for (int at = threadIdx.x; at < s.batch * s.tokens * 16; at += THREADS) {
            const int row = at / 16, column = unit * 16 + at % 16, place = row * C2T_WIDTH + column;
            s.residual[place] = *own_place(own, row, column) = half_value(s.embeds[place]);
        }
    }
    wait_for_all(s, 1);
    for (int number = 0; number <= 4 * C2T_LAYERS; ++number) {
        const int part = number == 4 * C2T_LAYERS ? LOGITS : number % 4;
        const int rows = s.batch * (part == LOGITS ? s.places : s.tokens);
        unsigned short* keys = s.cache + 2 * (number / 4) * s.cache_stride;
        unsigned short* values = keys + s.cache_stride;

        const unsigned short* source = part == OUTPUT ? s.context : part == DOWN ? s.product : nullptr;
        const int sums = part == OUTPUT ? QUERIES : part == DOWN ? C2T_INNER : C2T_WIDTH;
        const int units = part == HEADS     ? UNITS(QUERIES + 2 * KEYS)
                          : part == GATE_UP ? UNITS(2 * C2T_INNER)
                          : part == LOGITS  ? UNITS(C2T_VOCABULARY)
                                            : UNITS(C2T_WIDTH);
        const int chunks = part == OUTPUT ? CHUNKS(QUERIES) : part == DOWN ? CHUNKS(C2T_INNER) : 1;
        Activations next;
        if (!source) {
            next = read_normalised(s, rows, squares, [&](int row) {
                return part == LOGITS ? row / s.places * s.tokens + int(s.logit_rows[row]) : row;
            });
        }
        int turn = 0;  // `meeting` alternates, so that units need one barrier each
        for (int unit = blockIdx.x; unit < units; unit += C2T_BLOCKS) {
            float sum[2][HALVES][4] = {};
            if (source) next = read_chunk(source, 0, rows, sums);
            for (int chunk = 0; chunk < chunks; ++chunk) {
                const Activations now = next;
                if (chunk + 1 < chunks) next = read_chunk(source, chunk + 1, rows, sums);
                add_chunk(sum, stream, now);
            }
            meet(meeting + turn * MEETING, sum, rows, unit, [&](int row, int column, float one, float other) {
                finish(s, places, keys, values, own, part, row, column, one, other);
            });
            turn ^= 1;
        }
        if (part == LOGITS) break;
        const unsigned waits = 2 + number + number / 4;  // once for a matrix, twice where there is attention
        if (part == HEADS && s.tokens == 1) {
            attend_all<1, 4>(s, places, keys, values, meeting, waits);
        } else if (part == HEADS) {
            attend_all<C2T_ATTENDED, 2>(s, places, keys, values, meeting, waits);
        }
        wait_for_all(s, waits + 1);
    }
    // The last block to come here leaves the counters as it found them: no block looks at them any more.
    if (threadIdx.x == 0 && atomicAdd(s.barrier + 1, 1u) == C2T_BLOCKS - 1) {
        s.barrier[0] = 0;
        s.barrier[1] = 0;
    }
}
