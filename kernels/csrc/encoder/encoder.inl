// The encoder on one of the threads that run it together. Each implementation includes this file in its anonymous
// namespace, after its vectors.
//
// Two decisions. A thread takes a tile of rows from attention to the layer's end: output linear, norm, MLP, norm. So a
// layer's activations stay in a core's cache. And attention goes through groups of heads, one behind the other, from their
// queries, keys and values to what the output linear reads: those of all heads would be the encoder's largest memory. The
// numbers of a row depend neither on its tile, nor on the groups, nor on the number of threads.

#include "../linears/panels.inl"
#include "../linears/exponential.inl"
#include "../linears/activations.inl"
#include "../linears/layer_norm.inl"
#include "../linears/finite.inl"
#include "rows.inl"

class EncoderThread {
public:
    EncoderThread(const EncoderJob& job, int32_t thread)
        : job_(job), e_(*job.encoder), a_(*job.args), team_(*job.team), s_(*job.shared), own_(*job.scratch[thread]),
          thread_(thread) {}

    void run() {
        tiles(a_.length, [&](int64_t cell, int64_t first, int64_t count) { enter(0, cell, first, count); });
        for (int64_t i = 0; i < e_.layer_count; ++i) {
            const int64_t rows = rows_of(e_.layers[i], a_.length);
            for (int64_t head = 0; head < e_.heads; head += job_.group_heads)
                attend(e_.layers[i], rows, head, std::min(job_.group_heads, e_.heads - head));
            tiles(rows, [&](int64_t cell, int64_t first, int64_t count) {
                finish(i, cell, first, count);
                if (i + 1 < e_.layer_count) enter(i + 1, cell, first, count);
            });
        }
        if (e_.projector) {
            const auto begin = std::chrono::steady_clock::now();
            tiles(rows_leaving(e_, a_.length), kProjectedRows,
                  [&](int64_t cell, int64_t first, int64_t count) { make_vectors(*e_.projector, cell, first, count); });
            const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
            if (thread_ == 0) job_.args->projector_seconds = passed.count();
        }
        const int64_t rows = rows_leaving(e_, a_.length);
        pieces(a_.batch, [&](int64_t cell) {
            if (!s_.broken[cell]) return;
            const auto spoil = [&](float* numbers, int64_t size) {
                std::fill_n(numbers + cell * rows * size, rows * size, std::numeric_limits<float>::quiet_NaN());
            };
            spoil(a_.hidden, e_.hidden_size);
            if (e_.projector) spoil(a_.vectors, e_.projector->vector_size);
        });
    }

private:
    // A phase: f(piece) for the pieces that this thread gets.
    template <class F> void pieces(int64_t count, const F& f) {
        team_.pieces(phase_++, count, f);
    }

    // f(cell, first row of it, count) for the tiles of the first `rows` rows of every cell.
    template <class F> void tiles(int64_t rows, const F& f) { tiles(rows, job_.tile_rows, f); }

    // Likewise for tiles of so many rows.
    template <class F> void tiles(int64_t rows, int64_t size, const F& f) {
        const int64_t each = (rows + size - 1) / size;
        pieces(a_.batch * each, [&](int64_t piece) {
#ifdef C2T_TILES
            const Tiles registers;  // attention has its own
#endif
            const int64_t first = piece % each * size;
            f(piece / each, first, std::min(size, rows - first));
        });
    }

    // Where a row of a cell comes into a layer.
    float* into(int64_t cell, int64_t row) const { return a_.embeddings + (cell * a_.length + row) * e_.hidden_size; }

    // Where a row of a cell leaves a layer.
    float* out_of(int64_t layer, int64_t cell, int64_t row) const {
        if (layer + 1 < e_.layer_count) return into(cell, row);
        return a_.hidden + (cell * rows_leaving(e_, a_.length) + row) * e_.hidden_size;
    }

    int64_t head_size() const { return e_.hidden_size / e_.heads; }

    // Numbers from a row's queries, keys and values of a group of heads to the next row's.
    int64_t qkv_row() const { return 3 * job_.group_heads * head_size(); }
    float* qkv(int64_t cell, int64_t row) const { return s_.qkv.get() + (cell * a_.length + row) * qkv_row(); }

    // What a linear of H reads, of the rows of a cell from `row` on.
    Inputs rows_in(const Numbers<float>& all, const c2t_biased_linear& l, int64_t cell, int64_t row) const {
        const Inputs in{&l.linear, all.get(), own_.stride};
        const int64_t index = cell * a_.length + row;
        return {&l.linear, l.linear.type == C2T_I8 ? static_cast<void*>(in.row<Activation>(index)) : in.row<float>(index),
                own_.stride};
    }

