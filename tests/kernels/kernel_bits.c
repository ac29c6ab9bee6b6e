// Runs both kernels under each instruction set of this processor, and prints a hash of every output. Inputs are made of
// integers only, so that they have the same bits on every system.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "c2t_kernels.h"

static uint64_t state;
static uint32_t next(uint32_t below) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % below);
}

static uint64_t hash(uint64_t h, const void* bytes, size_t count) {
    const unsigned char* p = bytes;
    for (size_t i = 0; i < count; ++i) h = (h ^ p[i]) * 1099511628211u;
    return h;
}

enum { GENES = 3001, COLUMNS = 3500, TOKENS = 257, CELLS = 37, WIDTH = 259, VOCABULARY = 100 };

static void rank(int isa, int data_type, int index_type, int threads) {
    static int64_t indptr[CELLS + 1], indices64[CELLS * COLUMNS];
    static int32_t indices32[CELLS * COLUMNS], column_gene[COLUMNS], token[GENES], tokens[CELLS * TOKENS], lengths[CELLS], genes[CELLS];
    static double median[GENES], data64[CELLS * COLUMNS], totals[CELLS];
    static float data32[CELLS * COLUMNS];
    static int32_t integers32[CELLS * COLUMNS];
    static int64_t integers64[CELLS * COLUMNS];
    static uint8_t status[CELLS];
    state = 5;
    for (int c = 0; c < COLUMNS; ++c) column_gene[c] = c < GENES ? c : c % 3 ? -1 : (int)next(GENES);
    for (int g = 0; g < GENES; ++g) token[g] = 4 + (g * 7) % GENES, median[g] = (1 + next(64)) / 16.0;
    int64_t n = 0;
    for (int cell = 0; cell < CELLS; ++cell) {
        indptr[cell] = n;
        for (int c = 0; c < COLUMNS; ++c) {
            if (next(CELLS) >= (uint32_t)cell) continue;
            uint32_t count = 1 + next(1 + next(300));
            indices32[n] = c, indices64[n] = c, integers32[n] = (int32_t)count, integers64[n] = count;
            data32[n] = (float)count / 8, data64[n] = count / 8.0, ++n;
        }
    }
    indptr[CELLS] = n;
    const void* values = data_type == C2T_F32 ? (void*)data32 : data_type == C2T_F64 ? (void*)data64 : data_type == C2T_I32 ? (void*)integers32 : (void*)integers64;
    struct c2t_rank_args a = {
        .indptr = indptr, .indices = index_type == C2T_I32 ? (void*)indices32 : (void*)indices64, .data = values,
        .column_gene = column_gene, .token = token, .median = median, .tokens = tokens, .lengths = lengths, .genes = genes,
        .totals = totals, .status = status, .cells = CELLS, .genes_of_vocabulary = GENES, .max_tokens = TOKENS,
        .cls_token = 2, .eos_token = 3, .pad_token = 0, .index_type = index_type, .data_type = data_type};
    int32_t failed = c2t_rank(&a, isa, threads);
    uint64_t h = hash(14695981039346656037u, tokens, sizeof tokens);
    h = hash(hash(hash(h, lengths, sizeof lengths), genes, sizeof genes), totals, sizeof totals);
    printf("rank isa %d data %d index %d threads %d: %d %016" PRIx64 "\n", isa, data_type, index_type, threads, failed, hash(h, status, sizeof status));
}

static void embed(int isa, int table_type, int out_type, int threads) {
    static float word[VOCABULARY * WIDTH], position[TOKENS * WIDTH], scales[TOKENS], gamma[WIDTH], beta[WIDTH], kind[WIDTH];
    static uint16_t half[2][TOKENS * WIDTH];
    static int8_t bytes[2][TOKENS * WIDTH];
    static int32_t tokens[CELLS * TOKENS], lengths[CELLS];
    static float out[CELLS * TOKENS * WIDTH];
    state = 9;
    for (int i = 0; i < VOCABULARY * WIDTH; ++i) word[i] = ((int)next(2001) - 1000) / 512.0f;
    for (int i = 0; i < TOKENS * WIDTH; ++i) {
        position[i] = ((int)next(2001) - 1000) / 1024.0f;
        for (int t = 0; t < 2; ++t) {
            bytes[t][i] = (int8_t)next(255);
            half[t][i] = (uint16_t)(next(2) << 15 | (table_type == C2T_F16 ? next(0x4000) : 0x3F00 + next(0x100)));
        }
    }
    for (int i = 0; i < TOKENS; ++i) scales[i] = (1 + next(100)) / 4096.0f;
    for (int i = 0; i < WIDTH; ++i) gamma[i] = (1 + next(100)) / 64.0f, beta[i] = next(100) / 64.0f, kind[i] = next(9) / 8.0f;
    for (int cell = 0; cell < CELLS; ++cell) {
        lengths[cell] = cell ? 1 + (int)next(TOKENS) : 0;
        for (int s = 0; s < TOKENS; ++s) tokens[cell * TOKENS + s] = (int)next(VOCABULARY);
    }
    memset(out, 0, sizeof out);
    int f32 = table_type == C2T_F32, i8 = table_type == C2T_I8;
    struct c2t_embed_args a = {
        .tokens = tokens, .lengths = lengths, .word = f32 ? (void*)word : i8 ? (void*)bytes[0] : (void*)half[0],
        .position = f32 ? (void*)position : i8 ? (void*)bytes[1] : (void*)half[1], .word_scale = i8 ? scales : NULL,
        .position_scale = i8 ? scales : NULL, .token_type = kind, .gamma = gamma, .beta = beta, .out = out, .cells = CELLS,
        .ranks = TOKENS, .hidden_size = WIDTH, .table_type = table_type, .out_type = out_type, .epsilon = 1e-12f, .out_scale = 0.0625f};
    int32_t failed = c2t_embed(&a, isa, threads);
    printf("embed isa %d table %d out %d threads %d: %d %016" PRIx64 "\n", isa, table_type, out_type, threads, failed, hash(14695981039346656037u, out, sizeof out));
}

int main(void) {
    // AMX is left out: only Linux lets a program use it, and no kernel here has a form for it.
    int32_t mask = c2t_isa_mask() & 7;
    printf("mask %d\n", mask);
    for (int isa = 0; isa < 3; ++isa) {
        if (!(mask >> isa & 1)) continue;
        for (int threads = 1; threads <= 4; threads += 3) {
            for (int d = 0; d < 4; ++d)
                for (int x = C2T_I32; x <= C2T_I64; ++x) rank(isa, (int[]){C2T_F32, C2T_F64, C2T_I32, C2T_I64}[d], x, threads);
            for (int table = C2T_F32; table <= C2T_I8; ++table)
                for (int o = C2T_F32; o <= C2T_I8; ++o) embed(isa, table, o, threads);
        }
    }
    return 0;
}
