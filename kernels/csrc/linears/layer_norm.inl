// Layer norm of a row.

inline float horizontal(const float* x, int64_t whole, int64_t n) {
    Vector part = zero();
    for (int64_t i = 0; i < whole; i += kLanes) part = add(part, load(x + i));
    float total = sum(part);
    for (int64_t i = whole; i < n; ++i) total += x[i];
    return total;
}

// Layer norm of a row [n]; `out` may be `x`. Returns whether its numbers are finite.
inline bool layer_norm(const float* x, const float* weight, const float* bias, int64_t n, float epsilon, float* out) {
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
