// Products of up to six rows with a part of a panel, with AVX-512 and VNNI. A panel's 64 columns are four registers, so
// 24 sums stay in registers and each weight is loaded once for all rows.
constexpr int kRowsTogether = 6;

inline void fetch(const char* p) {
    for (int line = 0; line < 4; ++line) _mm_prefetch(p + 64 * line, _MM_HINT_T1);
}

// sums[rows][64] += activations [rows][4 * groups] times panel [groups][64][4]; first: sums are 0 before.
template <int rows>
inline void multiply_int8(const int8_t* panel, const uint8_t* activations, int64_t stride, int64_t groups,
                          bool first, int32_t* __restrict sums, Ahead ahead) {
    __m512i sum[rows][4];
    for (int row = 0; row < rows; ++row)
        for (int i = 0; i < 4; ++i)
            sum[row][i] = first ? _mm512_setzero_si512() : _mm512_load_si512(sums + 64 * row + 16 * i);
    for (int64_t group = 0; group < groups;) {
        fetch(ahead.next());
        for (const int64_t end = std::min(group + ahead.every, groups); group < end; ++group) {
            __m512i weights[4];
            for (int i = 0; i < 4; ++i) weights[i] = _mm512_loadu_si512(panel + 256 * group + 64 * i);
            for (int row = 0; row < rows; ++row) {
                int32_t four;
                std::memcpy(&four, activations + row * stride + 4 * group, 4);
                const __m512i inputs = _mm512_set1_epi32(four);
                for (int i = 0; i < 4; ++i) sum[row][i] = _mm512_dpbusd_epi32(sum[row][i], inputs, weights[i]);
            }
        }
    }
    for (int row = 0; row < rows; ++row)
        for (int i = 0; i < 4; ++i) _mm512_store_si512(sums + 64 * row + 16 * i, sum[row][i]);
}

// sums[rows][64] += activations [rows][inputs] times panel [inputs][64]
template <int rows>
inline void multiply_float(const float* panel, const float* activations, int64_t stride, int64_t inputs,
                           bool first, float* __restrict sums, Ahead ahead) {
    Vector sum[rows][4];
    for (int row = 0; row < rows; ++row)
        for (int i = 0; i < 4; ++i) sum[row][i] = first ? zero() : load(sums + 64 * row + 16 * i);
    for (int64_t input = 0; input < inputs;) {
        fetch(ahead.next());
        for (const int64_t end = std::min(input + ahead.every, inputs); input < end; ++input) {
            Vector weights[4];
            for (int i = 0; i < 4; ++i) weights[i] = load(panel + 64 * input + 16 * i);
            for (int row = 0; row < rows; ++row) {
                const Vector value = broadcast(activations[row * stride + input]);
                for (int i = 0; i < 4; ++i) sum[row][i] = multiply_add(value, weights[i], sum[row][i]);
            }
        }
    }
    for (int row = 0; row < rows; ++row)
        for (int i = 0; i < 4; ++i) store(sums + 64 * row + 16 * i, sum[row][i]);
}
