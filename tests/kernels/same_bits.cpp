// Compares the vector kernels of this processor with the scalar ones, bit for bit, through the C interface. It needs no
// Python, so that it runs under an emulator within a minute. Prints one JSON line; exits with 1 at the first difference.
//
// Gene embedding is compared for NEON only: the kernels for x86-64 use FMA, and are tested within a tolerance.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "c2t_kernels.h"

namespace {

struct Random {
    uint64_t state;
    uint64_t bits() {  // splitmix64
        uint64_t z = state += 0x9E3779B97F4A7C15u;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
        return z ^ (z >> 31);
    }
    int64_t below(int64_t n) { return static_cast<int64_t>(bits() % static_cast<uint64_t>(n)); }
    double unit() { return static_cast<double>(bits() >> 11) * 0x1p-53; }
    double normal() { return std::sqrt(-2 * std::log(1 - unit())) * std::cos(6.283185307179586 * unit()); }
};

size_t size_of(int32_t type) { return type == C2T_I8 ? 1 : type == C2T_F32 ? 4 : 2; }

struct Counts { int64_t cases = 0, values = 0; };

[[noreturn]] void differ(const std::string& what, size_t byte) {
    std::printf("%s: byte %zu differs from the scalar kernel\n", what.c_str(), byte);
    std::exit(1);
}

// Whether both are NaN, and as good as each other: C++ leaves the sign open, and the payload of a float32.
bool both_nan(const uint8_t* a, const uint8_t* b, int32_t type) {
    uint32_t x = 0, y = 0;
    std::memcpy(&x, a, size_of(type));
    std::memcpy(&y, b, size_of(type));
    if (type == C2T_F32) return (x & 0x7FFFFFFF) > 0x7F800000 && (y & 0x7FFFFFFF) > 0x7F800000;
    return type == C2T_F16 && (x & 0x7FFF) > 0x7C00 && (x & 0x7FFF) == (y & 0x7FFF);
}

void compare(const std::vector<uint8_t>& ours, const std::vector<uint8_t>& scalar, int32_t type,
             const std::string& what, Counts& counts) {
    const size_t size = size_of(type);
    for (size_t i = 0; i < ours.size(); i += size) {
        if (std::memcmp(&ours[i], &scalar[i], size) && !both_nan(&ours[i], &scalar[i], type)) differ(what, i);
    }
    counts.values += static_cast<int64_t>(ours.size() / size);
}

// ---- gene embedding

// A table of which every value is drawn: finite and near `scale`, or any bits if it is 0.
std::vector<uint8_t> draw_table(Random& random, int64_t values, int32_t type, double scale) {
    std::vector<uint8_t> table(static_cast<size_t>(values) * size_of(type));
    for (int64_t i = 0; i < values; ++i) {
        const uint64_t bits = random.bits();
        uint8_t* to = &table[static_cast<size_t>(i) * size_of(type)];
        if (type == C2T_F32 && scale != 0) {
            const float value = static_cast<float>(random.normal() * scale);
            std::memcpy(to, &value, 4);
        } else if (type == C2T_F16 && scale != 0) {
            uint16_t half = static_cast<uint16_t>(bits);
            half = (half & 0x7C00) == 0x7C00 ? half & 0x83FF : half;  // no infinity, no NaN
            std::memcpy(to, &half, 2);
        } else {
            std::memcpy(to, &bits, size_of(type));
        }
    }
    return table;
}

std::vector<float> draw_floats(Random& random, int64_t n, double scale) {
    std::vector<float> values(static_cast<size_t>(n));
    for (float& value : values) value = static_cast<float>(random.normal() * scale);
    return values;
}

struct Embedding {
    int64_t hidden_size, vocabulary, ranks;
    int32_t table_type;
    double scale;  // of the tables' values; 0: any bits
    bool typed;
    std::vector<float> beta = {};   // drawn where it is empty; else gamma is zero
    bool every_half = false;        // the tables' halves are 0, 1, 2, ... as bits
};

void check_embedding(Random& random, const Embedding& e, int32_t isa, Counts& counts) {
    const int64_t cells = 3;
    auto word = draw_table(random, e.vocabulary * e.hidden_size, e.table_type, e.scale);
    auto position = draw_table(random, e.ranks * e.hidden_size, e.table_type, e.scale);
    if (e.every_half) {
        for (size_t i = 0; i < word.size() / 2; ++i) {
            const uint16_t half = static_cast<uint16_t>(i);
            std::memcpy(&word[2 * i], &half, 2);
        }
        std::fill(position.begin(), position.end(), uint8_t(0));
    }
    const auto token_type = draw_floats(random, e.hidden_size, 1), gamma = draw_floats(random, e.hidden_size, 1);
    const auto drawn = draw_floats(random, e.hidden_size, 1);
    const std::vector<float> none(static_cast<size_t>(e.hidden_size), 0.0f);
    std::vector<float> word_scale, position_scale;
    for (int64_t i = 0; i < e.vocabulary; ++i) word_scale.push_back(static_cast<float>(random.unit() + 0.01));
    for (int64_t i = 0; i < e.ranks; ++i) position_scale.push_back(static_cast<float>(random.unit() + 0.01));
    std::vector<int32_t> tokens, lengths = {static_cast<int32_t>(e.ranks), 0, static_cast<int32_t>(e.ranks / 2)};
    for (int64_t i = 0; i < cells * e.ranks; ++i) {
        tokens.push_back(static_cast<int32_t>(e.every_half ? i % e.vocabulary : random.below(e.vocabulary)));
    }
    for (const int32_t out_type : {C2T_F32, C2T_F16, C2T_BF16, C2T_I8}) {
        // What a NaN becomes as int8 is left open by C++.
        if (out_type == C2T_I8 && (e.scale == 0 || !e.beta.empty())) continue;
        const size_t bytes = static_cast<size_t>(cells * e.ranks * e.hidden_size) * size_of(out_type);
        std::vector<uint8_t> out[2] = {std::vector<uint8_t>(bytes, 0xAB), std::vector<uint8_t>(bytes, 0xCD)};
        c2t_embed_args args{};
        args.tokens = tokens.data(), args.lengths = lengths.data();
        args.word = word.data(), args.position = position.data();
        if (e.table_type == C2T_I8) args.word_scale = word_scale.data(), args.position_scale = position_scale.data();
        args.token_type = e.typed ? token_type.data() : nullptr;
        args.gamma = e.beta.empty() ? gamma.data() : none.data();
        args.beta = e.beta.empty() ? drawn.data() : e.beta.data();
        args.cells = cells, args.ranks = e.ranks, args.hidden_size = e.hidden_size;
        args.table_type = e.table_type, args.out_type = out_type;
        args.epsilon = 1e-12f, args.out_scale = 0.03f;
        for (int i = 0; i < 2; ++i) {
            args.out = out[i].data();
            if (c2t_embed(&args, i ? C2T_SCALAR : isa, 2)) std::abort();
        }
        compare(out[0], out[1], out_type,
                "embedding, size " + std::to_string(e.hidden_size) + ", table " + std::to_string(e.table_type) +
                    ", output " + std::to_string(out_type), counts);
        ++counts.cases;
    }
}

// Floats with every upper half, and lower halves beside and on the ties of float16 and bfloat16, or drawn.
std::vector<float> floats_near_ties(Random& random, int64_t turn) {
    constexpr uint32_t beside[] = {0x0000, 0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001, 0xF000};
    std::vector<float> values(1 << 16);
    for (uint32_t upper = 0; upper < values.size(); ++upper) {
        const uint32_t lower = turn < 8 ? beside[turn] : static_cast<uint32_t>(random.bits() & 0xFFFF);
        const uint32_t bits = upper << 16 | lower;
        std::memcpy(&values[upper], &bits, 4);
    }
    return values;
}

void check_embeddings(Random& random, int32_t isa, Counts& counts) {
    for (const int64_t hidden_size : {1, 2, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65, 256, 768, 1152}) {
        for (const int32_t type : {C2T_F32, C2T_F16, C2T_I8}) {
            for (const double scale : {1.0, 1e-42, 1e-20, 1e15, 0.0}) {
                check_embedding(random, {hidden_size, 50, 37, type, scale, random.below(2) == 1}, isa, counts);
            }
        }
    }
    for (int64_t turn = 0; turn < 16; ++turn) {
        check_embedding(random, {1 << 16, 2, 2, C2T_F32, 1.0, false, floats_near_ties(random, turn)}, isa, counts);
    }
    Embedding halves{16, 1 << 12, 1 << 12, C2T_F16, 0.0, false};
    halves.every_half = true;
    check_embedding(random, halves, isa, counts);
}

// ---- rank values

template <class Value> Value draw_count(Random& random, int kind) {
    const double small = static_cast<double>(random.below(6));
    if (!std::numeric_limits<Value>::is_iec559) return static_cast<Value>(kind == 1 ? small * 20000 : small);
    switch (kind) {
        case 1: return static_cast<Value>(small * 20000);
        case 2: return static_cast<Value>(std::exp(3 * random.normal()));
        case 3: return static_cast<Value>(small * 1e-44);                  // subnormal as float
        case 4: return static_cast<Value>(1.0 + small * 0x1p-23);          // agree in their leading bits
        default: return static_cast<Value>(small);
    }
}

template <class Value, class Index>
void check_ranking(Random& random, int kind, bool ascending, int32_t isa, Counts& counts) {
    constexpr int64_t kColumns = 5000;
    std::vector<int32_t> column_gene(kColumns), token(kColumns), column_token(kColumns, -1);
    std::vector<double> median(kColumns), column_median(kColumns, 1.0);
    std::iota(token.begin(), token.end(), 0);
    const double medians[] = {0.5, 1.0, 1.5, 3.3, 5e-324, 1e300};
    for (int64_t i = 0; i < kColumns; ++i) {
        std::swap(token[i], token[random.below(i + 1)]);
        median[i] = medians[random.below(6)];
        column_gene[i] = random.below(10) ? static_cast<int32_t>(i) : -1;
    }
    for (int64_t i = 0; i < kColumns; ++i) {
        if (column_gene[i] >= 0) column_token[i] = token[column_gene[i]], column_median[i] = median[column_gene[i]];
    }
    std::vector<int64_t> indptr = {0};
    std::vector<Index> columns;
    std::vector<Value> data;
    for (int64_t row = 0; row < 48; ++row) {
        const int64_t length = row < 42 ? row : row < 45 ? 250 + row : 1500 + 500 * (row - 45);
        int64_t column = random.below(2);
        for (int64_t i = 0; i < length; ++i) {
            columns.push_back(static_cast<Index>(ascending ? column : random.below(kColumns)));
            column += 1 + (random.below(2) && column + 2 * (length - i) < kColumns);
            data.push_back(draw_count<Value>(random, kind));
        }
        if (kind == 5 && length) {  // what is no count
            const double bad[] = {-1.0, std::numeric_limits<double>::quiet_NaN(), HUGE_VAL, -HUGE_VAL};
            const int64_t which = std::numeric_limits<Value>::is_iec559 ? random.below(4) : 0;
            data[data.size() - 1 - static_cast<size_t>(random.below(length))] = static_cast<Value>(bad[which]);
        }
        indptr.push_back(static_cast<int64_t>(columns.size()));
    }
    const int64_t cells = static_cast<int64_t>(indptr.size()) - 1;
    for (const int64_t max_tokens : {2, 100, 2048}) {
        // Tokens, lengths, genes, totals and status of all cells, one after another.
        const size_t n = static_cast<size_t>(cells), bytes = n * static_cast<size_t>(max_tokens) * 4;
        std::vector<uint8_t> out[2];
        for (int i = 0; i < 2; ++i) {
            out[i].assign(bytes + n * 17, i ? 0xAB : 0xCD);
            std::vector<double> totals(n);
            c2t_rank_args args{};
            args.indptr = indptr.data(), args.indices = columns.data(), args.data = data.data();
            args.column_gene = column_gene.data(), args.token = token.data(), args.median = median.data();
            uint8_t* at = out[i].data();
            args.tokens = reinterpret_cast<int32_t*>(at), at += bytes;
            args.lengths = reinterpret_cast<int32_t*>(at), at += n * 4;
            args.genes = reinterpret_cast<int32_t*>(at), at += n * 4;
            args.totals = totals.data();
            uint8_t* const end = at;
            at += n * 8;
            args.status = at;
            args.cells = cells, args.genes_of_vocabulary = kColumns, args.max_tokens = max_tokens;
            args.cls_token = 6001, args.eos_token = max_tokens == 100 ? 6002 : -1, args.pad_token = 6000;
            args.index_type = sizeof(Index) == 8 ? C2T_I64 : C2T_I32;
            args.data_type = std::numeric_limits<Value>::is_iec559 ? (sizeof(Value) == 8 ? C2T_F64 : C2T_F32)
                                                                   : (sizeof(Value) == 8 ? C2T_I64 : C2T_I32);
            args.column_token = column_token.data(), args.column_median = column_median.data();
            if (c2t_rank(&args, i ? C2T_SCALAR : isa, 2)) std::abort();
            std::memcpy(end, totals.data(), n * 8);
        }
        compare(out[0], out[1], C2T_I8, "ranking, values " + std::to_string(sizeof(Value)) + " bytes, kind " +
                std::to_string(kind) + ", " + std::to_string(max_tokens) + " tokens", counts);
        ++counts.cases;
    }
}

template <class Value> void check_rankings_of(Random& random, int32_t isa, Counts& counts) {
    for (int kind = 0; kind < 6; ++kind) {
        for (const bool ascending : {true, false}) {
            check_ranking<Value, int32_t>(random, kind, ascending, isa, counts);
            check_ranking<Value, int64_t>(random, kind, ascending, isa, counts);
        }
    }
}

}  // namespace

int main() {
    const char* const names[] = {"scalar", "avx2", "avx512", "neon"};
    std::string line;
    for (int32_t isa = C2T_AVX2; isa <= C2T_NEON; ++isa) {
        if (!(c2t_isa_mask() >> isa & 1)) continue;
        Random random{1};
        Counts embedding, ranking;
        if (isa == C2T_NEON) check_embeddings(random, isa, embedding);
        check_rankings_of<float>(random, isa, ranking);
        check_rankings_of<double>(random, isa, ranking);
        check_rankings_of<int32_t>(random, isa, ranking);
        check_rankings_of<int64_t>(random, isa, ranking);
        line += std::string(line.empty() ? "" : ", ") + "\"" + names[isa] + "\": {\"embeddings\": " +
                std::to_string(embedding.cases) + ", \"embedding values\": " + std::to_string(embedding.values) +
                ", \"rankings\": " + std::to_string(ranking.cases) + ", \"ranking bytes\": " +
                std::to_string(ranking.values) + "}";
    }
    std::printf("{%s}\n", line.c_str());
    return 0;
}
