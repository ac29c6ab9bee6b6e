// Packing, see pack.cpp.
#pragma once
#include "c2t_linears.h"

inline int64_t c2t_panel_count(const c2t_pack_args& a) {
    const int64_t half = C2T_PANEL_COLUMNS / 2;
    return a.halves ? (a.columns / 2 + half - 1) / half : (a.columns + C2T_PANEL_COLUMNS - 1) / C2T_PANEL_COLUMNS;
}

void c2t_pack_panel(const c2t_pack_args& args, int64_t panel);
