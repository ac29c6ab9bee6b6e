// Sizes of a decoder step, from the macros of decoder_step.cu, and what all its blocks share.
#pragma once

#define QUERIES (C2T_HEADS * C2T_HEAD)
#define KEYS (C2T_KV_HEADS * C2T_HEAD)
#define THREADS (C2T_WARPS * 32)
#define TILE 64  // Words of a tile: 16 columns by 32 numbers of the sum
#define TILES(sums) (((sums) + 31) / 32)
#define ROUNDS(sums) ((TILES(sums) + C2T_WARPS - 1) / C2T_WARPS)  // in which each warp takes a tile of the sum
#define UNITS(columns) (((columns) + 15) / 16)
// Floats of the place where the warps' parts meet: a row's 16 columns by the warps, 17 apart for the banks.
#define MEETING (C2T_ROWS * 16 * (C2T_WARPS + 1))

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
