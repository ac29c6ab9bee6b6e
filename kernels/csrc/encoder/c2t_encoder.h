// The C interface of the whole encoder; kernels/encoder/cpu.py mirrors the structures field by field.
// Nothing is checked here: Python has checked all sizes before it calls.
#pragma once
#include "../linears/c2t_linears.h"

#ifdef __cplusplus
extern "C" {
#endif

// A BERT layer, normalised behind each residual sum.
struct c2t_encoder_layer {
    struct c2t_biased_linear qkv;    // [H, 3 H] queries, keys, values; [H, 2 H] keys and values where `query` is its own
    struct c2t_biased_linear query;  // [H, H]; panels null: the queries are in qkv
    struct c2t_biased_linear output, up, down;
    const float *attention_norm, *attention_norm_bias;  // [H]
    const float *mlp_norm, *mlp_norm_bias;              // [H]
    int64_t rows;  // only the first so many rows of a cell go on; 0: all. Only the last layer may have fewer, and `query`
};

// What makes a cell vector of each row that leaves the last layer: two linears, each normalised, GELU between them.
struct c2t_projector {
    struct c2t_biased_linear up, down;                // [H, F], [F, D]
    const float *up_norm, *up_norm_bias;              // [F]
    const float *down_norm, *down_norm_bias;          // [D]
    int64_t intermediate_size, vector_size;           // F, D
    float up_epsilon, down_epsilon;
};

struct c2t_encoder {
    const struct c2t_encoder_layer* layers;
    const struct c2t_projector* projector;  // null: there is none
    int64_t layer_count, hidden_size, intermediate_size, heads;
    float epsilon, scale;
    int32_t activation;  // C2T_RELU or C2T_GELU
};

struct c2t_encoder_args {
    float* embeddings;      // [B, S, H]; used up: what every layer but the last gives lies there
    float* hidden;          // [B, rows of the last layer, H]; all NaN for a cell whose numbers are not finite
    float* vectors;         // [B, rows of the last layer, D] of the projector; likewise
    double projector_seconds;  // result: the projector's part of the time
    int64_t batch, length;  // B, S; both at least 1
};

typedef struct c2t_encoder_run c2t_encoder_run;

// Bit i is set if implementation i of c2t_isa runs an encoder here: AVX-512 only with VNNI.
C2T_EXPORT int32_t c2t_encoder_isa_mask(void);

// Open an encoder, whose weights must stay where they are until it is closed. Null if memory ran out. With spin, threads
// wait for the next run by spinning for a while before they sleep.
C2T_EXPORT c2t_encoder_run* c2t_encoder_open(const struct c2t_encoder* encoder, int32_t isa, int32_t threads, int32_t spin);
C2T_EXPORT void c2t_encoder_close(c2t_encoder_run* encoder);

// Run cells of equal length. Several threads may call: one waits for the other. Return 0, or 1 if memory ran out.
C2T_EXPORT int32_t c2t_encoder_compute(c2t_encoder_run* encoder, struct c2t_encoder_args* args);

#ifdef __cplusplus
}
#endif
