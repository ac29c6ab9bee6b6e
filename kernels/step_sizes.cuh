// Sizes of a decoder step, from the macros of decoder_step.cu, and what all its blocks share.
#pragma once

#include "weight_tiles.cuh"

#define QUERIES (C2T_HEADS * C2T_HEAD)
#define KEYS (C2T_KV_HEADS * C2T_HEAD)
#define THREADS (C2T_WARPS * 32)
static_assert(CHUNKS(C2T_WIDTH) == 1, "normalised activations are one chunk");

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
    unsigned* barrier;             // 2 zeros, left as zeros
    long long cache_stride;        // from keys to values, and on to the next layer's keys
    int batch, tokens, places, capacity;
    float epsilon, scale;
};
