// Products of many rows with a part of a panel, with AMX: 16 rows, 16 columns and 64 inputs an instruction. A panel of
// int8 is what a tile of weights wants to be. Few rows, and what is left of the inputs, are products_avx512.inl's. Sums of
// integers are exact, so the numbers are those of AVX-512.
#include "../../tiles.inl"
#include "products_avx512.inl"

constexpr int64_t kTileSteps = 16;  // of 256 bytes of a panel: 64 inputs
constexpr int64_t kTileBytes = 256 * kTileSteps;
constexpr int64_t kTilesFrom = 8;   // rows from which tiles are faster

constexpr int64_t kSumBytes = 4 * C2T_PANEL_COLUMNS;

// Fetches weights into the first-level cache, two steps of the loop before they are used: further ahead, they would
// be gone again, and all at once, they would keep loads waiting. `next` is what is read behind this part of a panel.
class WeightsAhead {
public:
    WeightsAhead(const int8_t* panel, int64_t count, const char* next)
        : panel_(reinterpret_cast<const char*>(panel)), next_(next), count_(count) {}
    const char* of(int64_t i) const {
        return i + 2 < count_ ? panel_ + (i + 2) * kTileBytes : next_ + (i + 2 - count_) * kTileBytes;
    }

private:
    const char *panel_, *next_;
    int64_t count_;
};

inline void fetch_quarter(const char* p) {
    for (int line = 0; line < 16; ++line) _mm_prefetch(p + 64 * line, _MM_HINT_T0);
}

inline void zero_tiles() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
}

// sums[16][64] += activations [16][64 * count] times panel [16 * count][64][4]; first: sums are 0 before.
template <bool fetches>
inline void multiply_tiles_16(const int8_t* panel, const uint8_t* rows, int64_t stride, int64_t count, bool first,
                              int32_t* sums, const char* next) {
    const WeightsAhead ahead(panel, count, next);
    if (first) {
        zero_tiles();
    } else {
        _tile_loadd(0, sums, kSumBytes);
        _tile_loadd(1, sums + 16, kSumBytes);
        _tile_loadd(2, sums + 32, kSumBytes);
        _tile_loadd(3, sums + 48, kSumBytes);
    }
    for (int64_t i = 0; i < count; ++i, panel += kTileBytes, rows += 64) {
        const char* const later = ahead.of(i);
        _tile_loadd(4, rows, stride);
        _tile_loadd(5, panel, 256);
        _tile_dpbusd(0, 4, 5);
        if (fetches) fetch_quarter(later);
        _tile_loadd(6, panel + 64, 256);
        _tile_dpbusd(1, 4, 6);
        if (fetches) fetch_quarter(later + 1024);
        _tile_loadd(7, panel + 128, 256);
        _tile_dpbusd(2, 4, 7);
        if (fetches) fetch_quarter(later + 2048);
        _tile_loadd(5, panel + 192, 256);
        _tile_dpbusd(3, 4, 5);
        if (fetches) fetch_quarter(later + 3072);
    }
    _tile_stored(0, sums, kSumBytes);
    _tile_stored(1, sums + 16, kSumBytes);
    _tile_stored(2, sums + 32, kSumBytes);
    _tile_stored(3, sums + 48, kSumBytes);
}

// sums[32][64] += activations [32][64 * count] times panel [16 * count][64][4]: every tile is used twice.
template <bool fetches>
inline void multiply_tiles_32(const int8_t* panel, const uint8_t* rows, int64_t stride, int64_t count, bool first,
                              int32_t* sums, const char* next) {
    const WeightsAhead ahead(panel, count, next);
    for (int64_t half = 0; half < 64; half += 32) {
        const int8_t* weights = panel + 4 * half;
        const uint8_t* upper = rows;
        int32_t* const to = sums + half;
        int32_t* const below = to + 16 * C2T_PANEL_COLUMNS;
        if (first) {
            zero_tiles();
        } else {
            _tile_loadd(0, to, kSumBytes);
            _tile_loadd(1, to + 16, kSumBytes);
            _tile_loadd(2, below, kSumBytes);
            _tile_loadd(3, below + 16, kSumBytes);
        }
        for (int64_t i = 0; i < count; ++i, weights += kTileBytes, upper += 64) {
            const char* const later = ahead.of(i);
            const bool fetch_now = fetches && half == 0;
            _tile_loadd(4, upper, stride);
            _tile_loadd(6, weights, 256);
            _tile_dpbusd(0, 4, 6);
            if (fetch_now) fetch_quarter(later);
            _tile_loadd(7, weights + 64, 256);
            _tile_dpbusd(1, 4, 7);
            if (fetch_now) fetch_quarter(later + 1024);
            _tile_loadd(5, upper + 16 * stride, stride);
            _tile_dpbusd(2, 5, 6);
            if (fetch_now) fetch_quarter(later + 2048);
            _tile_dpbusd(3, 5, 7);
            if (fetch_now) fetch_quarter(later + 3072);
        }
        _tile_stored(0, to, kSumBytes);
        _tile_stored(1, to + 16, kSumBytes);
        _tile_stored(2, below, kSumBytes);
        _tile_stored(3, below + 16, kSumBytes);
    }
}

// sums[rows][64] += activations [rows][4 * steps] times panel [steps][64][4], for whole tiles of the steps. Rows up to
// the next multiple of 16 are read and written. Returns how many steps it took.
inline int64_t multiply_tiles(const int8_t* panel, const uint8_t* activations, int64_t stride, int64_t rows,
                              int64_t steps, bool first, int32_t* sums, const char* next) {
    const int64_t count = steps / kTileSteps;
    if (count == 0) return 0;
    written();
    for (int64_t row = 0; row < rows; row += 32) {
        const uint8_t* const from = activations + row * stride;
        int32_t* const to = sums + row * C2T_PANEL_COLUMNS;
        const bool both = rows - row > 16, fetches = row == 0;  // rows behind the first ones find the weights near
        if (both && fetches) multiply_tiles_32<true>(panel, from, stride, count, first, to, next);
        else if (both) multiply_tiles_32<false>(panel, from, stride, count, first, to, next);
        else if (fetches) multiply_tiles_16<true>(panel, from, stride, count, first, to, next);
        else multiply_tiles_16<false>(panel, from, stride, count, first, to, next);
    }
    written();
    return count * kTileSteps;
}
