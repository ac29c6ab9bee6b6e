// What each instruction set provides: one function per kernel, over a part of the work.
#pragma once
#include "c2t_kernels.h"

// Ranks embedded together for all cells: their position rows stay in the cache from cell to cell.
constexpr int64_t kRankBlock = 16;

// How far past the last entry that counts keys and tokens may be written.
constexpr int64_t kSpill = 16;

// Up to this many genes a cell's entries are sorted by 16 leading bits: these leave a few pairs of equal ones, which
// cost less than another pass.
constexpr int64_t kFewEntries = 1536;

// Scratch of one thread of the rank-value encoding; see rank_value.inl.
struct RankScratch {
    double* sum;        // [G + 1], all zero between cells, but for the last
    uint32_t* token;    // [G + kSpill]
    uint64_t* key;      // [G + kSpill]
    uint64_t* order;    // [G], and kFewEntries 32-bit ones twice
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
#undef C2T_DECLARE
