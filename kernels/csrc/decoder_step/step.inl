// A step of the decoder on one of the threads that run it together. Each implementation includes this file in its
// anonymous namespace, after its vectors.
//
// One decision: a phase is cut into pieces (rows, panels, heads of a row) whose numbers depend on nothing that other
// threads do in it. So neither the number of threads nor the other rows change a bit.

#include "../linears/panels.inl"
#include "../linears/exponential.inl"
#include "../linears/activations.inl"
#include "../linears/layer_norm.inl"
#include "../linears/finite.inl"
#include "rows.inl"
#include "attention.inl"

class StepThread {
public:
    StepThread(const StepJob& job, int32_t thread)
        : d_(*job.decoder), a_(*job.args), team_(*job.team), s_(*job.shared), own_(*job.scratch[thread]) {}

    void run() {
        const Vector scale = broadcast(d_.embedding_scale);
        pieces(a_.rows, [&](int64_t row) {
            copy(a_.embeds + row * d_.hidden_size, x(row));
            for (int64_t i = 0; i < s_.x_stride; i += kLanes) store(x(row) + i, multiply(load(x(row) + i), scale));
        });
        for (int64_t i = 0; i < d_.layer_count; ++i) layer(d_.layers[i], i);
        const Inputs hidden = hidden_of(d_.lm_head);
        pieces(a_.logit_count, [&](int64_t row) {
            const float* const from = d_.layer_count ? wanted(row) : x(a_.logit_rows[row]);
            s_.finite.get()[row] = normalised(from, d_.norm, hidden, row);
        });
        panels(hidden, nullptr, a_.logit_count, (d_.vocabulary_size + kPanelColumns - 1) / kPanelColumns,
               [&](int64_t panel, int64_t row, float* values) { write_logits(panel, row, values); });
    }

private:
    void layer(const c2t_step_layer& l, int64_t index) {
        const int64_t hidden_panels = s_.x_stride / kPanelColumns, all = a_.rows;
        // Behind the last attention only rows go on whose logits are wanted.
        const bool last = index + 1 == d_.layer_count;
        const int64_t going_on = last ? a_.logit_count : all;
        const auto row_of = [&](int64_t i) { return last ? a_.logit_rows[i] : i; };
        const auto residual = [&](int64_t i) { return last ? wanted(i) : x(i); };
        const Inputs attention_in = hidden_of(l.qkv.linear), mlp_in = hidden_of(l.gate_up.linear);
        const Inputs context{&l.output.linear, s_.context.get(), s_.context_stride};
        const Inputs gate{&l.down.linear, s_.gated.get(), s_.gated_stride};
        const auto add_to_row = [&](int64_t panel, int64_t i, const float* values) {
            add_to(residual(i) + panel * kPanelColumns, values);
        };
        const auto keep = [&](int64_t panel, int64_t i, const float* values) {
            keep_panel(values, branch(i) + panel * kPanelColumns);
        };
        const auto normalise_for_mlp = [&](int64_t i) { normalised(residual(i), l.mlp_norm, mlp_in, i); };
        pieces(all, [&](int64_t row) { normalised(x(row), l.attention_norm, attention_in, row); });
        panels(attention_in, l.qkv.bias, all, s_.qkv_stride / kPanelColumns,
               [&](int64_t panel, int64_t row, const float* values) {
                   keep_panel(values, qkv(row) + panel * kPanelColumns);
               });
        pieces(all, [&](int64_t row) { rotate_and_keep(l, row, index); });
        if (last) pieces(going_on, [&](int64_t i) { copy(x(row_of(i)), wanted(i)); });
        const int64_t groups = (going_on + rows_together() - 1) / rows_together();
        pieces(d_.kv_heads * groups, [&](int64_t piece) {
            const int64_t begin = piece % groups * rows_together(), end = std::min(going_on, begin + rows_together());
            for (int64_t from = begin, to = from; from < end; from = to) {
                while (to < end && a_.batch_rows[row_of(to)] == a_.batch_rows[row_of(from)]) ++to;
                attend_rows(l, from, to, row_of, residual, piece / groups, index, context);
            }
        });
        if (d_.parallel) {
            pieces(going_on, normalise_for_mlp);
            panels(context, l.output.bias, going_on, hidden_panels, keep);
        } else if (l.after_attention) {
            panels(context, l.output.bias, going_on, hidden_panels, keep);
            pieces(going_on, [&](int64_t i) {
                add_normalised(branch(i), l.after_attention, residual(i));
                normalise_for_mlp(i);
            });
        } else {
            panels(context, l.output.bias, going_on, hidden_panels, add_to_row);
            pieces(going_on, normalise_for_mlp);
        }
        widen(l, mlp_in, gate, going_on);
        if (d_.parallel) {
            panels(gate, l.down.bias, going_on, hidden_panels, [&](int64_t panel, int64_t i, float* values) {
                add_to(values, branch(i) + panel * kPanelColumns);
                add_to_row(panel, i, values);
            });
        } else if (l.after_mlp) {
            panels(gate, l.down.bias, going_on, hidden_panels, keep);
            pieces(going_on, [&](int64_t i) { add_normalised(branch(i), l.after_mlp, residual(i)); });
        } else {
            panels(gate, l.down.bias, going_on, hidden_panels, add_to_row);
        }
    }

