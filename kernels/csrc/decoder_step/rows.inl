// What is done to a row between two linears: normalise, rotate, quantise; and the exponential.

// exp(v) for every lane, v at least -87 and at most 88: Taylor's series of exp(v - n ln 2), times 2^n.
inline Vector exponential(Vector v) {
    v = smaller(larger(v, broadcast(-87.0f)), broadcast(88.0f));
    const Vector n = rounded(multiply(v, broadcast(1.44269504f)));
    // ln 2 in two parts: the first has few bits, so that n times it is exact.
    Vector r = multiply_add(n, broadcast(-0.693359375f), v);
    r = multiply_add(n, broadcast(2.12194440e-4f), r);
    Vector p = broadcast(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        p = multiply_add(p, r, broadcast(c));
    return scaled_by_power(p, n);
}

// The buffer that a linear reads: [kRows] rows of float32 or of activations.
struct Inputs {
    const c2t_step_linear* linear;
    void* buffer;
    int64_t stride;  // numbers of a row; the numbers behind K are zeros or of no effect

    template <class T> T* row(int64_t index) const { return static_cast<T*>(buffer) + index * stride; }

    // Write numbers [first, first + count) of a row, quantised where the linear is.
    void put(int64_t index, int64_t first, int64_t count, const float* from) const {
        const int64_t whole = count - count % kLanes;
        if (linear->type == C2T_F32) {
            std::memcpy(row<float>(index) + first, from, static_cast<size_t>(count) * sizeof(float));
            return;
        }
        Activation* const to = row<Activation>(index) + first;
        const Vector scale = broadcast(linear->input_scale);
        for (int64_t i = 0; i < whole; i += kLanes) store_int8(to + i, divide(load(from + i), scale));
        if (whole == count) return;
        float rest[kLanes] = {};
        Activation stored[16];
        std::memcpy(rest, from + whole, static_cast<size_t>(count - whole) * sizeof(float));
        store_int8(stored, divide(load(rest), scale));
        std::memcpy(to + whole, stored, static_cast<size_t>(count - whole) * sizeof(Activation));
    }
};

// RMS norm of a row [n]; `out` may not be `x`. Returns the mean square.
//
// Where ONNX Runtime's order of additions and its roundings could be found, they are kept here and in rotate(): in int8
// a difference in the last bit can become one of a whole step.
inline float normalise(const float* x, const float* weight, int64_t n, float epsilon, float* out) {
    const int64_t whole = n - n % kLanes, eights = n - n % 8;
    float total = squares(x, eights);
    for (int64_t i = eights; i < n; ++i) total += x[i] * x[i];
    const float mean = total / static_cast<float>(n), factor = 1.0f / std::sqrt(mean + epsilon);
    const Vector factors = broadcast(factor);
    for (int64_t i = 0; i < whole; i += kLanes) store(out + i, multiply(multiply(load(x + i), factors), load(weight + i)));
    for (int64_t i = whole; i < n; ++i) out[i] = x[i] * factor * weight[i];
    return mean;
}

// Rotary embedding of a head [2 * half]: its halves turn together.
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

// silu(gate) * up for 32 of each
inline void gated(const float* gate, const float* up, float* out) {
    for (int64_t i = 0; i < C2T_STEP_COLUMNS / 2; i += kLanes) {
        const Vector g = load(gate + i);
        const Vector sigmoid = divide(broadcast(1.0f), add(broadcast(1.0f), exponential(subtract(zero(), g))));
        store(out + i, multiply(multiply(g, sigmoid), load(up + i)));
    }
}
