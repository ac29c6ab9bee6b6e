// Eight floats, for panels.inl and what includes it.
constexpr int64_t kLanes = 8;
using Vector = __m256;

inline Vector zero() { return _mm256_setzero_ps(); }
inline Vector broadcast(float v) { return _mm256_set1_ps(v); }
inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
inline Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
inline Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
inline Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
inline Vector divide(Vector a, Vector b) { return _mm256_div_ps(a, b); }
inline Vector reciprocal(Vector v) { return divide(broadcast(1.0f), v); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector multiply_subtract(Vector a, Vector b, Vector c) { return _mm256_fmsub_ps(a, b, c); }
inline Vector larger(Vector a, Vector b) { return _mm256_max_ps(a, b); }
inline Vector smaller(Vector a, Vector b) { return _mm256_min_ps(a, b); }
inline Vector rounded(Vector v) { return _mm256_round_ps(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
inline float sum(Vector v) {
    const __m128 half = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_add_ss(quarter, _mm_movehdup_ps(quarter)));
}
inline float largest(Vector v) {
    const __m128 half = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    const __m128 quarter = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)));
}
// Sum of the squares of x [n], n a multiple of 8, in the order in which ONNX Runtime adds them.
inline float squares(const float* x, int64_t n) {
    Vector total = zero();
    for (int64_t i = 0; i < n; i += 8) total = multiply_add(load(x + i), load(x + i), total);
    return sum(total);
}
// v * 2^n for whole n from -126 to 127
inline Vector scaled_by_power(Vector v, Vector n) {
    const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_mul_ps(v, _mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23)));
}

// Lane i: the sum of the lanes of v[i].
inline Vector sums(const Vector* v) {
    Vector half[2];
    for (int i = 0; i < 2; ++i) {
        const Vector* const w = v + 4 * i;
        half[i] = _mm256_hadd_ps(_mm256_hadd_ps(w[0], w[1]), _mm256_hadd_ps(w[2], w[3]));
    }
    return add(_mm256_permute2f128_ps(half[0], half[1], 0x20), _mm256_permute2f128_ps(half[0], half[1], 0x31));
}

// An int8 activation, widened: sums of two products would not fit into the 16 bits of VPMADDUBSW.
using Activation = int16_t;

// v rounded half to even, within int8.
inline void store_int8(Activation* p, Vector v) {
    v = smaller(larger(v, broadcast(-128.0f)), broadcast(127.0f));
    const __m256i wide = _mm256_cvtps_epi32(v);
    const __m128i narrow = _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow);
}

// The int8 of v / scale; inverse: 1 / scale.
inline void store_quotient(Activation* p, Vector v, Vector scale, Vector) { store_int8(p, divide(v, scale)); }

// Sums of products; those with shifted activations would need a correction.
inline Vector corrected(const int32_t* sums, const int32_t*) {
    return _mm256_cvtepi32_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)));
}
