// One float, for panels.inl and what includes it. For processors without AVX2, and to test the others against.
constexpr int64_t kLanes = 1;
using Vector = float;

inline Vector zero() { return 0.0f; }
inline Vector broadcast(float v) { return v; }
inline Vector load(const float* p) { return *p; }
inline void store(float* p, Vector v) { *p = v; }
inline Vector add(Vector a, Vector b) { return a + b; }
inline Vector subtract(Vector a, Vector b) { return a - b; }
inline Vector multiply(Vector a, Vector b) { return a * b; }
inline Vector divide(Vector a, Vector b) { return a / b; }
inline Vector reciprocal(Vector v) { return divide(broadcast(1.0f), v); }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return a * b + c; }
inline Vector multiply_subtract(Vector a, Vector b, Vector c) { return a * b - c; }
inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }
inline Vector smaller(Vector a, Vector b) { return a < b ? a : b; }
inline Vector rounded(Vector v) { return std::nearbyint(v); }
inline float sum(Vector v) { return v; }
inline float largest(Vector v) { return v; }
inline float squares(const float* x, int64_t n) {
    float total = 0.0f;
    for (int64_t i = 0; i < n; ++i) total += x[i] * x[i];
    return total;
}
inline Vector scaled_by_power(Vector v, Vector n) { return std::ldexp(v, static_cast<int>(n)); }
inline Vector sums(const Vector* v) { return *v; }

using Activation = int16_t;

inline void store_int8(Activation* p, Vector v) {
    *p = static_cast<Activation>(std::nearbyint(smaller(larger(v, -128.0f), 127.0f)));
}

// The int8 of v / scale; inverse: 1 / scale.
inline void store_quotient(Activation* p, Vector v, Vector scale, Vector) { store_int8(p, divide(v, scale)); }

// A sum of products; that with shifted activations would need a correction.
inline Vector corrected(const int32_t* sums, const int32_t*) { return static_cast<float>(*sums); }
