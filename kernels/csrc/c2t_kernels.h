// The C interface of the CPU kernels; each operator's cpu.py mirrors its structure field by field.
// Nothing is checked here: Python has checked shapes, dtypes and every index before it calls.
#pragma once
#include <stdint.h>

#if defined(_WIN32)
#define C2T_EXPORT __declspec(dllexport)
#else
#define C2T_EXPORT __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum c2t_isa { C2T_SCALAR = 0, C2T_AVX2 = 1, C2T_AVX512 = 2, C2T_NEON = 3, C2T_AMX = 4 };
enum c2t_type { C2T_F32 = 0, C2T_F16 = 1, C2T_BF16 = 2, C2T_I8 = 3, C2T_F64 = 4, C2T_I32 = 5, C2T_I64 = 6 };
enum c2t_cell_status { C2T_OK = 0, C2T_EMPTY = 1, C2T_NAN = 2, C2T_INFINITE = 3, C2T_NEGATIVE = 4 };

struct c2t_embed_args {
    const int32_t* tokens;        // [B, S]
    const int32_t* lengths;       // [B]
    const void* word;             // [V, H] of table_type
    const void* position;         // [P, H] of table_type
    const float* word_scale;      // [V], int8 tables only
    const float* position_scale;  // [P], int8 tables only
    const float* token_type;      // [H] or null
    const float* gamma;           // [H]
    const float* beta;            // [H]
    void* out;                    // [B, S, H] of out_type
    int64_t cells, ranks, hidden_size;
    int32_t table_type, out_type;
    float epsilon, out_scale;
};

struct c2t_rank_args {
    const int64_t* indptr;       // [B + 1]
    const void* indices;         // columns of index_type
    const void* data;            // values of data_type
    const int32_t* column_gene;  // [C] gene index of a column; -1 where it is no gene
    const int32_t* token;        // [G]
    const double* median;        // [G]
    int32_t* tokens;             // [B, max_tokens]
    int32_t* lengths;            // [B]
    int32_t* genes;              // [B]
    double* totals;              // [B]
    uint8_t* status;             // [B]
    int64_t cells, genes_of_vocabulary, max_tokens;  // B, G, S
    int32_t cls_token, eos_token, pad_token;  // -1: no such token
    int32_t index_type, data_type;
    // Token and median of each column: -1 and 1 where it is no gene. Both are null if two columns are the same gene.
    const int32_t* column_token;  // [C]
    const double* column_median;  // [C]
};

// Bit i is set if implementation i of c2t_isa runs on this processor.
C2T_EXPORT int32_t c2t_isa_mask(void);

// Return 0, or 1 if memory ran out; the output is then partly written.
C2T_EXPORT int32_t c2t_embed(const struct c2t_embed_args* args, int32_t isa, int32_t threads);
C2T_EXPORT int32_t c2t_rank(const struct c2t_rank_args* args, int32_t isa, int32_t threads);

#ifdef __cplusplus
}
#endif
