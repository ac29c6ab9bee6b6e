// INT8 attention, compiled once for each instruction set. The including file defines `Vector` in its own anonymous
// namespace; every loop below is over lanes of queries:
//   kLanes            queries of a vector
//   kGroup            integers of a 32-bit lane that one product sums
//   kOffset           what is added to a query's integers, so that they are unsigned
//   kKeyStep          keys (and columns) whose products are computed together: those behind the last one are zeros
//   Query, Integer    types of the packed queries, and of the packed keys and values
//   Floats, Integers  a vector; functions as used below
// and two files: C2T_ATTENTION_PRODUCTS with kLayout and its products, C2T_PROBABILITIES with its
// `probabilities_of_block`.

constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: a number added to it is rounded to an integer, half to even
constexpr float kBytes = 8388608.0f;     // 2^23: likewise for 0 ... 255, and the byte above the lowest stays zero
constexpr float kLeast = -126.0f;        // 2 to a smaller power would be no normal number
constexpr float kTiny = 1e-30f;          // a row of smaller numbers counts as zeros: its scale would overflow
constexpr float kNever = -1e30f;
constexpr float kHeadroom = 16.0f;       // by how much a block's best score may be above the one that all count from
constexpr int64_t kVectors = 2;
constexpr int64_t kQueries = kVectors * Vector::kLanes;
constexpr int64_t kKeyStep = Vector::kKeyStep;
static_assert(kKeyStep % Vector::kGroup == 0 && kBlock % kKeyStep == 0, "blocks are of whole steps");

using Floats = Vector::Floats;
using Integers = Vector::Integers;
using Integer = Vector::Integer;

constexpr uint32_t kIntegerMask = 0xffffffffu >> (32 - 8 * sizeof(Integer));

