// Rank-value encoding, compiled for AVX2.
#include <cstring>
#include <limits>

#include "../implementations.h"

namespace {
#include "rank_known.inl"

template <class Value, class Index>
int64_t known_entries(const c2t_rank_args& a, const Value* data, const Index* columns, int64_t stored, const RankScratch& s) {
    return known_one_by_one(a, data, columns, 0, stored, s, 0);
}
#include "rank_value.inl"
}  // namespace

void c2t_avx2::rank_cells(const c2t_rank_args& args, int64_t first, int64_t last, const RankScratch& scratch) {
    rank_any(args, first, last, scratch);
}
