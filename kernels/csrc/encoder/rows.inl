// What is done to a row between two linears of an encoder.

inline float horizontal(const float* x, int64_t whole, int64_t n) {
    Vector part = zero();
    for (int64_t i = 0; i < whole; i += kLanes) part = add(part, load(x + i));
    float total = sum(part);
    for (int64_t i = whole; i < n; ++i) total += x[i];
    return total;
}

// Whether all numbers of x [n] are finite: a number that is not gives NaN times 0.
inline bool is_finite(const float* x, int64_t n) {
    const int64_t whole = n - n % kLanes;
    Vector part = zero();
    for (int64_t i = 0; i < whole; i += kLanes) part = multiply_add(load(x + i), zero(), part);
    float total = sum(part);
    for (int64_t i = whole; i < n; ++i) total += x[i] * 0.0f;
    return total == 0.0f;
}

// Layer norm of a row [n]; `out` may be `x`. Returns whether its numbers are finite.
inline bool normalise(const float* x, const float* weight, const float* bias, int64_t n, float epsilon, float* out) {
    const int64_t whole = n - n % kLanes;
    const float mean = horizontal(x, whole, n) / static_cast<float>(n);
    const Vector means = broadcast(mean);
    Vector part = zero();
    for (int64_t i = 0; i < whole; i += kLanes) {
        const Vector difference = subtract(load(x + i), means);
        part = multiply_add(difference, difference, part);
    }
    float squared = sum(part);
    for (int64_t i = whole; i < n; ++i) squared += (x[i] - mean) * (x[i] - mean);
    const float factor = 1.0f / std::sqrt(squared / static_cast<float>(n) + epsilon);
    const Vector factors = broadcast(factor);
    for (int64_t i = 0; i < whole; i += kLanes) {
        const Vector scaled = multiply(subtract(load(x + i), means), factors);
        store(out + i, multiply_add(scaled, load(weight + i), load(bias + i)));
    }
    for (int64_t i = whole; i < n; ++i) out[i] = (x[i] - mean) * factor * weight[i] + bias[i];
    return std::isfinite(squared);
}

inline void add_rows(const float* a, const float* b, int64_t n, float* out) {
    const int64_t whole = n - n % kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) store(out + i, add(load(a + i), load(b + i)));
    for (int64_t i = whole; i < n; ++i) out[i] = a[i] + b[i];
}

// n: a multiple of kLanes
inline void relu(float* x, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) store(x + i, larger(zero(), load(x + i)));  // in this order NaN stays
}

// x times the normal distribution's share below x; n: a multiple of kLanes.
//
// erf by Abramowitz and Stegun, 7.1.26: its error is below 2e-7.
inline void gelu(float* x, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) {
        const Vector v = load(x + i), scaled = multiply(v, broadcast(0.70710678f));
        const Vector positive = larger(scaled, subtract(zero(), scaled));
        const Vector t = divide(broadcast(1.0f), multiply_add(broadcast(0.3275911f), positive, broadcast(1.0f)));
        Vector p = broadcast(1.061405429f);
        for (const float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
            p = multiply_add(p, t, broadcast(c));
        const Vector rest = multiply(multiply(p, t), exponential(subtract(zero(), multiply(positive, positive))));
        // erf(|z|) = 1 - rest, so that half of (x + |x| erf(|z|)) is what is wanted: x erf(z) = |x| erf(|z|).
        const Vector size = larger(v, subtract(zero(), v));
        store(x + i, multiply(broadcast(0.5f), add(v, multiply(size, subtract(broadcast(1.0f), rest)))));
    }
}
