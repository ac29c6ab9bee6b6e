// Rank-value encoding of a range of cells. Each implementation includes this file in its anonymous namespace, after its
// known_entries() (see rank_known.inl), and compiles it with its own flags; there are no intrinsics here. It is compiled
// without contraction into FMA: every value must have the bits that NumPy computes.
//
// Most files hold ascending columns of different genes: then an entry is a gene's sum. Otherwise the sums are kept in a
// table over all genes, which fits into the L2 cache, so that repeated columns cost nothing. The quotients are positive
// doubles, and the bits of such doubles order like the numbers. Their range within the cell is reduced to 16 or 24
// leading bits, which are radix sorted; the rare runs that agree in these bits are put in order by comparison.

constexpr int kDigitBits = 8, kMaxDigits = 3;
constexpr uint32_t kDigitValues = 1u << kDigitBits;

// What is sorted: leading bits of the quotient in the upper half, the entry's number in the lower half.
template <class Entry> constexpr int kNumberBits = 4 * sizeof(Entry);
template <class Entry> inline uint32_t number_of(Entry entry) {
    return static_cast<uint32_t>(entry & ((Entry(1) << kNumberBits<Entry>) - 1));
}

template <class Entry> inline Entry leading(Entry entry) { return entry >> kNumberBits<Entry>; }

struct Ranked {
    const uint64_t* key;    // bits of sum / median
    const uint32_t* token;
    // Whether entry a ranks before entry b: by larger quotient, then by smaller token.
    bool before(uint32_t a, uint32_t b) const { return key[a] != key[b] ? key[a] > key[b] : int32_t(token[a]) < int32_t(token[b]); }
};

// Sort order[0 ... n), whose leading bits agree: by insertion, or as a heap if there are many. The linker might keep one
// std::sort for all implementations, and that could be the AVX-512 version.
template <class Entry> void sort_run(const Ranked& ranked, Entry* order, int64_t n) {
    const auto before = [&](Entry a, Entry b) { return ranked.before(number_of(a), number_of(b)); };
    if (n <= 24) {
        for (int64_t i = 1; i < n; ++i) {
            const Entry entry = order[i];
            int64_t j = i;
            for (; j > 0 && before(entry, order[j - 1]); --j) order[j] = order[j - 1];
            order[j] = entry;
        }
        return;
    }
    const auto sift = [&](int64_t root, int64_t size) {
        const Entry entry = order[root];
        for (int64_t child; (child = 2 * root + 1) < size; root = child) {
            if (child + 1 < size && before(order[child], order[child + 1])) ++child;
            if (!before(entry, order[child])) break;
            order[root] = order[child];
        }
        order[root] = entry;
    };
    for (int64_t root = n / 2 - 1; root >= 0; --root) sift(root, n);
    for (int64_t size = n - 1; size > 0; --size) {
        const Entry last = order[0];
        order[0] = order[size];
        order[size] = last;
        sift(0, size);
    }
}

// Drop entries that cannot be among the first `wanted`, by their leading digit. Returns how many are left.
template <class Entry, int digits> int64_t drop_low(Entry* order, int64_t n, int64_t wanted) {
    constexpr int shift = kNumberBits<Entry> + kDigitBits * (digits - 1);
    uint32_t count[kDigitValues] = {};
    for (int64_t i = 0; i < n; ++i) ++count[order[i] >> shift];
    uint64_t limit = 0;
    for (int64_t before = 0; before < wanted; ++limit) before += count[limit];
    int64_t kept = 0;
    for (int64_t i = 0; i < n; ++i) {
        const Entry entry = order[i];
        order[kept] = entry;
        kept += (entry >> shift) < limit;
    }
    return kept;
}

// Sort by the leading bits. Returns the buffer that holds the result, `from` or `to`.
template <class Entry, int digits> Entry* radix_sort(Entry* from, Entry* to, int64_t n) {
    uint32_t start[digits][kDigitValues] = {};
    const auto digit = [](Entry entry, int d) { return (entry >> (kNumberBits<Entry> + kDigitBits * d)) % kDigitValues; };
    for (int64_t i = 0; i < n; ++i) {
        for (int d = 0; d < digits; ++d) ++start[d][digit(from[i], d)];
    }
    for (int d = 0; d < digits; ++d) {
        uint32_t total = 0;
        for (uint32_t& entry : start[d]) {
            const uint32_t count = entry;
            entry = total;
            total += count;
        }
        for (int64_t i = 0; i < n; ++i) {
            const Entry entry = from[i];
            to[start[d][digit(entry, d)]++] = entry;
        }
        Entry* swapped = from;
        from = to;
        to = swapped;
    }
    return from;
}

