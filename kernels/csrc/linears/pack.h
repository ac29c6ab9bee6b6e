// Packing, see pack.inl.
#pragma once
#include "c2t_linears.h"

inline int64_t c2t_panel_count(const c2t_pack_args& a) {
    const int64_t half = C2T_PANEL_COLUMNS / 2;
    return a.halves ? (a.columns / 2 + half - 1) / half : (a.columns + C2T_PANEL_COLUMNS - 1) / C2T_PANEL_COLUMNS;
}

// Panels that one thread packs together. Where a row of the source runs through all panels, a page of it has numbers of
// several; else each panel has pages of its own.
inline int64_t c2t_panels_together(const c2t_pack_args& a) { return a.by_output ? 1 : 8; }

namespace c2t_scalar {
void pack_panels(const c2t_pack_args& args, int64_t first, int64_t end);
}
namespace c2t_avx2 {
void pack_panels(const c2t_pack_args& args, int64_t first, int64_t end);
}
