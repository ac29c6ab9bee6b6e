// Rows of the text token table; which implementation chooses from logits.
#include <cstring>

#include "c2t_tokens.h"

namespace {
#include "../gene_embedding/storage.inl"

template <class Table>
int32_t copy_rows(const c2t_token_rows_args& a) {
    const auto* const table = static_cast<const Table*>(a.table);
    for (int64_t row = 0; row < a.rows; ++row) {
        const int64_t token = a.token_ids[row];
        if (token < 0) continue;
        if (token >= a.vocabulary_size) return 2;
        const Table* const from = table + token * a.hidden_size;
        float* const to = a.out + row * a.hidden_size;
        const float factor = a.scale ? a.scale[token] : 1.0f;
        for (int64_t i = 0; i < a.hidden_size; ++i) to[i] = widen(from[i]) * factor;
    }
    return 0;
}

struct Choices {
    void (*choose)(const c2t_choices_args&);
    void (*probabilities)(const c2t_probabilities_args&);
};

Choices choices_of(int32_t isa) {
    switch (isa) {
#if defined(C2T_X86)
        case C2T_AVX2: return {&c2t_avx2::choose, &c2t_avx2::probabilities};
        case C2T_AVX512:
        case C2T_AMX: return {&c2t_avx512::choose, &c2t_avx512::probabilities};
#endif
        default: return {&c2t_scalar::choose, &c2t_scalar::probabilities};
    }
}

}  // namespace

extern "C" {

int32_t c2t_token_rows(const c2t_token_rows_args* args, int32_t, int32_t) {
    if (args->table_type == C2T_I8) return copy_rows<int8_t>(*args);
    return args->table_type == C2T_F16 ? copy_rows<Half>(*args) : copy_rows<float>(*args);
}

int32_t c2t_choose(const c2t_choices_args* args, int32_t isa, int32_t) {
    choices_of(isa).choose(*args);
    return 0;
}

int32_t c2t_probabilities(const c2t_probabilities_args* args, int32_t isa, int32_t) {
    choices_of(isa).probabilities(*args);
    return 0;
}

}  // extern "C"
