// The C interface of the decoder's step; kernels/decoder_step/cpu.py mirrors the structures field by field.
// Nothing is checked here: Python has checked sizes and every index before it calls.
#pragma once
#include "../linears/c2t_linears.h"

#ifdef __cplusplus
extern "C" {
#endif

// A norm of D numbers: with a bias a layer norm, without one (null) an RMS norm.
struct c2t_step_norm {
    const float* weight;
    const float* bias;
};

// What only some families of decoders have is null or 0 elsewhere.
struct c2t_step_layer {
    struct c2t_step_norm attention_norm, mlp_norm;
    const float *after_attention, *after_mlp;  // [D] of RMS norms of what is added to the residual stream, or null
    const float *q_norm, *k_norm;              // [head_size] of RMS norms of each head before it is rotated, or null
    struct c2t_biased_linear qkv, output;
    struct c2t_biased_linear gate_up;          // in halves where the decoder is `gated`
    struct c2t_biased_linear down;
    int64_t window;                            // cache positions that a row sees, its own included; 0: all before it
};

struct c2t_step_decoder {
    const struct c2t_step_layer* layers;
    struct c2t_step_norm norm;
    const float* cosines;  // [positions, rotated / 2]
    const float* sines;
    struct c2t_linear lm_head;
    int64_t layer_count, hidden_size, intermediate_size, heads, kv_heads, head_size, vocabulary_size;
    int64_t rotated;        // the first numbers of a head are
    float epsilon, scale;
    float attention_cap;    // c of c * tanh(score / c); 0: none
    float logit_cap;        // likewise
    float embedding_scale;  // what embeddings are multiplied by
    int32_t activation;     // C2T_RELU and so on
    int32_t gated;          // activated gates multiply the other half
    int32_t parallel;       // an MLP reads what its layer's attention reads
};

struct c2t_step_args {
    const float* embeds;         // [rows, D]
    const int64_t* positions;    // [rows] of the rotary embedding
    const int64_t* batch_rows;   // [rows] of the cache
    const int64_t* cache_index;  // [rows] where a row's keys and values go; it attends up to there
    const int64_t* logit_rows;   // [logit_count]: rows whose logits are wanted
    float* cache;                // [layers, 2, B, kv_heads, C, head_size]
    const float* prefix;         // [layers, 2, kv_heads, P, head_size] that batch rows share, or null
    const int64_t* shared;       // [B] so many first positions of a batch row lie in the prefix; no cache_index is below
    float* logits;               // [logit_count, V]; all NaN where numbers of a row, or of one it attends to, are not finite
    int64_t rows, logit_count, batch, capacity, prefix_length;  // B, C, P
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
