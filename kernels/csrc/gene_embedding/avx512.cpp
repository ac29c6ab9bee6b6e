// Gene embedding with AVX-512 (F, BW, DQ, VL): sixteen floats at a time.
#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#include "../implementations.h"

namespace {
#include "storage.inl"

constexpr int64_t kLanes = 16;
using Vector = __m512;

inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector broadcast(float v) { return _mm512_set1_ps(v); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline float sum(Vector v) { return _mm512_reduce_add_ps(v); }

inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline Vector load(const Half* p) { return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))); }
inline Vector load(const int8_t* p) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
}

inline void store(Vector v, float* p, float) { _mm512_storeu_ps(p, v); }
inline void store(Vector v, Half* p, float) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}
inline void store(Vector v, BFloat16* p, float) {
    // VCVTNEPS2BF16 would flush subnormals to zero.
    const __m512i bits = _mm512_castps_si512(v);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF))), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_mov_epi32(rounded, nan, _mm512_set1_epi32(0x7FC0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(kept));
}
inline void store(Vector v, int8_t* p, float scale) {
    // Clamp before the conversion: out of range it gives INT_MIN, whatever the sign.
    v = _mm512_div_ps(v, _mm512_set1_ps(scale));
    v = _mm512_min_ps(_mm512_max_ps(v, _mm512_set1_ps(-128.0f)), _mm512_set1_ps(127.0f));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v)));
}
#include "gene_embedding.inl"
}  // namespace

void c2t_avx512::embed_block(const c2t_embed_args& args, int64_t block, float* row) { embed_any(args, block, row); }