    // f(row, first column, count, values) for the products of `rows` rows with all panels, their bias added.
    template <class F> void panels(const c2t_biased_linear& l, const Inputs& in, int64_t rows, const F& f) const {
        panels(l, in, rows, 0, l.linear.columns, f);
    }

    // Likewise for the columns [begin, end); only these are given to f, where a panel has others too.
    template <class F>
    void panels(const c2t_biased_linear& l, const Inputs& in, int64_t rows, int64_t begin, int64_t end, const F& f) const {
        const int64_t count = panel_count(l.linear);
        for (int64_t panel = begin / kPanelColumns; panel * kPanelColumns < end; ++panel) {
            const char* const following = panel_of(l.linear, std::min(panel + 1, count - 1));
            const int64_t first = panel * kPanelColumns, from = std::max(begin, first);
            const int64_t columns = std::min(first + kPanelColumns, end) - from;
            multiply_panel(in, rows, panel, following, l.bias, {own_.sums.get(), own_.values.get()},
                           [&](int64_t row, float* values) { f(row, from, columns, values + from - first); });
        }
    }

    // Whether all heads go through attention together. Then a tile's queries, keys and values are made as soon as its rows
    // are there, and what linears read is not kept.
    bool together() const { return job_.group_heads == e_.heads; }

    // Where the inputs of a linear of H lie, of the rows of a cell from `row` on.
    Inputs entered(const Numbers<float>& all, const c2t_biased_linear& l, int64_t cell, int64_t row) const {
        return together() ? Inputs{&l.linear, own_.narrow.get(), own_.stride} : rows_in(all, l, cell, row);
    }

    // A tile comes into a layer.
    void enter(int64_t layer, int64_t cell, int64_t first, int64_t count) const {
        const c2t_encoder_layer& l = e_.layers[layer];
        const Inputs in = entered(s_.inputs, l.qkv, cell, first);
        for (int64_t row = 0; row < count; ++row) {
            const float* const from = into(cell, first + row);
            // Quantised, what is not finite would look like a number; and not every row leaves the last layer.
            if (!is_finite(from, e_.hidden_size)) s_.broken[cell] = true;
            in.put(row, 0, e_.hidden_size, from);
        }
        if (together()) project(l, 0, e_.heads, cell, first, count);
        if (!l.query.linear.panels) return;
        const Inputs of_queries = entered(s_.query_inputs, l.query, cell, first);
        for (int64_t row = 0; row < std::min(count, rows_of(l, a_.length) - first); ++row)
            of_queries.put(row, 0, e_.hidden_size, into(cell, first + row));
        if (together()) project_queries(l, 0, e_.heads, cell, first, count);
    }

    // Columns [begin, end) of a linear, for the rows of a tile; to column `to` of their queries, keys and values.
    void to_heads(const c2t_biased_linear& l, const Numbers<float>& inputs, int64_t begin, int64_t end, int64_t cell,
                  int64_t first, int64_t rows, int64_t to) const {
        panels(l, entered(inputs, l, cell, first), rows, begin, end,
               [&](int64_t row, int64_t column, int64_t some, const float* values) {
                   float* const of_row = qkv(cell, first + row) + to + column - begin;
                   std::memcpy(of_row, values, static_cast<size_t>(some) * sizeof(float));
               });
    }

    // Keys and values of some heads, of a tile; and queries, where they have no linear of their own.
    void project(const c2t_encoder_layer& l, int64_t head, int64_t heads, int64_t cell, int64_t first,
                 int64_t count) const {
        const int64_t group = qkv_row() / 3, parts = l.query.linear.panels ? 2 : 3;
        if (together()) return to_heads(l.qkv, s_.inputs, 0, parts * group, cell, first, count, (3 - parts) * group);
        for (int64_t part = 0; part < parts; ++part) {
            const int64_t begin = part * e_.hidden_size + head * head_size(), end = begin + heads * head_size();
            to_heads(l.qkv, s_.inputs, begin, end, cell, first, count, (3 - parts + part) * group);
        }
    }

    // Queries of some heads that have a linear of their own, of the rows of a tile that leave the layer.
    void project_queries(const c2t_encoder_layer& l, int64_t head, int64_t heads, int64_t cell, int64_t first,
                         int64_t count) const {
        const int64_t rows = std::min(count, rows_of(l, a_.length) - first);
        const int64_t begin = head * head_size(), end = begin + heads * head_size();
        if (rows > 0) to_heads(l.query, s_.query_inputs, begin, end, cell, first, rows, 0);
    }

