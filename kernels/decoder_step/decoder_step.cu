// A whole step of a Llama decoder, of up to 16 tokens, in one kernel that reads every weight once.
//
// A step of few tokens cannot be faster than reading the weights, so they are one stream: tiles of all matrices of all
// layers are copied, in order, through rings in shared memory, ahead of the sums by a ring's length. So memory stays
// busy while the blocks wait for each other between the parts of a layer. What forms were slower, and by how much:
// benchmarks/results/gpu_step.txt.
//
// One block on every multiprocessor; they must all run at once (a cooperative launch). 16 columns of a matrix are a
// unit of one block. Some of its warps stream and share the sum; the others add their parts in a fixed order and finish
// the unit meanwhile: a row's numbers do not depend on how many rows there are, and nothing changes from run to run. Only
// a finishing warp tells other blocks what was written: that waits for whatever the warp has on its way, and copies of
// weights are on their way for long. Copies that others of the block have on their way are in the way, too: what replaces
// the last that a part uses is not asked for before the block has told.
//   C2T_LAYERS, C2T_WIDTH, C2T_INNER (of the MLP), C2T_HEADS, C2T_KV_HEADS, C2T_HEAD (size), C2T_VOCABULARY
//   C2T_ROWS    8 or 16: the most rows (tokens of all cells) of the step
//   C2T_BLOCKS  of the grid
//   C2T_WARPS, C2T_FINISHERS   of a block: warps that stream, and that finish
//   C2T_CHUNK   tiles of a warp whose activations are held together
//   C2T_GROUP   tiles of a warp that are waited for together
//   C2T_STAGES  groups in a warp's ring
//   C2T_ATTENDED  the most tokens of a cell that attend together
//   C2T_FIXED   bytes of shared memory besides the rings, as the host has counted them

#include "decoder_step/step_attention.cuh"
#include "decoder_step/step_products.cuh"

// The block's own columns of the stream between layers, which it alone adds to.
#define OWN_UNITS ((UNITS(C2T_WIDTH) + C2T_BLOCKS - 1) / C2T_BLOCKS)
__device__ inline float* own_place(float* own, int row, int column) {
    return own + (column / 16 / C2T_BLOCKS * C2T_ROWS + row) * 16 + column % 16;
}

