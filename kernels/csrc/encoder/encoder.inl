// The encoder on one of the threads that run it together. Each implementation includes this file in its anonymous
// namespace, after its vectors.
//
// One decision: a thread takes a tile of rows through all that lies between two attentions: output linear, norm, MLP,
// norm, and the next layer's queries, keys and values. So a layer's activations stay in a core's cache, and threads meet
// three times a layer. The numbers of a row depend neither on its tile nor on the number of threads.

#include "../linears/panels.inl"
#include "../linears/exponential.inl"
#include "../linears/activations.inl"
#include "../linears/layer_norm.inl"
#include "../linears/finite.inl"
#include "rows.inl"

class EncoderThread {
public:
    EncoderThread(const EncoderJob& job, int32_t thread)
        : job_(job), e_(*job.encoder), a_(*job.args), team_(*job.team), s_(*job.shared), own_(*job.scratch[thread]) {}

    void run() {
        tiles(a_.length, [&](int64_t cell, int64_t first, int64_t count) { project(0, cell, first, count); });
        for (int64_t i = 0; i < e_.layer_count; ++i) {
            const int64_t rows = rows_of(e_.layers[i], a_.length);
            attend(rows);
            tiles(rows, [&](int64_t cell, int64_t first, int64_t count) {
                finish(i, cell, first, count);
                if (i + 1 < e_.layer_count) project(i + 1, cell, first, count);
            });
        }
        const int64_t numbers = rows_of(last(), a_.length) * e_.hidden_size;
        pieces(a_.batch, [&](int64_t cell) {
            if (s_.broken[cell])
                std::fill_n(a_.hidden + cell * numbers, numbers, std::numeric_limits<float>::quiet_NaN());
        });
    }

private:
    // A phase: f(piece) for the pieces that this thread gets.
    template <class F> void pieces(int64_t count, const F& f) {
        team_.pieces(phase_++, count, f);
    }

    // f(cell, first row of it, count) for the tiles of the first `rows` rows of every cell.
    template <class F> void tiles(int64_t rows, const F& f) {
        const int64_t size = job_.tile_rows, each = (rows + size - 1) / size;
        pieces(a_.batch * each, [&](int64_t piece) {
#ifdef C2T_TILES
            const Tiles registers;  // attention has its own
#endif
            const int64_t first = piece % each * size;
            f(piece / each, first, std::min(size, rows - first));
        });
    }

    const c2t_encoder_layer& last() const { return e_.layers[e_.layer_count - 1]; }

    // Where a row of a cell comes into a layer.
    float* into(int64_t cell, int64_t row) const { return a_.embeddings + (cell * a_.length + row) * e_.hidden_size; }

    // Where a row of a cell leaves a layer.
    float* out_of(int64_t layer, int64_t cell, int64_t row) const {
        if (layer + 1 < e_.layer_count) return into(cell, row);
        return a_.hidden + (cell * rows_of(last(), a_.length) + row) * e_.hidden_size;
    }

    float* qkv(int64_t cell, int64_t row) const { return s_.qkv.get() + (cell * a_.length + row) * 3 * e_.hidden_size; }

    // f(row, first column, count, values) for the products of `rows` rows with all panels, their bias added.
    template <class F> void panels(const c2t_biased_linear& l, const Inputs& in, int64_t rows, const F& f) const {
        const int64_t count = panel_count(l.linear);
        float* const values = own_.values.get();
        for (int64_t panel = 0; panel < count; ++panel) {
            multiply_panel(in, rows, panel, panel_of(l.linear, std::min(panel + 1, count - 1)), own_.sums.get(), values);
            const int64_t first = panel * kPanelColumns, columns = std::min(kPanelColumns, l.linear.columns - first);
            for (int64_t row = 0; row < rows; ++row) {
                float* const of_row = values + row * kPanelColumns;
                for (int64_t i = 0; i < kPanelColumns; i += kLanes)
                    store(of_row + i, add(load(of_row + i), load(l.bias + first + i)));
                f(row, first, columns, of_row);
            }
        }
    }

    Inputs narrow(const c2t_biased_linear& l) const { return {&l.linear, own_.narrow.get(), own_.stride}; }