// Write the tokens of the first `wanted` of n entries, best first.
template <class Entry, int digits>
void write_ranked(const RankScratch& s, int64_t n, int64_t wanted, Entry* given, Entry* spare, int32_t* tokens) {
    uint64_t highest = 0, lowest = ~uint64_t(0);
    for (int64_t i = 0; i < n; ++i) {
        const uint64_t key = s.key[i];
        highest = key > highest ? key : highest;
        lowest = key < lowest ? key : lowest;
    }
    int shift = 0;
    while ((highest - lowest) >> shift >> (kDigitBits * digits)) ++shift;
    for (int64_t i = 0; i < n; ++i) {
        given[i] = static_cast<Entry>((highest - s.key[i]) >> shift << kNumberBits<Entry> | uint64_t(i));
    }
    const int64_t kept = n > wanted ? drop_low<Entry, digits>(given, n, wanted) : n;
    Entry* order = radix_sort<Entry, digits>(given, spare, kept);
    const Ranked ranked{s.key, s.token};
    // List the entries that agree with the next one: there are few, and a branch for each entry would cost more. The
    // list lies in the buffer that is free now.
    Entry* agreeing = order == given ? spare : given;
    int64_t listed = 0;
    for (int64_t i = 0; i + 1 < kept && i < wanted; ++i) {
        agreeing[listed] = static_cast<Entry>(i);
        listed += leading(order[i]) == leading(order[i + 1]);
    }
    for (int64_t i = 0; i < listed;) {
        const int64_t first = agreeing[i];
        int64_t last = first + 1;
        while (++i < listed && int64_t(agreeing[i]) == last) ++last;
        // A run may reach beyond the wanted entries.
        while (last + 1 < kept && leading(order[last]) == leading(order[last + 1])) ++last;
        sort_run(ranked, order + first, last + 1 - first);
    }
    for (int64_t i = 0; i < wanted; ++i) tokens[i] = static_cast<int32_t>(s.token[number_of(order[i])]);
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

// Sum in stored order. Counts are small integers, and these give the same sum in any order: they are added in vectors.
template <class Value> double total_of(const Value* data, int64_t n) {
    constexpr int64_t most = 1 << 14;  // entries, and largest value: an int32 holds the sum of such
    int32_t sum = 0, other = n > most;
    for (int64_t i = 0; i < n && !other; ) {
        const int64_t end = i + 256 < n ? i + 256 : n;
        for (int64_t j = i; j < end; ++j) other |= data[j] > Value(most);
        if (other) break;
        for (; i < end; ++i) {
            const int32_t whole = static_cast<int32_t>(data[i]);
            other |= static_cast<Value>(whole) != data[i];
            sum += whole;
        }
    }
    if (!other) return sum;
    double total = 0.0;
    for (int64_t i = 0; i < n; ++i) total += static_cast<double>(data[i]);
    return total;
}

// Whether the columns ascend strictly.
template <class Index> bool ascends(const Index* columns, int64_t n) {
    int32_t falls = 0;
    for (int64_t i = 1; i < n; ++i) falls |= columns[i] <= columns[i - 1];
    return !falls;
}

// Sum the entries of each gene. Writes keys and tokens of those above zero, returns how many.
template <class Value, class Index>
int64_t sum_entries(const c2t_rank_args& a, const Value* data, const Index* columns, int64_t stored, const RankScratch& s) {
    const uint32_t unknown = static_cast<uint32_t>(a.genes_of_vocabulary);
    uint32_t* touched = s.token;  // genes first, replaced by tokens in the end
    s.sum[unknown] = 1.0;         // never zero, so it never looks like a gene's first entry
    int64_t n = 0;
    for (int64_t i = 0; i < stored; ++i) {
        const double x = static_cast<double>(data[i]);
        uint32_t gene = static_cast<uint32_t>(a.column_gene[columns[i]]);
        gene = gene < unknown ? gene : unknown;  // -1 becomes the largest unsigned number
        const double before = s.sum[gene];
        touched[n] = gene;
        n += (before == 0.0) & (x > 0.0);
        s.sum[gene] = before + x;
    }
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t gene = touched[i];
        const double ratio = s.sum[gene] / a.median[gene];
        std::memcpy(s.key + i, &ratio, 8);
        s.sum[gene] = 0.0;
        touched[i] = static_cast<uint32_t>(a.token[gene]);
    }
    return n;
}

template <class Value, class Index>
void rank_cell(const c2t_rank_args& a, int64_t cell, const RankScratch& s) {
    const int64_t first = a.indptr[cell], stored = a.indptr[cell + 1] - first;
    const Value* data = static_cast<const Value*>(a.data) + first;
    const Index* columns = static_cast<const Index*>(a.indices) + first;
    int32_t* tokens = a.tokens + cell * a.max_tokens;
    const int64_t room = a.max_tokens - (a.cls_token >= 0) - (a.eos_token >= 0);

    int32_t bad = 0;
    for (int64_t i = 0; i < stored; ++i) bad |= !((data[i] >= Value(0)) & (data[i] <= std::numeric_limits<Value>::max()));
    uint8_t status = bad ? status_of(data, stored) : uint8_t(C2T_OK);
    double total = 0.0;
    int64_t n = 0, length = 0;
    if (status == C2T_OK) {
        total = total_of(data, stored);
        n = a.column_token && ascends(columns, stored) ? known_entries(a, data, columns, stored, s)
                                                       : sum_entries(a, data, columns, stored, s);
        if (n == 0) status = C2T_EMPTY;
    }
    if (n > 0) {
        const int64_t used = n < room ? n : room;
        if (a.cls_token >= 0) tokens[length++] = a.cls_token;
        if (n <= kFewEntries) {
            uint32_t* order = reinterpret_cast<uint32_t*>(s.order);
            write_ranked<uint32_t, 2>(s, n, used, order, order + kFewEntries, tokens + length);
        } else {
            write_ranked<uint64_t, kMaxDigits>(s, n, used, s.order, s.spare, tokens + length);
        }
        length += used;
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