    // An MLP up to what its last linear reads.
    void widen(const c2t_step_layer& l, const Inputs& from, const Inputs& to, int64_t rows) {
        const int64_t columns = d_.gated ? kPanelColumns / 2 : kPanelColumns;
        const int64_t count = (d_.intermediate_size + columns - 1) / columns;
        panels(from, l.gate_up.bias, rows, count, [&](int64_t panel, int64_t row, float* values) {
            const int64_t first = panel * columns, width = std::min(columns, d_.intermediate_size - first);
            with_activation(d_.activation, [&](auto activation) { activate(activation, values, columns); });
            if (d_.gated) multiply_by(values, values + columns, columns);
            to.put(row, first, width, values);
        });
    }

    // A phase: f(piece) for the pieces that this thread gets.
    template <class F> void pieces(int64_t count, const F& f) { team_.pieces(phase_++, count, f); }

    // f(panel, row, values [64]) for the panels of a linear and every row, the bias added where there is one.
    template <class F> void panels(const Inputs& in, const float* bias, int64_t rows, int64_t count, const F& f) {
        team_.pieces_ahead(phase_++, count, [&](int64_t panel, int64_t next) {
            const char* const following = panel_of(*in.linear, std::min(next, count - 1));
            multiply_panel(in, rows, panel, following, bias, {own_.sums.get(), own_.values.get()},
                           [&](int64_t row, float* values) { f(panel, row, values); });
        });
    }

    float* x(int64_t row) const { return s_.x.get() + row * s_.x_stride; }
    // The residual stream behind the last attention, of a row whose logits are wanted.
    float* wanted(int64_t i) const { return s_.wanted.get() + i * s_.x_stride; }
    float* branch(int64_t i) const { return s_.branch.get() + i * s_.branch_stride; }
    float* qkv(int64_t row) const { return s_.qkv.get() + row * s_.qkv_stride; }
    Inputs hidden_of(const c2t_linear& l) const { return {&l, s_.hidden.get(), s_.hidden_stride}; }

    // Write a normalised row; returns whether its numbers are finite.
    bool normalised(const float* from, const c2t_step_norm& norm, const Inputs& to, int64_t row) const {
        float* const out = own_.row.get();
        const bool finite = norm.bias ? layer_norm(from, norm.weight, norm.bias, d_.hidden_size, d_.epsilon, out)
                                      : std::isfinite(rms_norm(from, norm.weight, d_.hidden_size, d_.epsilon, out));
        to.put(row, 0, d_.hidden_size, out);
        return finite;
    }

    void add_normalised(const float* from, const float* weight, float* to) const {
        rms_norm(from, weight, d_.hidden_size, d_.epsilon, own_.row.get());
        for (int64_t i = 0; i < s_.x_stride; i += kPanelColumns) add_to(to + i, own_.row.get() + i);
    }

    // Keys [0] or values [1] of a row's KV head: [C, head_size].
    float* cached(int64_t layer, int64_t part, int64_t row, int64_t kv_head) const {
        const int64_t place = ((2 * layer + part) * a_.batch + a_.batch_rows[row]) * d_.kv_heads + kv_head;
        return a_.cache + place * a_.capacity * d_.head_size;
    }

    // Likewise as attention reads them.
    Cached seen(int64_t layer, int64_t part, int64_t row, int64_t kv_head) const {
        const int64_t size = d_.head_size, place = (2 * layer + part) * d_.kv_heads + kv_head;
        const float* const own = cached(layer, part, row, kv_head);
        if (!a_.prefix) return {nullptr, own, 0, size};
        return {a_.prefix + place * a_.prefix_length * size, own, a_.shared[a_.batch_rows[row]], size};
    }

    // A head's numbers as attention reads them: normalised where there is a norm, the first of them rotated.
    void turn(const float* from, const float* norm, int64_t position, float* to) const {
        const int64_t size = d_.head_size, rotated = d_.rotated, half = rotated / 2;
        if (norm) {
            rms_norm(from, norm, size, d_.epsilon, own_.head.get());
            from = own_.head.get();
        }
        rotate(from, d_.cosines + position * half, d_.sines + position * half, half, to);
        if (rotated < size) std::memcpy(to + rotated, from + rotated, static_cast<size_t>(size - rotated) * sizeof(float));
    }

