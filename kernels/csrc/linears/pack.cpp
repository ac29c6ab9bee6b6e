// Packing a linear into panels of 64 columns, in the order in which products stream them.
//
// int8:    panel[K / 4][64][4]  four inputs of a column side by side, which one instruction multiplies and adds
// float32: panel[K][64]
//
// With `halves` the columns are F gates and F numbers that gates multiply: a panel has 32 of each, so that whoever has
// computed a panel has both.
#include <algorithm>
#include <cstring>

#include "pack.h"

namespace {

constexpr int64_t kColumns = C2T_PANEL_COLUMNS;

// Column of the matrix in place `place` of a panel; -1: none.
int64_t column_of(const c2t_pack_args& a, int64_t panel, int64_t place) {
    if (!a.halves) {
        const int64_t column = panel * kColumns + place;
        return column < a.columns ? column : -1;
    }
    const int64_t half = a.columns / 2, within = panel * (kColumns / 2) + place % (kColumns / 2);
    if (within >= half) return -1;
    return place < kColumns / 2 ? within : half + within;
}

// Four rows of weights, each `width` long, column by column: the four of a column side by side.
void interleave(const int8_t* rows, int64_t stride, int64_t width, int8_t* out) {
    const int8_t *const a = rows, *const b = a + stride, *const c = b + stride, *const d = c + stride;
    for (int64_t i = 0; i < width; ++i) {
        out[4 * i] = a[i];
        out[4 * i + 1] = b[i];
        out[4 * i + 2] = c[i];
        out[4 * i + 3] = d[i];
    }
}

void pack_int8(const c2t_pack_args& a, int64_t panel) {
    const auto* const source = static_cast<const int8_t*>(a.source);
    const int64_t inputs = a.inputs, groups = (inputs + 3) / 4, run = a.halves ? kColumns / 2 : kColumns;
    auto* const out = static_cast<int8_t*>(a.panels) + panel * groups * 4 * kColumns;
    for (int64_t first = 0; first < kColumns; first += run) {  // columns that lie side by side in the matrix too
        const int64_t begin = std::max<int64_t>(0, column_of(a, panel, first));
        int64_t width = 0;
        while (width < run && column_of(a, panel, first + width) >= 0) ++width;
        for (int64_t group = 0; group < groups; ++group) {
            int8_t* const to = out + 4 * (group * kColumns + first);
            const int64_t k = 4 * group, count = std::min<int64_t>(4, inputs - k);
            if (width < run || count < 4) std::memset(to, 0, static_cast<size_t>(4 * run));
            if (a.by_output) {
                for (int64_t i = 0; i < width; ++i)
                    std::memcpy(to + 4 * i, source + (begin + i) * inputs + k, static_cast<size_t>(count));
            } else if (count == 4) {
                interleave(source + k * a.columns + begin, a.columns, width, to);
            } else {
                for (int64_t i = 0; i < width; ++i)
                    for (int64_t j = 0; j < count; ++j) to[4 * i + j] = source[(k + j) * a.columns + begin + i];
            }
        }
    }
    int32_t sums[kColumns] = {};
    for (int64_t group = 0; group < groups; ++group)
        for (int64_t place = 0; place < kColumns; ++place)
            for (int64_t j = 0; j < 4; ++j) sums[place] += out[4 * (group * kColumns + place) + j];
    for (int64_t place = 0; place < kColumns; ++place) a.correction[panel * kColumns + place] = -128 * sums[place];
}

void pack_float(const c2t_pack_args& a, int64_t panel) {
    const auto* const source = static_cast<const float*>(a.source);
    const int64_t inputs = a.inputs;
    float* const out = static_cast<float*>(a.panels) + panel * inputs * kColumns;
    for (int64_t place = 0; place < kColumns; ++place) {
        const int64_t column = column_of(a, panel, place);
        for (int64_t k = 0; k < inputs; ++k) {
            float weight = 0.0f;
            if (column >= 0) weight = a.by_output ? source[column * inputs + k] : source[k * a.columns + column];
            out[k * kColumns + place] = weight;
        }
    }
}

}  // namespace

void c2t_pack_panel(const c2t_pack_args& args, int64_t panel) {
    args.type == C2T_I8 ? pack_int8(args, panel) : pack_float(args, panel);
}
