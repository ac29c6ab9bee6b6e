// Rank-value encoding of a range of cells. Included by each implementation inside its anonymous namespace and
// compiled with that implementation's flags; no intrinsics: gathers and divisions vectorise by themselves.
// Compiled without contraction into FMA: every value must have the bits that NumPy gives it.
//
// A cell's sums lie in a table over all genes (it fits the L2 cache), which makes duplicates cost nothing. The
// quotients are positive doubles, whose bits order like the numbers: their range within the cell is cut to 16 or 24
// leading bits, radix sorted, and the rare runs that agree in these are put in order by comparison.

constexpr int kDigitBits = 8, kMaxDigits = 3;
constexpr uint32_t kDigitValues = 1u << kDigitBits;

// 16 bits leave a few pairs of equal ones among this many entries, which cost less than another pass.
constexpr int64_t kFewEntries = 1536;

struct Ranked {
    const uint64_t* key;      // bits of sum / median
    const uint32_t* touched;  // gene
    const int32_t* token;
    // Whether entry a stands before entry b: larger quotient, then smaller token.
    bool before(uint32_t a, uint32_t b) const {
        return key[a] != key[b] ? key[a] > key[b] : token[touched[a]] < token[touched[b]];
    }
};

// Sort the entries in the lower halves of order[0 ... n) by heap; std::sort would be shared between implementations.
void sort_run(const Ranked& ranked, uint64_t* order, int64_t n) {
    const auto before = [&](uint64_t a, uint64_t b) { return ranked.before(uint32_t(a), uint32_t(b)); };
    if (n <= 24) {
        for (int64_t i = 1; i < n; ++i) {
            const uint64_t entry = order[i];
            int64_t j = i;
            for (; j > 0 && before(entry, order[j - 1]); --j) order[j] = order[j - 1];
            order[j] = entry;
        }
        return;
    }
    const auto sift = [&](int64_t root, int64_t size) {
        const uint64_t entry = order[root];
        for (int64_t child; (child = 2 * root + 1) < size; root = child) {
            if (child + 1 < size && before(order[child], order[child + 1])) ++child;
            if (!before(entry, order[child])) break;
            order[root] = order[child];
        }
        order[root] = entry;
    };
    for (int64_t root = n / 2 - 1; root >= 0; --root) sift(root, n);
    for (int64_t size = n - 1; size > 0; --size) {
        const uint64_t last = order[0];
        order[0] = order[size];
        order[size] = last;
        sift(0, size);
    }
}

// Keep the entries that may be among the first `wanted`: drop those whose leading digit is too low. Returns how many.
int64_t drop_low(uint64_t* order, int64_t n, int64_t wanted, int digits) {
    const int shift = 32 + kDigitBits * (digits - 1);
    uint32_t count[kDigitValues] = {};
    for (int64_t i = 0; i < n; ++i) ++count[order[i] >> shift];
    uint64_t limit = 0;
    for (int64_t before = 0; before < wanted; ++limit) before += count[limit];
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t entry = order[i];
        order[kept] = entry;
        kept += (entry >> shift) < limit;
    }
    return kept;
}