inline int32_t bits_of(float x) {
    int32_t bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

// The largest magnitude as bits: they are ordered as the numbers are, and a NaN is larger than all.
inline int32_t magnitude(float x) { return bits_of(x) & 0x7fffffff; }

inline float number(int32_t bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

inline int32_t rounded(float x) { return bits_of(x + kRounder) - bits_of(kRounder); }

constexpr int32_t kInfinity = 0x7f800000;

// Scale of integers up to 127, and its inverse; both 0 for a row of zeros.
struct Scale {
    explicit Scale(int32_t largest) {
        const float x = number(largest);
        if (x < kTiny) return;
        step = x / 127.0f;
        inverse = 127.0f / x;
    }
    float step = 0.0f, inverse = 0.0f;
};

// 2^x for x up to kHeadroom, and for x < kLeast about 0; 2^0 is exactly 1. Largest relative error 1e-4, a fortieth of the step of
// the probabilities.
inline Floats exp2(Floats x) {
    x = Vector::max(x, Vector::all(kLeast));
    const Floats shifted = Vector::add(x, Vector::all(kRounder));
    const Floats rest = Vector::sub(x, Vector::sub(shifted, Vector::all(kRounder)));
    Floats y = Vector::fma(rest, Vector::all(0.055008931f), Vector::all(0.24221097f));
    y = Vector::fma(rest, y, Vector::all(0.69328293f));
    y = Vector::fma(rest, y, Vector::all(1.0f));
    return Vector::add_exponent(y, shifted);
}

// The state of a tile of queries. With AVX-512 and heads of 64 columns, 30 KB of it are used.
struct Tile {
    alignas(64) typename Vector::Query query[kQueries * kMaxHeadSize];  // [width / group, query, group]
    alignas(64) float scores[kBlock * kQueries];                        // [key, query]
    alignas(64) int32_t probabilities[kBlock / Vector::kGroup * kQueries];
    alignas(64) float out[kMaxHeadSize * kQueries];  // [column, query], to be divided by `total`
    alignas(64) float scale[kQueries];   // of a query's products, in powers of two
    alignas(64) float best[kQueries];    // the score that `out` counts from, in powers of two
    alignas(64) float total[kQueries];   // sum of 2^(score - best)
    alignas(64) float largest[kQueries]; // score of a block, where its products find it
};

// The functions of a block are not inlined: GCC 12 keeps their sums in registers only then.
#include C2T_ATTENTION_PRODUCTS

int64_t key_count(const c2t_attention_args& args, int64_t batch) {
    return args.key_lengths ? args.key_lengths[batch] : args.keys;
}

void pack_keys(const c2t_attention_args& args, const float* first, int64_t count, const PackedSizes& sizes,
               const PackedHead<Integer>& packed) {
    const int64_t stride = args.key_row, size = args.head_size;
    float mean[kMaxHeadSize] = {};
    for (int64_t j = 0; j < count; ++j)
        for (int64_t d = 0; d < size; ++d) mean[d] += first[j * stride + d];
    for (int64_t d = 0; d < size; ++d) mean[d] /= static_cast<float>(count);
    for (int64_t j = 0; j < round_up(count, kKeyStep); ++j) {
        Integer* row = packed.key + j * sizes.width;
        std::memset(row, 0, sizes.width * sizeof(Integer));
        packed.first_sum[j] = 0;
        packed.key_scale[j] = 0.0f;
        packed.key_bias[j] = j < count ? 0.0f : kNever;
        if (j >= count) continue;
        float centred[kMaxHeadSize];
        int32_t largest = 0, sum = 0;
        for (int64_t d = 0; d < size; ++d) {
            centred[d] = first[j * stride + d] - mean[d];
            largest = std::max(largest, magnitude(centred[d]));
        }
        if (largest >= kInfinity) {
            *packed.finite = 0.0f;
            return;
        }
        const Scale scale(largest);
        for (int64_t d = 0; d < size; ++d) {
            const int32_t integer = rounded(centred[d] * scale.inverse);
            row[d] = static_cast<Integer>(integer);
            sum += integer;
        }
        packed.first_sum[j] = -Vector::kOffset * sum;
        packed.key_scale[j] = scale.step;
    }
}

void pack_values(const c2t_attention_args& args, const float* first, int64_t count, const PackedSizes& sizes,
                 const PackedHead<Integer>& packed) {
    const int64_t stride = args.key_row, size = args.head_size, group = Vector::kGroup;
    std::fill(packed.value_mean, packed.value_mean + sizes.width, 0.0f);
    float* mean = packed.value_mean;
    for (int64_t j = 0; j < count; ++j)
        for (int64_t d = 0; d < size; ++d) mean[d] += first[j * stride + d];
    for (int64_t d = 0; d < size; ++d) mean[d] /= static_cast<float>(count);
    std::memset(packed.value, 0, sizes.integer_bytes);
    for (int64_t block = 0; block * kBlock < count; ++block) {
        const int64_t start = block * kBlock, end = std::min(count, start + kBlock);
        int32_t largest[kMaxHeadSize] = {};
        for (int64_t j = start; j < end; ++j)
            for (int64_t d = 0; d < size; ++d)
                largest[d] = std::max(largest[d], magnitude(first[j * stride + d] - mean[d]));
        float* step = packed.value_scale + block * sizes.width;
        float inverse[kMaxHeadSize];
        std::fill(step, step + sizes.width, 0.0f);
        for (int64_t d = 0; d < size; ++d) {
            if (largest[d] >= kInfinity) {
                *packed.finite = 0.0f;
                return;
            }
            const Scale scale(largest[d]);
            step[d] = scale.step;
            inverse[d] = scale.inverse;
        }
        for (int64_t j = start; j < end; j += group) {
            // The integers of a column, one of each key, side by side in 32 bits.
            uint32_t lanes[kMaxHeadSize] = {};
            for (int64_t i = 0; i < std::min(group, end - j); ++i) {
                const float* row = first + (j + i) * stride;
                for (int64_t d = 0; d < size; ++d) {
                    const uint32_t integer = static_cast<uint32_t>(rounded((row[d] - mean[d]) * inverse[d]));
                    lanes[d] |= (integer & kIntegerMask) << (32 / group * i);
                }
            }
            put_values(lanes, packed.value + start * sizes.width, j - start, sizes);
        }
    }
}

void pack(const c2t_attention_args& args, int64_t batch, int64_t head, void* memory) {
    const PackedSizes sizes(args, kLayout);
    const PackedHead<Integer> packed(sizes, memory);
    const int64_t count = key_count(args, batch);
    *packed.finite = 1.0f;
    const int64_t first = batch * args.key_batch + head * args.head_size;
    pack_keys(args, args.key + first, count, sizes, packed);
    pack_values(args, args.value + first, count, sizes, packed);
}

// Returns bits of the largest magnitude of a query.
int32_t pack_query(const float* row, const c2t_attention_args& args, int64_t lane, Tile& tile) {
    int32_t largest = 0;
    for (int64_t d = 0; d < args.head_size; ++d) largest = std::max(largest, magnitude(row[d]));
    if (largest >= kInfinity) return largest;
    const Scale scale(largest);
    constexpr int64_t group = Vector::kGroup;
    typename Vector::Query integers[kMaxHeadSize];
    for (int64_t d = 0; d < args.head_size; ++d)
        integers[d] = static_cast<typename Vector::Query>(rounded(row[d] * scale.inverse) + Vector::kOffset);
    std::fill(integers + args.head_size, integers + round_up(args.head_size, group), static_cast<typename Vector::Query>(0));
    for (int64_t d = 0; d < args.head_size; d += group)
        std::memcpy(tile.query + (d / group * kQueries + lane) * group, integers + d, group * sizeof(*integers));
    constexpr float kLog2E = 1.44269504f;
    tile.scale[lane] = scale.step * args.scale * kLog2E;
    return largest;
}

#include C2T_PROBABILITIES

// Add the weighted values of a block to `out`, which counts from a score that none so far is far above.
__attribute__((noinline)) void add_block(const PackedSizes& sizes, const PackedHead<Integer>& packed, int64_t start, int64_t keys,
               const Floats (&largest)[kVectors], const Floats (&sums)[kVectors], Tile& tile) {
    Floats weight[kVectors];
    for (int64_t v = 0; v < kVectors; ++v) {
        const int64_t lane = v * Vector::kLanes;
        const Floats top = Vector::mul(largest[v], Vector::load(tile.scale + lane));
        const Floats before = Vector::load(tile.best + lane);
        // Usually 0 or less. Only where a block would count for too much, all others are made smaller.
        const Floats best = Vector::any_less(Vector::add(before, Vector::all(kHeadroom)), top) ? Vector::max(before, top) : before;
        const Floats kept = exp2(Vector::sub(before, best)), added = exp2(Vector::sub(top, best));
        Vector::store(tile.best + lane, best);
        const Floats total = Vector::fma(Vector::load(tile.total + lane), kept, Vector::mul(added, sums[v]));
        Vector::store(tile.total + lane, total);
        weight[v] = Vector::mul(added, Vector::all(1.0f / 255.0f));
        if (Vector::any_less(before, best))
            for (int64_t d = 0; d < sizes.width; ++d) {
                float* out = tile.out + d * kQueries + lane;
                Vector::store(out, Vector::mul(Vector::load(out), kept));
            }
    }
    add_products(sizes, packed, start, keys, weight, tile);
}

// Divide `out` by the totals, and add the mean of the values.
void mix(const PackedHead<Integer>& packed, int64_t columns, Tile& tile) {
    for (int64_t v = 0; v < kVectors; ++v) {
        const int64_t lane = v * Vector::kLanes;
        alignas(64) float inverse[Vector::kLanes];
        for (int64_t i = 0; i < Vector::kLanes; ++i) inverse[i] = 1.0f / tile.total[lane + i];
        const Floats share = Vector::load(inverse);
        for (int64_t d = 0; d < columns; ++d) {
            float* const at = tile.out + d * kQueries + lane;
            const Floats mean = Vector::all(packed.value_mean[d]);
            Vector::store(at, Vector::add(Vector::mul(Vector::load(at), share), mean));
        }
    }
}

// Rows of `out` [queries, columns] from [columns, kQueries], whole blocks of it with vectors.
void turn(const float* from, int64_t queries, int64_t columns, float* out, int64_t stride) {
    const int64_t whole = queries == kQueries ? columns - columns % Vector::kLanes : 0;
    for (int64_t d = 0; d < whole; d += Vector::kLanes)
        for (int64_t i = 0; i < kQueries; i += Vector::kLanes)
            Vector::turn(from + d * kQueries + i, kQueries, out + i * stride + d, stride);
    for (int64_t i = 0; i < queries; ++i)
        for (int64_t d = whole; d < columns; ++d) out[i * stride + d] = from[d * kQueries + i];
}

void attend(const c2t_attention_args& args, int64_t batch, int64_t head, int64_t first, const void* memory) {
    const PackedSizes sizes(args, kLayout);
    const PackedHead<Integer> packed(sizes, const_cast<void*>(memory));
    const int64_t count = key_count(args, batch), queries = std::min(kQueries, args.queries - first);
    const int64_t stride = args.query_row, at = batch * args.query_batch + first * stride + head * args.head_size;
    const float* query = args.query + at;
    float* out = args.out + at;

#ifdef C2T_TILES
    const Tiles tiles;
#endif
    Tile tile;
    std::memset(tile.query, 0, kQueries * sizes.width * sizeof(*tile.query));
    std::fill(tile.out, tile.out + sizes.width * kQueries, 0.0f);
    std::fill(tile.scale, tile.scale + kQueries, 0.0f);
    std::fill(tile.best, tile.best + kQueries, kNever);
    std::fill(tile.total, tile.total + kQueries, 0.0f);
    bool finite[kQueries];
    for (int64_t i = 0; i < queries; ++i)
        finite[i] = pack_query(query + i * stride, args, i, tile) < kInfinity && *packed.finite != 0.0f;

    if (*packed.finite != 0.0f && count > 0) {
        const auto keys_from = [&](int64_t start) { return std::min(kBlock, count - start); };
        begin_scores(sizes, packed, 0, keys_from(0), tile);
        for (int64_t start = 0; start < count; start += kBlock) {
            const int64_t keys = keys_from(start), next = start + kBlock;
            Floats largest[kVectors], sums[kVectors];
            finish_scores(packed, start, keys, tile, largest);
            probabilities_of_block(keys, largest, tile, sums);
            // Between the two, for tiles are not loaded before all stores to their memory have left the core's queue.
            if (next < count) begin_scores(sizes, packed, next, keys_from(next), tile);
            add_block(sizes, packed, start, keys, largest, sums, tile);
        }
    }

    if (count > 0) mix(packed, args.head_size, tile);
    for (int64_t i = 0; i < queries; ++i) {
        // No finite numbers, or scores beyond them: none come out either.
        if (!finite[i] || magnitude(tile.best[i]) >= kInfinity)
            for (int64_t d = 0; d < args.head_size; ++d)
                tile.out[d * kQueries + i] = std::numeric_limits<float>::quiet_NaN();
    }
    turn(tile.out, queries, args.head_size, out, stride);
}
