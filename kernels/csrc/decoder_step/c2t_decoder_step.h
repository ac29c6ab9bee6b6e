// The C interface of the decoder's step; kernels/decoder_step/cpu.py mirrors the structures field by field.
// Nothing is checked here: Python has checked sizes and every index before it calls.
#pragma once
#include "../linears/c2t_linears.h"

#ifdef __cplusplus
extern "C" {
#endif

struct c2t_step_layer {
    const float* attention_norm;  // [D]
    const float* mlp_norm;        // [D]
    struct c2t_linear qkv, output, gate_up, down;
};

struct c2t_step_decoder {
    const struct c2t_step_layer* layers;
    const float* norm;     // [D]
    const float* cosines;  // [positions, head_size / 2]
    const float* sines;
    struct c2t_linear lm_head;
    int64_t layer_count, hidden_size, intermediate_size, heads, kv_heads, head_size, vocabulary_size;
    float epsilon, scale;
};

struct c2t_step_args {
    const float* embeds;         // [rows, D]
    const int64_t* positions;    // [rows] of the rotary embedding
    const int64_t* batch_rows;   // [rows] of the cache
    const int64_t* cache_index;  // [rows] where a row's keys and values go; it attends up to there
    const int64_t* logit_rows;   // [logit_count]: rows whose logits are wanted
    float* cache;                // [layers, 2, B, kv_heads, C, head_size]
    float* logits;               // [logit_count, V]; all NaN where a row's numbers are not finite
    int64_t rows, logit_count, batch, capacity;  // B, C
};

typedef struct c2t_step c2t_step;

// Bit i is set if implementation i of c2t_isa has a step of its own here: AVX-512 only with VNNI.
C2T_EXPORT int32_t c2t_step_isa_mask(void);

// Open a decoder, whose weights must stay where they are until it is closed. Null if memory ran out. With spin, threads
// wait for the next step by spinning for a while before they sleep.
C2T_EXPORT c2t_step* c2t_step_open(const struct c2t_step_decoder* decoder, int32_t isa, int32_t threads, int32_t spin);
C2T_EXPORT void c2t_step_close(c2t_step* step);

// Run a step. Several threads may call: one waits for the other. Return 0, or 1 if memory ran out.
C2T_EXPORT int32_t c2t_step_run(c2t_step* step, const struct c2t_step_args* args);

#ifdef __cplusplus
}
#endif
