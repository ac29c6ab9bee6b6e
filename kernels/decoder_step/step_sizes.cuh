// Sizes of a decoder step, from the macros of decoder_step.cu, and what all its blocks share.
#pragma once

#include "decoder_step/weight_tiles.cuh"

#define QUERIES (C2T_HEADS * C2T_HEAD)
#define KEYS (C2T_KV_HEADS * C2T_HEAD)
// Threads that stream and multiply, and those that finish what they have summed.
#define STREAMING (C2T_WARPS * 32)
#define FINISHING (C2T_FINISHERS * 32)
#define THREADS (STREAMING + FINISHING)
#define ALL_WARPS (THREADS / 32)
static_assert(CHUNKS(C2T_WIDTH) == 1, "normalised activations are one chunk");
static_assert(C2T_WARPS % 4 == 0, "the warps' parts are read four at a time");

// The same in all lanes, and known to be.
__device__ inline int warp_number() { return __shfl_sync(0xFFFFFFFF, int(threadIdx.x / 32), 0); }

// Barriers of a block by their numbers; 0 is that of all its threads. The last two are pairs.
enum Barrier { STREAMED = 1, FINISHED = 2, TOLD = 3, FILLED = 4, EMPTIED = 6 };

// How many blocks have written queries, keys and values; what others wait for; how many have ended. Each lies on a line
// of memory of its own.
enum Counter { HEADS_WRITTEN, PARTS_WRITTEN, ENDED, COUNTERS };
#define COUNTER_STRIDE 32
static_assert(COUNTERS == 3 && COUNTER_STRIDE == 32, "the host has other counters");

// A decoder's matrices in order: four in each layer, and at last the logits'.
enum Part { HEADS, OUTPUT, GATE_UP, DOWN, LOGITS };

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
    unsigned* counters;            // [COUNTERS, COUNTER_STRIDE] zeros, left as zeros
    long long cache_stride;        // from keys to values, and on to the next layer's keys
    int batch, tokens, places, capacity;
    float epsilon, scale;
};