// The block has come this far; who sees that, sees what its finishing warps have written, or all before a barrier.
__device__ inline void tell(const Step& s, Counter counter) {
    if (threadIdx.x < STREAMING) return;
    wait_at(FINISHED, FINISHING);
    if (threadIdx.x == STREAMING) add_release(s.counters + counter * COUNTER_STRIDE, 1);
}
// Until `count` blocks have told so.
__device__ inline void wait_for(const Step& s, Counter counter, unsigned count) {
    if (threadIdx.x == STREAMING) {
        while (load_acquire(s.counters + counter * COUNTER_STRIDE) < count) {
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

// The block's part of attention, items from `first` on; `heads_written`: when all keys and values are in the cache.
// Only those blocks wait for that. What earlier steps have left in the cache is read while they do.
__device__ inline void attend_all(const Step& s, const Places& places, const unsigned short* keys,
                                  const unsigned short* values, float* meeting, int first, unsigned heads_written) {
    Attended it(s, places, first);
    Slots slots = {};
    slots.read(keys, values, it.kv, 0, 0, it.old);
    wait_for(s, HEADS_WRITTEN, heads_written);
    slots.read(keys, values, it.kv, 0, it.old, it.before + it.count);
#pragma unroll 1
    for (int item = first;;) {
        attend(s, keys, values, it, slots, meeting);
        __syncthreads();
        if ((item += C2T_BLOCKS) >= Attended::items(s)) break;
        it = Attended(s, places, item);
        slots = {};  // another cell's numbers must not be weighed, not even by zero
        slots.read(keys, values, it.kv, 0, 0, it.before + it.count);
    }
}

// Floats of shared memory: where warps meet, squares of the rows, the block's own columns.
const int MEETINGS = 2 * MEETING > ATTENDING ? 2 * MEETING : ATTENDING, SQUARES = C2T_ROWS * PARTS,
          OWN = OWN_UNITS * C2T_ROWS * 16;
static_assert((MEETINGS + SQUARES + OWN) * sizeof(float) + sizeof(Places) == C2T_FIXED,
              "the host counts other shared memory");
static_assert(TILE * sizeof(Words) == 1024, "the host counts other tiles");

extern "C" __global__ void __launch_bounds__(THREADS, 1) decoder_step(
    const Words* __restrict__ weights, const long long* __restrict__ starts, const float* __restrict__ cosines,
    const float* __restrict__ sines, const unsigned short* __restrict__ embeds,
    const long long* __restrict__ positions, const long long* __restrict__ write_index,
    const long long* __restrict__ logit_rows, unsigned short* cache, float* logits, float* residual,
    unsigned short* queries, unsigned short* context, unsigned short* product, unsigned* counters,
    long long cache_stride, int batch, int tokens, int places_of_cell, int capacity, float epsilon, float scale) {
    const Step s = {cosines,  sines,   embeds,   positions, write_index,  logit_rows, cache,  logits,         residual,
                    queries,  context, product,  counters,  cache_stride, batch,      tokens, places_of_cell, capacity,
                    epsilon,  scale};
    const bool streams = warp_number() < C2T_WARPS;
    Words* rings = shared_memory();
    float* meetings = (float*)(rings + C2T_WARPS * C2T_STAGES * C2T_GROUP * TILE);
    float* squares = meetings + MEETINGS;
    float* own = squares + SQUARES;
    Places& places = *(Places*)(own + OWN);
    Stream stream;
    if (streams) stream.begin(weights, starts, rings);

    read_places(s, places);
    for (int unit = blockIdx.x; unit < UNITS(C2T_WIDTH); unit += C2T_BLOCKS) {
        for (int at = threadIdx.x; at < s.batch * s.tokens * 16; at += THREADS) {
            const int row = at / 16, column = unit * 16 + at % 16, place = row * C2T_WIDTH + column;
            s.residual[place] = *own_place(own, row, column) = half_value(s.embeds[place]);
        }
    }
    // Blocks with fewer units attend.
    const int items = Attended::items(s), first_item = C2T_BLOCKS - 1 - int(blockIdx.x);
    const unsigned attending = items < C2T_BLOCKS ? items : C2T_BLOCKS;
    Meeting meeting = {meetings, 0};
    unsigned written = C2T_BLOCKS;
    __syncthreads();
    tell(s, PARTS_WRITTEN);
    for (int number = 0; number <= 4 * C2T_LAYERS; ++number) {
        wait_for(s, PARTS_WRITTEN, written);
        const int part = number == 4 * C2T_LAYERS ? LOGITS : number % 4;
        const int rows = s.batch * (part == LOGITS ? s.places : s.tokens);
        unsigned short* keys = s.cache + 2 * (number / 4) * s.cache_stride;
        unsigned short* values = keys + s.cache_stride;

        const int units = part == HEADS     ? UNITS(QUERIES + 2 * KEYS)
                          : part == GATE_UP ? UNITS(2 * C2T_INNER)
                          : part == LOGITS  ? UNITS(C2T_VOCABULARY)
                                            : UNITS(C2T_WIDTH);
        const bool mine = blockIdx.x < units;
        if (streams) {
            const auto give = [&](const Sums& sums, int unit) {
                meeting.give(sums, rows);
                if (unit + C2T_BLOCKS >= units && part != LOGITS) wait_at(TOLD, THREADS);
                stream.refill_held();
            };
            if (part == OUTPUT || part == DOWN) {
                const unsigned short* source = part == OUTPUT ? s.context : s.product;
                for (int unit = blockIdx.x; unit < units; unit += C2T_BLOCKS) {
                    Sums sums = {};
                    add_read(sums, stream, source, rows, part == OUTPUT ? QUERIES : C2T_INNER);
                    give(sums, unit);
                }
            } else if (mine) {
                Rows activations[GROUPS];
                read_normalised(activations, s, rows, squares, [&](int row) {
                    return part == LOGITS ? row / s.places * s.tokens + int(s.logit_rows[row]) : row;
                });
                for (int unit = blockIdx.x; unit < units; unit += C2T_BLOCKS) {
                    Sums sums = {};
                    add_chunk<true>(sums, stream, [&](int group) { return activations[group]; });
                    give(sums, unit);
                }
            }
        } else {
            for (int unit = blockIdx.x; unit < units; unit += C2T_BLOCKS) {
                meeting.take(rows, [&](int row, int column, float one, float other) {
                    finish(s, places, keys, values, own, part, row, unit * 16 + column, one, other);
                });
            }
        }
        if (part == LOGITS) break;
        tell(s, part == HEADS ? HEADS_WRITTEN : PARTS_WRITTEN);
        if (!streams && mine) arrive_at(TOLD, THREADS);
        if (part == HEADS) {
            if (first_item < items) {
                const unsigned heads_written = (number / 4 + 1) * C2T_BLOCKS;
                attend_all(s, places, keys, values, meetings, first_item, heads_written);
                tell(s, PARTS_WRITTEN);
            }
            written += attending;
        } else {
            written += C2T_BLOCKS;
        }
    }
    if (streams) meeting.end();
    // The last block to come here leaves the counters as it found them: no block looks at them any more.
    if (threadIdx.x == STREAMING && atomicAdd(s.counters + ENDED * COUNTER_STRIDE, 1u) == C2T_BLOCKS - 1) {
        for (int counter = 0; counter < COUNTERS; ++counter) s.counters[counter * COUNTER_STRIDE] = 0;
    }
}
