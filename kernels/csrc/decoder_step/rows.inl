// What is done to a row between two linears of a decoder: normalise, rotate.

// RMS norm of a row [n]; `out` may not be `x`. Returns the mean square.
//
// Where ONNX Runtime's order of additions and its roundings could be found, they are kept here and in rotate(): in int8
// a difference in the last bit can become one of a whole step.
inline float rms_norm(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
    const int64_t whole = n - n % kLanes, eights = n - n % 8;
    float total = squares(x, eights);
    for (int64_t i = eights; i < n; ++i) total += x[i] * x[i];
    const float mean = total / static_cast<float>(n), factor = 1.0f / std::sqrt(mean + epsilon);
    const Vector factors = broadcast(factor);
    for (int64_t i = 0; i < whole; i += kLanes) store(out + i, multiply(multiply(load(x + i), factors), load(weight + i)));
    for (int64_t i = whole; i < n; ++i) out[i] = x[i] * factor * weight[i];
    return mean;
}

// Rotary embedding of numbers [2 * half] of a head: their halves turn together.
inline void rotate(const float* x, const float* cosines, const float* sines, int64_t half, float* out) {
    const int64_t whole = half - half % kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
        const Vector first = load(x + i), second = load(x + half + i), c = load(cosines + i), s = load(sines + i);
        store(out + i, multiply_subtract(first, c, multiply(second, s)));
        store(out + half + i, multiply_add(first, s, multiply(second, c)));
    }
    for (int64_t i = whole; i < half; ++i) {
        const float first = x[i], second = x[half + i];
        out[i] = first * cosines[i] - second * sines[i];
        out[half + i] = first * sines[i] + second * cosines[i];
    }
}
