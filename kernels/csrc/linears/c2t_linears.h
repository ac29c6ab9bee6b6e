// Linears whose weights are packed once: the C interface; kernels/linears/pack.py mirrors the structures field by field.
// Nothing is checked here: Python has checked sizes before it calls.
#pragma once
#include "../c2t_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { C2T_PANEL_COLUMNS = 64 };  // of a panel, see pack.inl

// A linear [K, N] in panels of 64 columns.
struct c2t_linear {
    const void* panels;        // float32 or int8 (C2T_F32, C2T_I8)
    const float* scale;        // int8 only, [columns of all panels]: what a sum of integer products is multiplied by
    const int32_t* correction; // int8 only, likewise: -128 times the sum of a column's weights
    int64_t inputs, columns;   // K, N
    float input_scale;         // int8 only
    int32_t type;
};

// A linear and what is added to its products.
struct c2t_biased_linear {
    struct c2t_linear linear;
    const float* bias;  // [columns of all panels], in the order of the panels; null: nothing
};

// What an MLP does to its numbers between its linears. GELU is the one with erf; SiLU is x times its logistic function.
enum { C2T_RELU = 0, C2T_GELU = 1, C2T_GELU_TANH = 2, C2T_SILU = 3 };

// A matrix as it lies in a bundle, and where its panels go.
struct c2t_pack_args {
    const void* source;   // [K, N], or [N, K] with by_output; float32 or int8
    void* panels;
    int32_t* correction;  // int8 only
    int64_t inputs, columns;
    int32_t type, by_output, halves;  // halves: gates and what they multiply, side by side in every panel
};

// Return 0, or 1 if memory ran out.
C2T_EXPORT int32_t c2t_pack(const struct c2t_pack_args* args, int32_t isa, int32_t threads);

#ifdef __cplusplus
}
#endif
