// Keys and tokens of a cell's entries, one by one, for any processor. The columns ascend, and no two are the same gene.

// Append keys (the bits of value / median) and tokens of entries i ... stored - 1 to the n that are there, in stored
// order, leaving out columns that are no gene and values of zero. Returns how many there are then. No value is negative
// or NaN. Up to kSpill numbers beyond those may be overwritten.
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
