// What is done to a row between two linears of an encoder.

inline void add_rows(const float* a, const float* b, int64_t n, float* out) {
    const int64_t whole = n - n % kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) store(out + i, add(load(a + i), load(b + i)));
    for (int64_t i = whole; i < n; ++i) out[i] = a[i] + b[i];
}
