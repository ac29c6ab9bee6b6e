// Entries of a cell whose columns ascend, where no two columns are one gene: one by one, for any processor.

// Write keys (the bits of value / median) and tokens of those of entries i ... stored - 1 that are above zero in a gene
// of the vocabulary, in stored order, after the n that are there; returns how many there are then. Nothing is negative
// or NaN. May write past those it returns, up to kSpill.
template <class Value, class Index>
int64_t known_one_by_one(const c2t_rank_args& a, const Value* data, const Index* columns, int64_t i, int64_t stored,
                         const RankScratch& s, int64_t n) {
    for (; i < stored; ++i) {
        const double x = static_cast<double>(data[i]);
        const int32_t token = a.column_token[columns[i]];
        const double ratio = x / a.column_median[columns[i]];
        std::memcpy(s.key + n, &ratio, 8);
        s.token[n] = static_cast<uint32_t>(token);
        n += (token >= 0) & (x > 0.0);
    }
    return n;
}
