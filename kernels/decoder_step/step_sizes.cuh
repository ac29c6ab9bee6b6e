// Sizes of a decoder step, from the macros of decoder_step.cu, and the memory that its blocks share.
#pragma once

#include "decoder_step/weight_tiles.cuh"

#define Q_COLUMNS (C2T_HEADS * C2T_HEAD_SIZE)
#define KV_COLUMNS (C2T_KV_HEADS * C2T_HEAD_SIZE)  // of keys; values have as many
#define STREAM_THREADS (C2T_STREAM_WARPS * 32)
#define EPILOGUE_THREADS (C2T_EPILOGUE_WARPS * 32)
#define THREADS (STREAM_THREADS + EPILOGUE_THREADS)
#define WARPS (THREADS / 32)
static_assert(CHUNKS(C2T_HIDDEN_SIZE) == 1, "normalised activations are one chunk");
static_assert(C2T_STREAM_WARPS % 4 == 0, "the warps' partial sums are read four at a time");

// The shuffle tells the compiler that all lanes of a warp have the same number: branches on it are then uniform.
__device__ inline int warp_number() { return __shfl_sync(0xFFFFFFFF, int(threadIdx.x / 32), 0); }

// Hardware barriers of a block (PTX bar), by number; 0 is __syncthreads. FULL and EMPTY are pairs: one barrier for each
// of the two buffers of SumExchange.
enum Barrier { SQUARES_WRITTEN = 1, EPILOGUE_DONE = 2, SIGNALLED = 3, FULL = 4, EMPTY = 6 };

// Counters in global memory by which blocks signal each other: how many blocks have written queries, keys and values;
// how many have written their share of the next linear's input; how many have ended. Each counter has a cache line to
// itself, so that polling one does not slow down adding to another.
enum Counter { QKV_WRITTEN, INPUT_WRITTEN, ENDED, COUNTERS };
#define COUNTER_STRIDE 32
static_assert(COUNTERS == 3 && COUNTER_STRIDE == 32, "the host allocates other counters");

// A layer's linears in order; LM_HEAD comes once, after the last layer.
enum Linear { QKV, O, GATE_UP, DOWN, LM_HEAD };

// What all blocks read and write. A row is one token of one batch row. Half precision numbers are unsigned short.
struct Step {
    const float *cosines, *sines;  // [positions, head_size / 2]
    const unsigned short* embeds;  // [rows, hidden_size]
    const long long *positions;    // [rows]
    const long long *write_index;  // [batch]: cache position of the first token
    const long long *logit_rows;   // [batch, logits_per_cell]: tokens whose logits are wanted
    unsigned short* cache;         // keys of the first layer, [batch, kv_heads, capacity, head_size]
    float* logits;                 // [batch, logits_per_cell, vocabulary_size]
    float* residual;               // [rows, hidden_size]: the residual stream
    unsigned short *queries, *context;  // [rows, heads, head_size]; context is what attention returns
    unsigned short* gated;         // [rows, intermediate_size]: silu(gate) * up
    unsigned* counters;            // [COUNTERS, COUNTER_STRIDE]: zeros before and after a step
    long long cache_stride;        // from keys to values, and from those to the next layer's keys
    int batch, tokens, logits_per_cell, capacity;
    float epsilon, scale;
};
