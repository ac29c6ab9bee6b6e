// Rank-value encoding, compiled for any processor.
#include <cstring>
#include <limits>

#include "implementations.h"

namespace {
#include "rank_known.inl"
#include "rank_value.inl"
}  // namespace

void c2t_scalar::rank_cells(const c2t_rank_args& args, int64_t first, int64_t last, const RankScratch& scratch) {
    rank_any(args, first, last, scratch);
}
