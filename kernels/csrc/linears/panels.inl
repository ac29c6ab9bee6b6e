// Products of rows with the panels of a linear. The including file defines its vectors before, and C2T_PRODUCTS.
//
// The numbers of a row depend on no other row.

constexpr int64_t kPanelColumns = C2T_PANEL_COLUMNS;

// What is read next: fetched while a block is used, `every` so many steps of 256 bytes.
struct Ahead {
    const char* at;
    int64_t every;
    const char* next() {
        const char* const now = at;
        at += 256;
        return now;
    }
};

#include C2T_PRODUCTS

// The buffer that a linear reads: rows of float32 or of activations.
struct Inputs {
    Inputs(const c2t_linear* l, void* numbers, int64_t row_stride)
        : linear(l), buffer(numbers), stride(row_stride), inverse_scale(1.0f / l->input_scale) {}
    const c2t_linear* linear;
    void* buffer;
    int64_t stride;  // numbers of a row; the numbers behind K are zeros or of no effect
    float inverse_scale;

    template <class T> T* row(int64_t index) const { return static_cast<T*>(buffer) + index * stride; }

    // Write numbers [first, first + count) of a row, quantised where the linear is.
    void put(int64_t index, int64_t first, int64_t count, const float* from) const {
        const int64_t whole = count - count % kLanes;
        if (linear->type == C2T_F32) {
            std::memcpy(row<float>(index) + first, from, static_cast<size_t>(count) * sizeof(float));
            return;
        }
        Activation* const to = row<Activation>(index) + first;
        const Vector scale = broadcast(linear->input_scale), inverse = broadcast(inverse_scale);
        for (int64_t i = 0; i < whole; i += kLanes) store_quotient(to + i, load(from + i), scale, inverse);
        if (whole == count) return;
        float rest[kLanes] = {};
        Activation stored[16];
        std::memcpy(rest, from + whole, static_cast<size_t>(count - whole) * sizeof(float));
        store_quotient(stored, load(rest), scale, inverse);
        std::memcpy(to + whole, stored, static_cast<size_t>(count - whole) * sizeof(Activation));
    }
};

// Steps of 256 bytes of a panel: four inputs of a column in int8, one in float32.
inline int64_t steps_of(const c2t_linear& l) { return l.type == C2T_I8 ? (l.inputs + 3) / 4 : l.inputs; }

inline int64_t panel_count(const c2t_linear& l) { return (l.columns + kPanelColumns - 1) / kPanelColumns; }

inline const char* panel_of(const c2t_linear& l, int64_t panel) {
    return static_cast<const char*>(l.panels) + panel * steps_of(l) * 256;
}

// Steps of 256 bytes of a panel that are used for all rows before the next ones: 32 KB, about an L1 cache.
constexpr int64_t kBlockSteps = 128;

// Memory for the sums of rows with a panel, [rows][64]: of whole_tiles(rows) rows. One of the two is used.
struct PanelSums {
    int32_t* integers;
    float* floats;
};

template <int rows>
inline void multiply_rows(int64_t count, const Inputs& in, int64_t row, const char* block, int64_t begin, int64_t steps,
                          bool first, const PanelSums& sums, Ahead ahead) {
    if constexpr (rows > 0) {
        if (count < rows)
            return multiply_rows<rows - 1>(count, in, row, block, begin, steps, first, sums, ahead);
        const int64_t to = row * kPanelColumns;
        if (in.linear->type == C2T_I8) {
            multiply_int8<rows>(reinterpret_cast<const int8_t*>(block), in.row<Activation>(row) + 4 * begin, in.stride,
                                steps, first, sums.integers + to, ahead);
        } else {
            multiply_float<rows>(reinterpret_cast<const float*>(block), in.row<float>(row) + begin, in.stride, steps,
                                 first, sums.floats + to, ahead);
        }
    }
}

// f(row, values [64]) for the products of every row with a panel, the bias of its columns added where there is one. The
// memory of inputs must have whole_tiles(rows) rows, too. `following`: the panel that is read next.
template <class F>
inline void multiply_panel(const Inputs& in, int64_t rows, int64_t panel, const char* following, const float* bias,
                           const PanelSums& sums, const F& f) {
    const c2t_linear& l = *in.linear;
    const bool int8 = l.type == C2T_I8;
    const int64_t steps = steps_of(l), column = panel * kPanelColumns;
    const char* const begin = panel_of(l, panel);
    const int64_t groups = (rows + kRowsTogether - 1) / kRowsTogether;
    for (int64_t step = 0; step < steps; step += kBlockSteps) {
        const int64_t count = std::min(kBlockSteps, steps - step);
        const char* const block = begin + step * 256;
        const char* const next = step + count < steps ? block + count * 256 : following;
        int64_t done = 0;
#ifdef C2T_TILES
        if (int8 && rows >= kTilesFrom)
            done = multiply_tiles(reinterpret_cast<const int8_t*>(block), in.row<Activation>(0) + 4 * step, in.stride,
                                  rows, count, step == 0, sums.integers, next);
        if (done == count) continue;
#endif
        const bool first = step + done == 0;
        for (int64_t group = 0, row = 0; group < groups; ++group) {
            const int64_t end = rows * (group + 1) / groups;
            multiply_rows<kRowsTogether>(end - row, in, row, block + done * 256, step + done, count - done, first, sums,
                                         Ahead{next + group * (count / groups) * 256, groups});
            row = end;
        }
    }
    // What follows is done to a row while it is near.
    for (int64_t row = 0; row < rows; ++row) {
        alignas(64) float values[kPanelColumns];
        for (int64_t i = 0; i < kPanelColumns; i += kLanes) {
            const int64_t at = row * kPanelColumns + i;
            Vector v = int8 ? multiply(corrected(sums.integers + at, l.correction + column + i), load(l.scale + column + i))
                            : load(sums.floats + at);
            if (bias) v = add(v, load(bias + column + i));
            store(values + i, v);
        }
        f(row, values);
    }
}
