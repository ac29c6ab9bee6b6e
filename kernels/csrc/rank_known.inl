// Entries of a cell whose columns ascend, where no two columns are one gene: for any processor.

// Writes keys (the bits of value / median) and tokens of the entries above zero in a gene of the vocabulary, in
// stored order; returns how many. Nothing is negative or NaN. May write one entry past those it returns.
template <class Value, class Index>
int64_t known_entries(const c2t_rank_args& a, const Value* data, const Index* columns, int64_t stored, const RankScratch& s) {
    int64_t n = 0;
    for (int64_t i = 0; i < stored; ++i) {
        const double x = static_cast<double>(data[i]);
        const int32_t token = a.column_token[columns[i]];
        const double ratio = x / a.column_median[columns[i]];
        std::memcpy(s.key + n, &ratio, 8);
        s.token[n] = static_cast<uint32_t>(token);
        n += (token >= 0) & (x > 0.0);
    }
    return n;
}
