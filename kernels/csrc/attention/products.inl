// Products of the integers of a head with vectors. The including file also defines
//   kRows  keys (or columns) whose sums are kept in registers at a time; divides kKeyStep
// Keys are packed as [keys, width], values as [keys / group, width, group].
static_assert(kKeyStep % Vector::kRows == 0, "steps are of whole rows");
constexpr PackedLayout kLayout{sizeof(Integer), kKeyStep, kKeyStep};

// Put integers of `group` keys, those of a column side by side in 32 bits, where they lie in a block of values.
void put_values(const uint32_t* lanes, Integer* block, int64_t key, const PackedSizes& sizes) {
    std::memcpy(block + key * sizes.width, lanes, sizes.columns * sizeof(*lanes));
}

// Scores of `keys` keys from `start` on, before the queries' scales.
__attribute__((noinline)) void begin_scores(const PackedSizes& sizes, const PackedHead<Integer>& packed, int64_t start,
                                            int64_t keys, Tile& tile) {
    constexpr int64_t rows = Vector::kRows;
    const int64_t groups = sizes.width / Vector::kGroup;
    Floats top[kVectors];
    for (Floats& most : top) most = Vector::all(kNever);
    for (int64_t j = 0; j < keys; j += rows) {
        Integers sums[rows][kVectors];
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = Vector::repeat(packed.first_sum + start + j + r);
        const Integer* key = packed.key + (start + j) * sizes.width;
        const auto* query = tile.query;
        for (int64_t g = 0; g < groups; ++g) {
            Integers q[kVectors];
            for (int64_t v = 0; v < kVectors; ++v) q[v] = Vector::load(query + v * Vector::kLanes * Vector::kGroup);
            for (int64_t r = 0; r < rows; ++r) {
                const Integers k = Vector::repeat(key + r * sizes.width);
                for (int64_t v = 0; v < kVectors; ++v) sums[r][v] = Vector::dot(sums[r][v], q[v], k);
            }
            query += kQueries * Vector::kGroup;
            key += Vector::kGroup;
        }
        for (int64_t r = 0; r < rows; ++r) {
            const Floats scale = Vector::all(packed.key_scale[start + j + r]);
            const Floats bias = Vector::all(packed.key_bias[start + j + r]);
            for (int64_t v = 0; v < kVectors; ++v) {
                const Floats score = Vector::fma(Vector::to_floats(sums[r][v]), scale, bias);
                Vector::store(tile.scores + (j + r) * kQueries + v * Vector::kLanes, score);
                top[v] = Vector::max(top[v], score);
            }
        }
    }
    for (int64_t v = 0; v < kVectors; ++v) Vector::store(tile.largest + v * Vector::kLanes, top[v]);
}

// The largest score of each query.
void finish_scores(const PackedHead<Integer>&, int64_t, int64_t, Tile& tile, Floats (&largest)[kVectors]) {
    for (int64_t v = 0; v < kVectors; ++v) largest[v] = Vector::load(tile.largest + v * Vector::kLanes);
}

// Add the products of a block's probabilities and values, times the queries' weights, to `out`.
__attribute__((noinline)) void add_products(const PackedSizes& sizes, const PackedHead<Integer>& packed, int64_t start,
                                            int64_t keys, const Floats (&weight)[kVectors], Tile& tile) {
    constexpr int64_t rows = Vector::kRows, group = Vector::kGroup;
    const float* value_scale = packed.value_scale + start / kBlock * sizes.width;
    for (int64_t d = 0; d < sizes.width; d += rows) {
        Integers products[rows][kVectors];
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t v = 0; v < kVectors; ++v) products[r][v] = Vector::zero();
        const Integer* value = packed.value + start * sizes.width + d * group;
        for (int64_t j = 0; j < keys; j += group) {
            Integers p[kVectors];
            for (int64_t v = 0; v < kVectors; ++v)
                p[v] = Vector::load(tile.probabilities + j / group * kQueries + v * Vector::kLanes);
            for (int64_t r = 0; r < rows; ++r) {
                const Integers x = Vector::repeat(value + r * group);
                for (int64_t v = 0; v < kVectors; ++v) products[r][v] = Vector::dot(products[r][v], p[v], x);
            }
            value += group * sizes.width;
        }
        for (int64_t r = 0; r < rows; ++r)
            for (int64_t v = 0; v < kVectors; ++v) {
                float* out = tile.out + (d + r) * kQueries + v * Vector::kLanes;
                const Floats scale = Vector::mul(weight[v], Vector::all(value_scale[d + r]));
                Vector::store(out, Vector::fma(Vector::to_floats(products[r][v]), scale, Vector::load(out)));
            }
    }
}