    // Queries, keys and values of a tile.
    void project(int64_t layer, int64_t cell, int64_t first, int64_t count) const {
        const c2t_encoder_layer& l = e_.layers[layer];
        const auto to_columns = [&](const c2t_biased_linear& linear, int64_t begin, int64_t rows) {
            const Inputs in = narrow(linear);
            for (int64_t row = 0; row < rows; ++row) {
                const float* const from = into(cell, first + row);
                // Quantised, what is not finite would look like a number; and not every row leaves the last layer.
                if (!is_finite(from, e_.hidden_size)) s_.broken[cell] = true;
                in.put(row, 0, e_.hidden_size, from);
            }
            panels(linear, in, rows, [&](int64_t row, int64_t column, int64_t columns, const float* values) {
                std::memcpy(qkv(cell, first + row) + begin + column, values, static_cast<size_t>(columns) * sizeof(float));
            });
        };
        to_columns(l.qkv, l.query.linear.panels ? e_.hidden_size : 0, count);
        if (l.query.linear.panels)
            to_columns(l.query, 0, std::clamp<int64_t>(rows_of(l, a_.length) - first, 0, count));
    }

    // Attention of the first `rows` rows of every cell, in place of their queries.
    void attend(int64_t rows) {
        const int64_t size = e_.hidden_size;
        float* const all = s_.qkv.get();
        const c2t_attention_args args{all, all + size, all + 2 * size, nullptr, all, a_.batch, rows, a_.length, e_.heads,
                                      size / e_.heads, 3 * size, 3 * size * a_.length, 3 * size, 3 * size * a_.length,
                                      e_.scale};
        const AttentionKernel& kernel = *job_.attention;
        const int64_t heads = a_.batch * e_.heads, each = (rows + kernel.query_tile - 1) / kernel.query_tile;
        const auto memory = [&](int64_t head) { return s_.heads.get() + head * job_.head_bytes; };
        pieces(heads, [&](int64_t head) { kernel.pack(args, head / e_.heads, head % e_.heads, memory(head)); });
        pieces(heads * each, [&](int64_t piece) {
            const int64_t head = piece / each, first = piece % each * kernel.query_tile;
            kernel.attend(args, head / e_.heads, head % e_.heads, first, memory(head));
        });
    }

    // A tile from attention to the layer's end.
    void finish(int64_t layer, int64_t cell, int64_t first, int64_t count) const {
        const c2t_encoder_layer& l = e_.layers[layer];
        const int64_t size = e_.hidden_size;
        float* const sums = own_.rows.get();
        const Inputs context = narrow(l.output), up = narrow(l.up);
        const Inputs down{&l.down.linear, own_.wide.get(), own_.wide_stride};
        bool finite = true;
        for (int64_t row = 0; row < count; ++row) {
            finite &= is_finite(qkv(cell, first + row), size);
            context.put(row, 0, size, qkv(cell, first + row));
        }
        panels(l.output, context, count, [&](int64_t row, int64_t column, int64_t columns, const float* values) {
            add_rows(values, into(cell, first + row) + column, columns, sums + row * size + column);
        });
        for (int64_t row = 0; row < count; ++row) {
            float* const normalised = sums + row * size;
            finite &= layer_norm(normalised, l.attention_norm, l.attention_norm_bias, size, e_.epsilon, normalised);
            up.put(row, 0, size, normalised);
        }
        panels(l.up, up, count, [&](int64_t row, int64_t column, int64_t columns, float* values) {
            with_activation(e_.activation, [&](auto activation) { activate(activation, values, kPanelColumns); });
            down.put(row, column, columns, values);
        });
        panels(l.down, down, count, [&](int64_t row, int64_t column, int64_t columns, const float* values) {
            add_rows(values, sums + row * size + column, columns, sums + row * size + column);
        });
        for (int64_t row = 0; row < count; ++row)
            finite &= layer_norm(sums + row * size, l.mlp_norm, l.mlp_norm_bias, size, e_.epsilon,
                                out_of(layer, cell, first + row));
        if (!finite) s_.broken[cell] = true;
    }

    const EncoderJob& job_;
    const c2t_encoder& e_;
    const c2t_encoder_args& a_;
    Team& team_;
    EncoderActivations& s_;
    EncoderScratch& own_;
    int64_t phase_ = 0;
};
