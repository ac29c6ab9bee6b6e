// Products of up to three rows with a part of a panel, with AVX2 and FMA. Strips of 16 columns, for there are 16
// registers.
constexpr int kRowsTogether = 3;

inline void fetch(const char* p) {
    for (int line = 0; line < 4; ++line) _mm_prefetch(p + 64 * line, _MM_HINT_T1);
}

// sums[rows][64] += activations [rows][4 * groups] times panel [groups][64][4]; first: sums are 0 before.
template <int rows>
inline void multiply_int8(const int8_t* panel, const int16_t* activations, int64_t stride, int64_t groups,
                          bool first, int32_t* __restrict sums, Ahead ahead) {
    for (int strip = 0; strip < 4; ++strip) {
        __m256i sum[rows][4];  // of each column two sums, side by side
        for (int row = 0; row < rows; ++row)
            for (int i = 0; i < 4; ++i) sum[row][i] = _mm256_setzero_si256();
        for (int64_t group = 0; group < groups;) {
            if (strip == 0) fetch(ahead.next());
            for (const int64_t end = std::min(group + ahead.every, groups); group < end; ++group) {
                __m256i inputs[rows];
                for (int row = 0; row < rows; ++row) {
                    int64_t four;
                    std::memcpy(&four, activations + row * stride + 4 * group, 8);
                    inputs[row] = _mm256_set1_epi64x(four);
                }
                const int8_t* const at = panel + 256 * group + 64 * strip;
                for (int i = 0; i < 4; ++i) {
                    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + 16 * i));
                    const __m256i weights = _mm256_cvtepi8_epi16(bytes);
                    for (int row = 0; row < rows; ++row)
                        sum[row][i] = _mm256_add_epi32(sum[row][i], _mm256_madd_epi16(weights, inputs[row]));
                }
            }
        }
        for (int row = 0; row < rows; ++row) {
            for (int i = 0; i < 4; i += 2) {
                auto* const to = reinterpret_cast<__m256i*>(sums + 64 * row + 16 * strip + 4 * i);
                const __m256i whole = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sum[row][i], sum[row][i + 1]), 0xD8);
                _mm256_storeu_si256(to, first ? whole : _mm256_add_epi32(_mm256_loadu_si256(to), whole));
            }
        }
    }
}

// sums[rows][64] += activations [rows][inputs] times panel [inputs][64]
template <int rows>
inline void multiply_float(const float* panel, const float* activations, int64_t stride, int64_t inputs,
                           bool first, float* __restrict sums, Ahead ahead) {
    for (int strip = 0; strip < 4; ++strip) {
        Vector sum[rows][2];
        for (int row = 0; row < rows; ++row)
            for (int i = 0; i < 2; ++i) sum[row][i] = first ? zero() : load(sums + 64 * row + 16 * strip + 8 * i);
        for (int64_t input = 0; input < inputs;) {
            if (strip == 0) fetch(ahead.next());
            for (const int64_t end = std::min(input + ahead.every, inputs); input < end; ++input) {
                const float* const at = panel + 64 * input + 16 * strip;
                const Vector low = load(at), high = load(at + 8);
                for (int row = 0; row < rows; ++row) {
                    const Vector value = broadcast(activations[row * stride + input]);
                    sum[row][0] = multiply_add(value, low, sum[row][0]);
                    sum[row][1] = multiply_add(value, high, sum[row][1]);
                }
            }
        }
        for (int row = 0; row < rows; ++row)
            for (int i = 0; i < 2; ++i) store(sums + 64 * row + 16 * strip + 8 * i, sum[row][i]);
    }
}
