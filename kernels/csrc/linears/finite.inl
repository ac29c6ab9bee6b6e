// Numbers that are not finite. Quantised, they would look like numbers.

// Whether all numbers of x [n] are finite: a number that is not gives NaN times 0.
inline bool is_finite(const float* x, int64_t n) {
    const int64_t whole = n - n % kLanes;
    Vector part = zero();
    for (int64_t i = 0; i < whole; i += kLanes) part = multiply_add(load(x + i), zero(), part);
    float total = sum(part);
    for (int64_t i = whole; i < n; ++i) total += x[i] * 0.0f;
    return total == 0.0f;
}
