// Probabilities of a block in 8 bits, 255 for the largest of each query; sums of the exact ones.
__attribute__((noinline)) void probabilities_of_block(int64_t keys, const Floats (&largest)[kVectors], Tile& tile, Floats (&sums)[kVectors]) {
    constexpr int64_t group = Vector::kGroup;
    for (int64_t v = 0; v < kVectors; ++v) {
        const float* scores = tile.scores + v * Vector::kLanes;
        int32_t* packed = tile.probabilities + v * Vector::kLanes;
        const Floats scale = Vector::load(tile.scale + v * Vector::kLanes);
        const Floats top = Vector::mul(largest[v], scale);
        Floats sum = Vector::all(0.0f);
        for (int64_t j = 0; j < round_up(keys, kKeyStep); j += group) {
            Floats integers[group];
            for (int64_t i = 0; i < group; ++i) {
                integers[i] = Vector::all(kBytes);
                if (j + i >= keys) continue;
                const Floats score = Vector::load(scores + (j + i) * kQueries);
                const Floats p = exp2(Vector::sub(Vector::mul(score, scale), top));
                sum = Vector::add(sum, p);
                integers[i] = Vector::fma(p, Vector::all(255.0f), Vector::all(kBytes));
            }
            Vector::store_low_bits(packed + j / group * kQueries, integers);
        }
        sums[v] = sum;
    }
}
