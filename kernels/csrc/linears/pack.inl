// Packing a linear into panels of 64 columns, in the order in which products stream them.
//
// int8:    panel[K / 4][64][4]  four inputs of a column side by side, which one instruction multiplies and adds
// float32: panel[K][64]
//
// With `halves` the columns are F gates and F numbers that gates multiply: a panel has 32 of each, so that whoever has
// computed a panel has both. So what is moved is half a panel, 32 columns that lie side by side in the matrix too.
//
// The including file defines how: interleave_32, transpose_8 and add_fours.

constexpr int64_t kHalf = C2T_PANEL_COLUMNS / 2;
constexpr int64_t kStepBytes = 4 * C2T_PANEL_COLUMNS;  // four inputs of int8 or one of float32, of all columns
constexpr int64_t kTogetherMax = 8;                    // of c2t_panels_together
constexpr int64_t kLineSteps = 16;                     // of int8: a cache line of a column's inputs

// Steps of a panel that are packed before the next panel's: all that was read of the source is used at once. (Of rows a
// power of two apart, the first-level cache keeps only a few.)
inline int64_t steps_together(const c2t_pack_args& a) { return a.by_output ? kLineSteps : 1; }

// 32 columns of the matrix: from `begin` on there are `width`, behind them nothing.
struct HalfPanel {
    HalfPanel(const c2t_pack_args& a, int64_t panel, int64_t half) {
        const int64_t within = a.halves ? panel * kHalf : (2 * panel + half) * kHalf;
        const int64_t columns = a.halves ? a.columns / 2 : a.columns;
        begin = within + (a.halves ? half * columns : 0);
        width = std::clamp<int64_t>(columns - within, 0, kHalf);
    }
    int64_t begin, width;
};

// One step of a half panel, number by number; zeros where the matrix has none.
template <class T> void pack_step(const c2t_pack_args& a, const HalfPanel& h, int64_t step, T* to) {
    constexpr int64_t inputs = 4 / sizeof(T);
    const auto* const source = static_cast<const T*>(a.source);
    for (int64_t i = 0; i < kHalf; ++i) {
        for (int64_t j = 0; j < inputs; ++j) {
            const int64_t k = inputs * step + j, column = h.begin + i;
            const bool is_there = i < h.width && k < a.inputs;
            to[inputs * i + j] = !is_there ? T{} : a.by_output ? source[column * a.inputs + k] : source[k * a.columns + column];
        }
    }
}

// Steps [begin, end) of a half panel; `out`: its first step.
template <class T> void pack_steps(const c2t_pack_args& a, const HalfPanel& h, int64_t begin, int64_t end, char* out) {
    constexpr int64_t inputs = 4 / sizeof(T);
    const int64_t whole = h.width < kHalf ? begin : std::min(end, a.inputs / inputs);  // steps of numbers that are all there
    const auto* const source = static_cast<const T*>(a.source);
    int64_t step = begin;
    if (a.by_output) {
        const int64_t row = a.inputs * static_cast<int64_t>(sizeof(T));
        for (; step + 8 <= whole; step += 8) {
            const char* const from = reinterpret_cast<const char*>(source + h.begin * a.inputs + inputs * step);
            for (int64_t column = 0; column < kHalf; column += 8) {
                for (int64_t i = 0; i < 8; ++i) __builtin_prefetch(from + (column + i) * row + 512);
                transpose_8(from + column * row, row, out + step * kStepBytes + 4 * column);
            }
        }
    } else {
        for (; step < whole; ++step) {
            const T* const from = source + inputs * step * a.columns + h.begin;
            for (int64_t i = 0; i < inputs; ++i) __builtin_prefetch(from + (2 * inputs + i) * a.columns);
            if constexpr (inputs == 4) interleave_32(from, a.columns, reinterpret_cast<int8_t*>(out + step * kStepBytes));
            else std::memcpy(out + step * kStepBytes, from, kStepBytes / 2);
        }
    }
    for (; step < end; ++step) pack_step(a, h, step, reinterpret_cast<T*>(out + step * kStepBytes));
}

template <class T> void pack_all(const c2t_pack_args& a, int64_t first, int64_t end) {
    constexpr int64_t inputs = 4 / sizeof(T);
    const int64_t steps = (a.inputs + inputs - 1) / inputs;
    alignas(64) int32_t sums[kTogetherMax][C2T_PANEL_COLUMNS] = {};
    const int64_t together = steps_together(a);
    for (int64_t step = 0; step < steps; step += together) {
        const int64_t stop = std::min(step + together, steps);
        for (int64_t panel = first; panel < end; ++panel) {
            char* const out = static_cast<char*>(a.panels) + panel * steps * kStepBytes;
            for (int64_t half = 0; half < 2; ++half)
                pack_steps<T>(a, HalfPanel(a, panel, half), step, stop, out + half * kStepBytes / 2);
            if constexpr (inputs == 4)
                add_fours(reinterpret_cast<const int8_t*>(out + step * kStepBytes), stop - step, sums[panel - first]);
        }
    }
    if constexpr (inputs == 4)
        for (int64_t panel = first; panel < end; ++panel)
            for (int64_t place = 0; place < C2T_PANEL_COLUMNS; ++place)
                a.correction[panel * C2T_PANEL_COLUMNS + place] = -128 * sums[panel - first][place];
}

void pack_any(const c2t_pack_args& args, int64_t first, int64_t end) {
    args.type == C2T_I8 ? pack_all<int8_t>(args, first, end) : pack_all<float>(args, first, end);
}