    void rotate_and_keep(const c2t_step_layer& l, int64_t row, int64_t layer) const {
        const int64_t size = d_.head_size, place = a_.cache_index[row] * size, position = a_.positions[row];
        float* const queries = qkv(row);
        float* const turned = own_.queries.get();
        for (int64_t head = 0; head < d_.heads; ++head) {
            turn(queries + head * size, l.q_norm, position, turned);
            for (int64_t i = 0; i < size; ++i) queries[head * size + i] = turned[i] * d_.scale;
        }
        const float* const keys = queries + d_.heads * size;
        const float* const values = keys + d_.kv_heads * size;
        // Quantised, a row that is not finite gave finite values: the rows behind it, of later steps too, must see it.
        const bool finite = is_finite(x(row), d_.hidden_size);
        for (int64_t head = 0; head < d_.kv_heads; ++head) {
            turn(keys + head * size, l.k_norm, position, cached(layer, 0, row, head) + place);
            float* const kept = cached(layer, 1, row, head) + place;
            if (finite) {
                std::memcpy(kept, values + head * size, static_cast<size_t>(size) * sizeof(float));
            } else {
                std::fill(kept, kept + size, std::numeric_limits<float>::quiet_NaN());
            }
        }
    }

    int64_t heads_of_kv_head() const { return d_.heads / d_.kv_heads; }

    // Rows whose queries of a KV head lie in a vector's lanes.
    int64_t rows_together() const { return std::max<int64_t>(1, kLanes / heads_of_kv_head()); }

    // The attention of rows [from, to) of a batch row, written as these rows of `out`. Where it is not finite, neither is
    // the residual stream afterwards: quantised, it would look like a number.
    template <class F, class G>
    void attend_rows(const c2t_step_layer& l, int64_t from, int64_t to, const F& row_of, const G& residual,
                     int64_t kv_head, int64_t layer, const Inputs& out) const {
        const int64_t size = d_.head_size, heads = heads_of_kv_head();
        const Cached keys = seen(layer, 0, row_of(from), kv_head), values = seen(layer, 1, row_of(from), kv_head);
        const AttentionMemory memory{own_.queries.get(), own_.scores.get()};
        float* const attended = own_.attended.get();
        // A row with more heads than lanes comes alone, some heads after the other.
        const int64_t together = std::min(heads, kLanes);
        for (int64_t head = kv_head * heads; head < (kv_head + 1) * heads; head += together) {
            const int64_t some = std::min(together, (kv_head + 1) * heads - head);
            Queries queries;
            for (int64_t i = from; i < to; ++i) {
                const int64_t row = row_of(i), end = a_.cache_index[row] + 1;
                const int64_t first = l.window ? std::max<int64_t>(0, end - l.window) : 0;
                for (int64_t h = head; h < head + some; ++h) queries.add(qkv(row) + h * size, first, end);
            }
            attend(queries, keys, values, d_.attention_cap, memory, attended);
            for (int64_t i = from; i < to; ++i) {
                const float* const of_row = attended + (i - from) * some * size;
                out.put(i, head * size, some * size, of_row);
                // One number spoils a row. Other threads, with other KV heads of it, write another one.
                if (!is_finite(of_row, some * size))
                    residual(i)[kv_head % d_.hidden_size] = std::numeric_limits<float>::quiet_NaN();
            }
        }
    }

    void copy(const float* from, float* to) const {
        std::memcpy(to, from, static_cast<size_t>(d_.hidden_size) * sizeof(float));
    }

    static void add_to(float* to, const float* values) {
        for (int64_t i = 0; i < kPanelColumns; i += kLanes) store(to + i, add(load(to + i), load(values + i)));
    }

    static void keep_panel(const float* values, float* to) {
        std::memcpy(to, values, kPanelColumns * sizeof(float));
    }

    static void multiply_by(float* to, const float* factors, int64_t n) {
        for (int64_t i = 0; i < n; i += kLanes) store(to + i, multiply(load(to + i), load(factors + i)));
    }

    void write_logits(int64_t panel, int64_t row, float* values) const {
        const int64_t first = panel * kPanelColumns, count = std::min(kPanelColumns, d_.vocabulary_size - first);
        float* const to = a_.logits + row * d_.vocabulary_size + first;
        if (d_.logit_cap != 0.0f) soft_cap(values, kPanelColumns, d_.logit_cap);
        // Quantised, what is not finite would look like a number.
        if (s_.finite.get()[row]) {
            std::memcpy(to, values, static_cast<size_t>(count) * sizeof(float));
        } else {
            std::fill(to, to + count, std::numeric_limits<float>::quiet_NaN());
        }
    }

    const c2t_step_decoder& d_;
    const c2t_step_args& a_;
    Team& team_;
    StepActivations& s_;
    StepScratch& own_;
    int64_t phase_ = 0;
};
