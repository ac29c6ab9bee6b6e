// INT8 attention, compiled for AVX-512 with VNNI.
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "attention.h"

namespace {

#include "vector_avx512.inl"

struct Vector : Vector512 {
    static constexpr int64_t kRows = 8, kKeyStep = 8;
    static constexpr int32_t kOffset = 128;  // vpdpbusd multiplies unsigned by signed integers
    using Query = uint8_t;
};

#define C2T_ATTENTION_PRODUCTS "products.inl"
#define C2T_PROBABILITIES "probabilities_avx512.inl"
#include "attention.inl"
}  // namespace

const AttentionKernel c2t_avx512::attention{kLayout, kQueries, pack, attend};
