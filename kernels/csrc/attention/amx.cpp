// INT8 attention, compiled for AVX-512 and AMX.
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "attention.h"

namespace {

#include "vector_avx512.inl"

struct Vector : Vector512 {
    static constexpr int64_t kKeyStep = 16;
    static constexpr int32_t kOffset = 0;
    using Query = int8_t;
};

#define C2T_ATTENTION_PRODUCTS "products_amx.inl"
#define C2T_PROBABILITIES "probabilities_avx512.inl"
#include "attention.inl"
}  // namespace

const AttentionKernel c2t_amx::attention{kLayout, kQueries, pack, attend};
