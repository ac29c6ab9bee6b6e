// Products of the integers of a head with tiles of AMX: 16 keys (or columns), 16 queries, and 64 columns (or keys) an
// instruction. The same sums of integers as with vectors.
//
// Keys are packed as [keys, width]; values as [width, kBlock] in each block, so that columns are the rows of a tile.
#include "../tiles.inl"

constexpr int64_t kTileKeys = 16, kTileColumns = 16, kTileBytes = 64;
constexpr int64_t kQueryBytes = 4 * kQueries;  // of four columns, or of four keys' probabilities
constexpr PackedLayout kLayout{sizeof(Integer), kBlock, kTileBytes};
static_assert(kQueries == 32 && kBlock == 2 * kTileBytes && kKeyStep == kTileKeys, "what the tiles below are for");

// Put integers of four keys, those of a column side by side in 32 bits, where they lie in a block of values.
void put_values(const uint32_t* lanes, Integer* block, int64_t key, const PackedSizes& sizes) {
    for (int64_t d = 0; d < sizes.columns; ++d) std::memcpy(block + d * kBlock + key, lanes + d, sizeof(*lanes));
}

// Products of `keys` keys from `start` on with the queries, as integers.
__attribute__((noinline)) void begin_scores(const PackedSizes& sizes, const PackedHead<Integer>& packed, int64_t start,
                                            int64_t keys, Tile& tile) {
    const int64_t steps = sizes.width / kTileBytes;
    const Integer* const first = packed.key + start * sizes.width;
    written();
    _tile_loadd(4, first, sizes.width);
    _tile_loadd(5, first + kTileKeys * sizes.width, sizes.width);
    // 32 keys at a time, so that there is work while sums are on their way. What lies behind the last key is not used.
    for (int64_t j = 0; j < keys; j += 2 * kTileKeys) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        for (int64_t step = 0; step < steps; ++step) {
            if (j == 0 || steps > 1) {  // those of a single step stay in their registers
                const auto* const query = tile.query + step * kTileBytes * kQueries;
                _tile_loadd(6, query, kQueryBytes);
                _tile_loadd(7, query + 64, kQueryBytes);
            }
            _tile_dpbssd(0, 4, 6);
            _tile_dpbssd(1, 4, 7);
            _tile_dpbssd(2, 5, 6);
            _tile_dpbssd(3, 5, 7);
            // The next keys, before sums are stored: a load would wait for any store whose address ends in the same bits.
            const bool within = step + 1 < steps;
            const int64_t next = within ? j : j + 2 * kTileKeys < keys ? j + 2 * kTileKeys : 0;
            const Integer* const key = first + next * sizes.width + (within ? (step + 1) * kTileBytes : 0);
            _tile_loadd(4, key, sizes.width);
            _tile_loadd(5, key + kTileKeys * sizes.width, sizes.width);
        }
        float* const sums = tile.scores + j * kQueries;
        float* const later = sums + kTileKeys * kQueries;
        _tile_stored(0, sums, kQueryBytes);
        _tile_stored(1, sums + 16, kQueryBytes);
        _tile_stored(2, later, kQueryBytes);
        _tile_stored(3, later + 16, kQueryBytes);
    }
    written();
}

// Scores from these products, before the queries' scales; the largest of each query.
__attribute__((noinline)) void finish_scores(const PackedHead<Integer>& packed, int64_t start, int64_t keys, Tile& tile,
                                             Floats (&largest)[kVectors]) {
    Floats top[kVectors];
    for (Floats& most : top) most = Vector::all(kNever);
    for (int64_t j = 0; j < keys; ++j) {
        const Floats scale = Vector::all(packed.key_scale[start + j]);
        for (int64_t v = 0; v < kVectors; ++v) {
            float* const at = tile.scores + j * kQueries + v * Vector::kLanes;
            const Floats score = Vector::mul(Vector::to_floats(Vector::load(static_cast<const void*>(at))), scale);
            Vector::store(at, score);
            top[v] = Vector::max(top[v], score);
        }
    }
    for (int64_t v = 0; v < kVectors; ++v) largest[v] = top[v];
}

// Add the products of a block's probabilities and values, times the queries' weights, to `out`.
__attribute__((noinline)) void add_products(const PackedSizes& sizes, const PackedHead<Integer>& packed, int64_t start,
                                            int64_t keys, const Floats (&weight)[kVectors], Tile& tile) {
    const float* const value_scale = packed.value_scale + start / kBlock * sizes.width;
    const bool both = keys > kTileBytes;
    const auto* const upper = tile.probabilities;
    const auto* const lower = upper + kTileBytes / 4 * kQueries;
    alignas(64) int32_t products[2 * kTileColumns * kQueries];  // [columns, queries]
    for (int64_t d = 0; d < sizes.columns; d += 2 * kTileColumns) {
        const Integer* const value = packed.value + start * sizes.width + d * kBlock;
        written();
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        _tile_loadd(4, value, kBlock);
        _tile_loadd(6, upper, kQueryBytes);
        _tile_dpbsud(0, 4, 6);
        _tile_loadd(7, upper + Vector::kLanes, kQueryBytes);
        _tile_dpbsud(1, 4, 7);
        _tile_loadd(5, value + kTileColumns * kBlock, kBlock);
        _tile_dpbsud(2, 5, 6);
        _tile_dpbsud(3, 5, 7);
        if (both) {
            _tile_loadd(4, value + kTileBytes, kBlock);
            _tile_loadd(6, lower, kQueryBytes);
            _tile_dpbsud(0, 4, 6);
            _tile_loadd(7, lower + Vector::kLanes, kQueryBytes);
            _tile_dpbsud(1, 4, 7);
            _tile_loadd(5, value + kTileBytes + kTileColumns * kBlock, kBlock);
            _tile_dpbsud(2, 5, 6);
            _tile_dpbsud(3, 5, 7);
        }
        int32_t* const later = products + kTileColumns * kQueries;
        _tile_stored(0, products, kQueryBytes);
        _tile_stored(1, products + Vector::kLanes, kQueryBytes);
        _tile_stored(2, later, kQueryBytes);
        _tile_stored(3, later + Vector::kLanes, kQueryBytes);
        written();
        for (int64_t r = 0; r < std::min(2 * kTileColumns, sizes.columns - d); ++r)
            for (int64_t v = 0; v < kVectors; ++v) {
                float* const out = tile.out + (d + r) * kQueries + v * Vector::kLanes;
                const Floats scale = Vector::mul(weight[v], Vector::all(value_scale[d + r]));
                const void* const sums = products + r * kQueries + v * Vector::kLanes;
                Vector::store(out, Vector::fma(Vector::to_floats(Vector::load(sums)), scale, Vector::load(out)));
            }
    }
}