    // Attention of some heads of the first `rows` rows of every cell.
    void attend(const c2t_encoder_layer& l, int64_t rows, int64_t head, int64_t heads) {
        const int64_t size = head_size(), group = qkv_row() / 3, row = qkv_row();
        float* const all = s_.qkv.get();
        const c2t_attention_args args{all, all + group, all + 2 * group, nullptr, all, a_.batch, rows, a_.length, heads,
                                      size, row, row * a_.length, row, row * a_.length, e_.scale};
        const AttentionKernel& kernel = *job_.attention;
        const int64_t each = (rows + kernel.query_tile - 1) / kernel.query_tile;
        const auto memory = [&](int64_t index) { return s_.heads.get() + index * job_.head_bytes; };
        if (!together())
            tiles(a_.length, [&](int64_t cell, int64_t first, int64_t count) {
                project(l, head, heads, cell, first, count);
                if (l.query.linear.panels) project_queries(l, head, heads, cell, first, count);
            });
        pieces(a_.batch * heads, [&](int64_t index) { kernel.pack(args, index / heads, index % heads, memory(index)); });
        pieces(a_.batch * heads * each, [&](int64_t piece) {
            const int64_t index = piece / each, first = piece % each * kernel.query_tile;
            const int64_t cell = index / heads, of_group = index % heads;
            kernel.attend(args, cell, of_group, first, memory(index));  // in place of the queries
            if (together()) return;
            const Inputs context = rows_in(s_.context, l.output, cell, first);
            for (int64_t i = 0; i < std::min(kernel.query_tile, rows - first); ++i) {
                const float* const attended = qkv(cell, first + i) + of_group * size;
                if (!is_finite(attended, size)) s_.broken[cell] = true;
                context.put(i, (head + of_group) * size, size, attended);
            }
        });
    }

    // A tile from attention to the layer's end.
    void finish(int64_t layer, int64_t cell, int64_t first, int64_t count) const {
        const c2t_encoder_layer& l = e_.layers[layer];
        const int64_t size = e_.hidden_size;
        float* const sums = own_.rows.get();
        const Inputs up{&l.up.linear, own_.narrow.get(), own_.stride};
        const Inputs down{&l.down.linear, own_.wide.get(), own_.wide_stride};
        bool finite = true;
        const Inputs context = entered(s_.context, l.output, cell, first);
        for (int64_t row = 0; together() && row < count; ++row) {
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

    // Cell vectors of up to kProjectedRows rows that left the last layer.
    void make_vectors(const c2t_projector& p, int64_t cell, int64_t first, int64_t count) const {
        const int64_t wide = p.intermediate_size, size = p.vector_size;
        const int64_t at = cell * rows_leaving(e_, a_.length) + first;
        const Inputs up{&p.up.linear, own_.narrow.get(), own_.stride};
        const Inputs down{&p.down.linear, own_.projected_inputs.get(), own_.projected_stride};
        float* const vectors = a_.vectors + at * size;
        const auto wide_row = [&](int64_t row) { return own_.projected.get() + row * own_.projected_stride; };
        bool finite = true;
        // A norm tells only whether what it reads is finite. What it gives would look like numbers, once quantised.
        for (int64_t row = 0; row < count; ++row) {
            const float* const hidden = a_.hidden + (at + row) * e_.hidden_size;
            finite &= is_finite(hidden, e_.hidden_size);
            up.put(row, 0, e_.hidden_size, hidden);
        }
        panels(p.up, up, count, [&](int64_t row, int64_t column, int64_t columns, const float* values) {
            std::memcpy(wide_row(row) + column, values, static_cast<size_t>(columns) * sizeof(float));
        });
        for (int64_t row = 0; row < count; ++row) {
            float* const numbers = wide_row(row);
            finite &= layer_norm(numbers, p.up_norm, p.up_norm_bias, wide, p.up_epsilon, numbers);
            activate(Gelu{}, numbers, whole_panels(wide));
            finite &= is_finite(numbers, wide);
            down.put(row, 0, wide, numbers);
        }
        panels(p.down, down, count, [&](int64_t row, int64_t column, int64_t columns, const float* values) {
            std::memcpy(vectors + row * size + column, values, static_cast<size_t>(columns) * sizeof(float));
        });
        for (int64_t row = 0; row < count; ++row) {
            float* const vector = vectors + row * size;
            finite &= layer_norm(vector, p.down_norm, p.down_norm_bias, size, p.down_epsilon, vector);
            finite &= is_finite(vector, size);
        }
        if (!finite) s_.broken[cell] = true;
    }

    const EncoderJob& job_;
    const c2t_encoder& e_;
    const c2t_encoder_args& a_;
    Team& team_;
    EncoderActivations& s_;
    EncoderScratch& own_;
    const int32_t thread_;
    int64_t phase_ = 0;
};