// Sort by the digits above the entry number. Returns where the result lies: one of the two buffers.
template <int digits> uint64_t* radix_sort(uint64_t* from, uint64_t* to, int64_t n) {
    uint32_t start[digits][kDigitValues] = {};
    for (int64_t i = 0; i < n; ++i) {
        for (int d = 0; d < digits; ++d) ++start[d][(from[i] >> (32 + kDigitBits * d)) % kDigitValues];
    }
    for (int d = 0; d < digits; ++d) {
        uint32_t total = 0;
        for (uint32_t& entry : start[d]) {
            const uint32_t count = entry;
            entry = total;
            total += count;
        }
        for (int64_t i = 0; i < n; ++i) {
            const uint64_t entry = from[i];
            to[start[d][(entry >> (32 + kDigitBits * d)) % kDigitValues]++] = entry;
        }
        uint64_t* swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

// Order n touched genes; returns the entries, best first, the first `wanted` of them valid.
const uint64_t* rank_genes(const c2t_rank_args& a, const RankScratch& s, int64_t n, int64_t wanted) {
    uint64_t highest = 0, lowest = ~uint64_t(0);
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t gene = s.touched[i];
        const double ratio = s.sum[gene] / a.median[gene];
        uint64_t key;
        std::memcpy(&key, &ratio, 8);
        s.key[i] = key;
        highest = key > highest ? key : highest;
        lowest = key < lowest ? key : lowest;
    }
    for (int64_t i = 0; i < n; ++i) s.sum[s.touched[i]] = 0.0;

    const int digits = n <= kFewEntries ? 2 : kMaxDigits;
    int shift = 0;
    while ((highest - lowest) >> shift >> (kDigitBits * digits)) ++shift;
    for (int64_t i = 0; i < n; ++i) s.order[i] = (((highest - s.key[i]) >> shift) << 32) | uint64_t(i);

    const int64_t kept = n > wanted ? drop_low(s.order, n, wanted, digits) : n;
    uint64_t* order = digits == 2 ? radix_sort<2>(s.order, s.spare, kept) : radix_sort<kMaxDigits>(s.order, s.spare, kept);
    const Ranked ranked{s.key, s.touched, a.token};
    for (int64_t first = 0, i = 1; i <= kept; ++i) {
        if (i < kept && (order[i] >> 32) == (order[first] >> 32)) continue;
        if (i - first > 1) sort_run(ranked, order + first, i - first);
        if (i >= wanted) break;
        first = i;
    }
    return order;
}

template <class Value> uint8_t status_of(const Value* data, int64_t n) {
    constexpr double infinity = std::numeric_limits<double>::infinity();
    bool nan = false, negative = false, infinite = false;
    for (int64_t i = 0; i < n; ++i) {
        const double x = static_cast<double>(data[i]);
        nan |= x != x;
        negative |= x < 0.0;
        infinite |= x == infinity || x == -infinity;
    }
    return nan ? C2T_NAN : infinite ? C2T_INFINITE : negative ? C2T_NEGATIVE : C2T_OK;
}

template <class Value, class Index>
void rank_cell(const c2t_rank_args& a, int64_t cell, const RankScratch& s) {
    const int64_t first = a.indptr[cell], stored = a.indptr[cell + 1] - first;
    const Value* data = static_cast<const Value*>(a.data) + first;
    const Index* columns = static_cast<const Index*>(a.indices) + first;
    int32_t* tokens = a.tokens + cell * a.max_tokens;
    const int64_t room = a.max_tokens - (a.cls_token >= 0) - (a.eos_token >= 0);

    uint8_t status = status_of(data, stored);
    double total = 0.0;
    int64_t n = 0, length = 0;
    if (status == C2T_OK) {
        const uint32_t unknown = static_cast<uint32_t>(a.vocabulary);
        s.sum[unknown] = 1.0;  // never zero, hence never taken for a gene seen first
        for (int64_t i = 0; i < stored; ++i) {
            const double x = static_cast<double>(data[i]);
            uint32_t gene = static_cast<uint32_t>(a.column_gene[columns[i]]);
            gene = gene < unknown ? gene : unknown;  // -1 is the largest unsigned number
            const double before = s.sum[gene];
            total += x;
            s.touched[n] = gene;
            n += (before == 0.0) & (x > 0.0);
            s.sum[gene] = before + x;
        }
        if (n == 0) status = C2T_EMPTY;
    }
    if (n > 0) {
        const int64_t used = n < room ? n : room;
        const uint64_t* order = rank_genes(a, s, n, used);
        if (a.cls_token >= 0) tokens[length++] = a.cls_token;
        for (int64_t i = 0; i < used; ++i) tokens[length++] = a.token[s.touched[uint32_t(order[i])]];
        if (a.eos_token >= 0) tokens[length++] = a.eos_token;
    }
    for (int64_t i = length; i < a.max_tokens; ++i) tokens[i] = a.pad_token;
    a.lengths[cell] = static_cast<int32_t>(length);
    a.genes[cell] = static_cast<int32_t>(n);
    a.totals[cell] = total;
    a.status[cell] = status;
}

template <class Value> void rank_values(const c2t_rank_args& a, int64_t first, int64_t last, const RankScratch& s) {
    for (int64_t cell = first; cell < last; ++cell) {
        a.index_type == C2T_I64 ? rank_cell<Value, int64_t>(a, cell, s) : rank_cell<Value, int32_t>(a, cell, s);
    }
}

void rank_any(const c2t_rank_args& a, int64_t first, int64_t last, const RankScratch& s) {
    switch (a.data_type) {
        case C2T_F32: return rank_values<float>(a, first, last, s);
        case C2T_I32: return rank_values<int32_t>(a, first, last, s);
        case C2T_I64: return rank_values<int64_t>(a, first, last, s);
        default: return rank_values<double>(a, first, last, s);
    }
}
