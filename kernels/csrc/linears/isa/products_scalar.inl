// Products of a row with a part of a panel, one number after the other.
constexpr int kRowsTogether = 1;

// sums[64] += activations [4 * groups] times panel [groups][64][4]; first: sums are 0 before.
template <int rows>
inline void multiply_int8(const int8_t* panel, const int16_t* activations, int64_t, int64_t groups, bool first,
                          int32_t* sums, Ahead) {
    if (first) std::fill_n(sums, 64, 0);
    for (int64_t group = 0; group < groups; ++group)
        for (int column = 0; column < 64; ++column)
            for (int i = 0; i < 4; ++i)
                sums[column] += panel[256 * group + 4 * column + i] * activations[4 * group + i];
}

// sums[64] += activations [inputs] times panel [inputs][64]
template <int rows>
inline void multiply_float(const float* panel, const float* activations, int64_t, int64_t inputs, bool first,
                           float* sums, Ahead) {
    if (first) std::fill_n(sums, 64, 0.0f);
    for (int64_t input = 0; input < inputs; ++input)
        for (int column = 0; column < 64; ++column) sums[column] += panel[64 * input + column] * activations[input];
}
