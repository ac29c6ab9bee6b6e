// INT8 attention, compiled for AVX2. Its products of 8-bit integers saturate: the same integers are kept in 16 bits.
#include <immintrin.h>

#include <algorithm>
#include <cstring>
#include <limits>

#include "attention.h"

namespace {

struct Vector {
    static constexpr int64_t kLanes = 8, kGroup = 2, kRows = 4, kKeyStep = 8;
    static constexpr int32_t kOffset = 0;
    using Query = int16_t;
    using Integer = int16_t;
    using Floats = __m256;
    using Integers = __m256i;

    static Floats all(float x) { return _mm256_set1_ps(x); }
    static Floats load(const float* p) { return _mm256_load_ps(p); }
    static void store(float* p, Floats x) { _mm256_store_ps(p, x); }
    static Floats add(Floats a, Floats b) { return _mm256_add_ps(a, b); }
    static Floats sub(Floats a, Floats b) { return _mm256_sub_ps(a, b); }
    static Floats mul(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
    static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
    static bool any_less(Floats a, Floats b) { return _mm256_movemask_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ)) != 0; }
    static Floats to_floats(Integers x) { return _mm256_cvtepi32_ps(x); }
    static Integers zero() { return _mm256_setzero_si256(); }
    static Integers load(const void* p) { return _mm256_load_si256(static_cast<const Integers*>(p)); }
    static Integers repeat(const void* p) {
        int32_t x;
        std::memcpy(&x, p, 4);
        return _mm256_set1_epi32(x);
    }
    static Integers dot(Integers sum, Integers a, Integers b) {
        return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
    }
    // Turn a block over; numbers of a row are given from one row to the next.
    static void turn(const float* from, int64_t from_row, float* to, int64_t to_row) {
        for (int64_t i = 0; i < kLanes; ++i)
            for (int64_t d = 0; d < kLanes; ++d) to[i * to_row + d] = from[d * from_row + i];
    }
    // y * 2^n, where `shifted` is kRounder + n.
    static Floats add_exponent(Floats y, Floats shifted) {
        const Integers n = _mm256_slli_epi32(_mm256_castps_si256(shifted), 23);
        return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(y), n));
    }
    // The low 16 bits of both of two integers that were added to 2^23.
    static void store_low_bits(int32_t* p, const Floats (&x)[kGroup]) {
        const Integers low = _mm256_and_si256(_mm256_castps_si256(x[0]), _mm256_set1_epi32(0xffff));
        const Integers high = _mm256_slli_epi32(_mm256_castps_si256(x[1]), 16);
        _mm256_store_si256(reinterpret_cast<Integers*>(p), _mm256_or_si256(low, high));
    }
};

#define C2T_ATTENTION_PRODUCTS "products.inl"
#define C2T_PROBABILITIES "probabilities.inl"
#include "attention.inl"
}  // namespace

const AttentionKernel c2t_avx2::attention{kLayout, kQueries, pack, attend};
