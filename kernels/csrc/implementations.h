// What each instruction set provides: one function per kernel, over a part of the work.
#pragma once
#include "c2t_kernels.h"

// Ranks embedded together for all cells: their position rows stay in the cache from cell to cell.
constexpr int64_t kRankBlock = 16;

// How many keys and tokens may be written beyond those that count: vectors are stored whole.
constexpr int64_t kSpill = 16;

// A cell of up to this many genes is sorted by 16 leading bits. A few pairs agree in these, and putting them in order
// costs less than a third pass.
constexpr int64_t kFewEntries = 1536;

// Scratch of one thread of the rank-value encoding; see rank_value/rank_value.inl.
struct RankScratch {
    double* sum;        // [G + 1]: all but the last are zero between cells
    uint32_t* token;    // [G + kSpill]
    uint64_t* key;      // [G + kSpill]
    uint64_t* order;    // [G], at least 2 * kFewEntries 32-bit numbers
    uint64_t* spare;    // [G]
};

#define C2T_DECLARE(isa)                                                                            \
    namespace c2t_##isa {                                                                           \
    void embed_block(const c2t_embed_args& args, int64_t block, float* row);                        \
    void rank_cells(const c2t_rank_args& args, int64_t first, int64_t last, const RankScratch& s);  \
    }
C2T_DECLARE(scalar)
C2T_DECLARE(avx2)
C2T_DECLARE(avx512)
C2T_DECLARE(neon)
#undef C2T_DECLARE
