// The C interface of the kernels around a decoder's step; kernels/tokens/cpu.py mirrors the structures field by field.
#pragma once
#include "../c2t_kernels.h"

#ifdef __cplusplus
extern "C" {
#endif

struct c2t_token_rows_args {
    const int32_t* token_ids;  // [N]; negative: the row is left as it is
    const void* table;         // [V, D] of table_type: float32, float16, or int8 with a scale
    const float* scale;        // [V] of an int8 table
    float* out;                // [N, D]
    int64_t rows, vocabulary_size, hidden_size;
    int32_t table_type;
};

struct c2t_choices_args {
    const float* logits;    // [N, V]
    const int32_t* banned;  // [N, W] tokens that may not be chosen, padded with -1
    int64_t* tokens;        // [N]
    float* top;             // [N] the largest logit, banned or not; a NaN counts as the largest
    int64_t rows, vocabulary_size, bans;
};

struct c2t_probabilities_args {
    const float* logits;    // [N, V]
    const int64_t* tokens;  // [N] of c2t_choose
    const float* top;       // [N] likewise
    const int64_t* named;   // [M] rows whose probability is wanted
    float* probabilities;   // [M]
    int64_t count, vocabulary_size;
};

// Return 0, or 2 where a token is not in the table: `out` is then partly written.
C2T_EXPORT int32_t c2t_token_rows(const struct c2t_token_rows_args* args, int32_t isa, int32_t threads);
// The numbers of a row depend on that row alone. Return 0. There is no implementation for NEON.
C2T_EXPORT int32_t c2t_choose(const struct c2t_choices_args* args, int32_t isa, int32_t threads);
C2T_EXPORT int32_t c2t_probabilities(const struct c2t_probabilities_args* args, int32_t isa, int32_t threads);

#ifdef __cplusplus
}

#define C2T_DECLARE_CHOICES(isa)                                 \
    namespace c2t_##isa {                                        \
    void choose(const c2t_choices_args& args);                   \
    void probabilities(const c2t_probabilities_args& args);      \
    }
C2T_DECLARE_CHOICES(scalar)
C2T_DECLARE_CHOICES(avx2)
C2T_DECLARE_CHOICES(avx512)
#undef C2T_DECLARE_CHOICES
#endif
