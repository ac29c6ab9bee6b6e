// What an MLP does to its numbers between its linears, and tanh.

struct Relu {
    Vector operator()(Vector v) const { return larger(zero(), v); }  // in this order NaN stays
};

// v times the normal distribution's share below v.
//
// erf by Abramowitz and Stegun, 7.1.26: its error is below 2e-7.
struct Gelu {
    Vector operator()(Vector v) const {
        const Vector scaled = multiply(v, broadcast(0.70710678f));
        const Vector positive = larger(scaled, subtract(zero(), scaled));
        const Vector t = reciprocal(multiply_add(broadcast(0.3275911f), positive, broadcast(1.0f)));
        Vector p = broadcast(1.061405429f);
        for (const float c : {-1.453152027f, 1.421413741f, -0.284496736f, 0.254829592f})
            p = multiply_add(p, t, broadcast(c));
        const Vector rest = multiply(multiply(p, t), exponential(subtract(zero(), multiply(positive, positive))));
        // erf(|z|) = 1 - rest, so that half of (v + |v| erf(|z|)) is what is wanted: v erf(z) = |v| erf(|z|).
        const Vector size = larger(v, subtract(zero(), v));
        return multiply(broadcast(0.5f), add(v, multiply(size, subtract(broadcast(1.0f), rest))));
    }
};

// 1 / (1 + exp(-v))
inline Vector logistic(Vector v) {
    return reciprocal(add(broadcast(1.0f), exponential(subtract(zero(), v))));
}

struct Silu {
    Vector operator()(Vector v) const { return multiply(v, logistic(v)); }
};

// v (1 + tanh(u)) / 2 with u = sqrt(2 / pi) (v + 0.044715 v^3): v times the logistic function of 2 u.
struct GeluTanh {
    Vector operator()(Vector v) const {
        const Vector square = multiply(v, v);
        const Vector twice = multiply(multiply(broadcast(1.59576912f), v),
                                      multiply_add(broadcast(0.044715f), square, broadcast(1.0f)));
        return multiply(v, logistic(twice));
    }
};

// f(activation) with the function of that number.
template <class F> inline void with_activation(int32_t number, const F& f) {
    switch (number) {
        case C2T_RELU: return f(Relu{});
        case C2T_GELU: return f(Gelu{});
        case C2T_GELU_TANH: return f(GeluTanh{});
        default: return f(Silu{});
    }
}

// n: a multiple of kLanes
template <class Activation> inline void activate(Activation activation, float* x, int64_t n) {
    for (int64_t i = 0; i < n; i += kLanes) store(x + i, activation(load(x + i)));
}

// cap * tanh(v / cap) of x [n], n a multiple of kLanes: 1 - 2 / (exp(2 v / cap) + 1), whose error is below 2e-7 of the cap.
inline void soft_cap(float* x, int64_t n, float cap) {
    const Vector factor = broadcast(2.0f / cap), one = broadcast(1.0f), caps = broadcast(cap);
    for (int64_t i = 0; i < n; i += kLanes) {
        const Vector power = exponential(multiply(load(x + i), factor));
        store(x + i, multiply(caps, subtract(one, divide(broadcast(2.0f), add(power, one)))));
    }
}
