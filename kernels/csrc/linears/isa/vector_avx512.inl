// Sixteen floats, for panels.inl and what includes it.
constexpr int64_t kLanes = 16;
using Vector = __m512;

inline Vector zero() { return _mm512_setzero_ps(); }
inline Vector broadcast(float v) { return _mm512_set1_ps(v); }
inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
inline Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
inline Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
inline Vector divide(Vector a, Vector b) { return _mm512_div_ps(a, b); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector multiply_subtract(Vector a, Vector b, Vector c) { return _mm512_fmsub_ps(a, b, c); }
inline Vector larger(Vector a, Vector b) { return _mm512_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm512_min_ps(a, b); }
inline Vector rounded(Vector v) { return _mm512_roundscale_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline float sum(Vector v) { return _mm512_reduce_add_ps(v); }
inline float largest(Vector v) { return _mm512_reduce_max_ps(v); }
// Sum of the squares of x [n], n a multiple of 8, in the order in which ONNX Runtime adds them: eight lanes.
inline float squares(const float* x, int64_t n) {
    __m256 total = _mm256_setzero_ps();
    for (int64_t i = 0; i < n; i += 8) total = _mm256_fmadd_ps(_mm256_loadu_ps(x + i), _mm256_loadu_ps(x + i), total);
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps(total, 1));
    const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}
// v * 2^n for whole n
inline Vector scaled_by_power(Vector v, Vector n) { return _mm512_scalef_ps(v, n); }

// Lane i: the sum of the lanes of v[i].
inline Vector sums(const Vector* v) {
    Vector quarter[4];
    for (int i = 0; i < 4; ++i) {
        const Vector* const w = v + 4 * i;
        const Vector ab = add(_mm512_unpacklo_ps(w[0], w[1]), _mm512_unpackhi_ps(w[0], w[1]));
        const Vector cd = add(_mm512_unpacklo_ps(w[2], w[3]), _mm512_unpackhi_ps(w[2], w[3]));
        const __m512d first = _mm512_castps_pd(ab), second = _mm512_castps_pd(cd);
        quarter[i] = add(_mm512_castpd_ps(_mm512_unpacklo_pd(first, second)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(first, second)));
    }
    const auto halves = [](Vector a, Vector b) {
        return add(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
    };
    return halves(halves(quarter[0], quarter[1]), halves(quarter[2], quarter[3]));
}

// 1 / v from a guess with 14 bits that are right: the second step of Newton gives what division gives, for all numbers
// but those whose mantissa is all ones and those whose inverse is a denormal number (Markstein, IBM Journal of Research
// and Development 34, 1990).
inline Vector refined_reciprocal(Vector v, Vector guess) {
    for (int step = 0; step < 2; ++step)
        guess = _mm512_fmadd_ps(guess, _mm512_fnmadd_ps(v, guess, broadcast(1.0f)), guess);
    return guess;
}

inline bool can_be_refined(Vector v) {
    const __m512i but_mantissa = _mm512_set1_epi32(static_cast<int32_t>(0xFF800000u));
    const __mmask16 ones = _mm512_cmpeq_epi32_mask(_mm512_or_si512(_mm512_castps_si512(v), but_mantissa),
                                                   _mm512_set1_epi32(-1));
    return _mm512_mask_cmp_ps_mask(static_cast<__mmask16>(~ones), v, broadcast(0x1p126f), _CMP_LT_OQ) == 0xFFFF;
}

// 1 / v of numbers v >= 1, in half of a division's time.
inline Vector reciprocal(Vector v) {
    return can_be_refined(v) ? refined_reciprocal(v, _mm512_rcp14_ps(v)) : divide(broadcast(1.0f), v);
}

// An int8 activation plus 128: what VPDPBUSD multiplies with signed weights.
using Activation = uint8_t;

// v rounded half to even, within int8.
inline void store_int8(Activation* p, Vector v) {
    v = smaller(larger(v, broadcast(-128.0f)), broadcast(127.0f));
    const __m128i narrow = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm_xor_si128(narrow, _mm_set1_epi8(-128)));
}

// The int8 of v / scale; inverse: 1 / scale. A product takes a fifth of a division's time. Within the range of int8 it
// differs from the quotient by less than 2^-15, so both round to the same number unless they are close to the middle of
// two; then, and where a number is not finite, the division decides.
inline void store_quotient(Activation* p, Vector v, Vector scale, Vector inverse) {
    const Vector quick = multiply(v, inverse);
    const Vector to_middle = subtract(broadcast(0.5f), _mm512_abs_ps(subtract(quick, rounded(quick))));
    const __mmask16 sure = _mm512_cmp_ps_mask(to_middle, broadcast(0x1p-12f), _CMP_GT_OQ);
    store_int8(p, sure == 0xFFFF ? quick : divide(v, scale));
}

// Sums of products with shifted activations, corrected.
inline Vector corrected(const int32_t* sums, const int32_t* correction) {
    return _mm512_cvtepi32_ps(_mm512_add_epi32(_mm512_loadu_si512(sums), _mm512_loadu_si512(correction)));
}
