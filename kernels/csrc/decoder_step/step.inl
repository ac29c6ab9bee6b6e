// A step of the decoder on one of the threads that run it together. Each implementation includes this file in its
// anonymous namespace, after its vectors.
//
// One decision: a phase is cut into pieces (rows, panels, heads of a row) whose numbers depend on nothing that other
// threads do in it. So neither the number of threads nor the other rows change a bit.

#include "../linears/panels.inl"
#include "../linears/exponential.inl"
#include "rows.inl"
#include "attention.inl"

class StepThread {
public:
    StepThread(const StepJob& job, int32_t thread)
        : d_(*job.decoder), a_(*job.args), team_(*job.team), s_(*job.shared), own_(*job.scratch[thread]) {}

    void run() {
        pieces(a_.rows, [&](int64_t row) {
            copy(a_.embeds + row * d_.hidden_size, x(row));
        });
        for (int64_t i = 0; i < d_.layer_count; ++i) layer(d_.layers[i], i);
        const Inputs hidden = hidden_of(d_.lm_head);
        pieces(a_.logit_count, [&](int64_t row) {
            const float* const from = d_.layer_count ? wanted(row) : x(a_.logit_rows[row]);
            const float mean = normalised(from, d_.norm, hidden, row);
            s_.finite.get()[row] = std::isfinite(mean);
        });
        panels(hidden, a_.logit_count, (d_.vocabulary_size + kPanelColumns - 1) / kPanelColumns,
               [&](int64_t panel, const float* values) { write_logits(panel, values); });
    }

private:
    void layer(const c2t_step_layer& l, int64_t index) {
        const int64_t hidden_panels = s_.x_stride / kPanelColumns, all = a_.rows;
        // Behind the last attention only rows go on whose logits are wanted.
        const bool last = index + 1 == d_.layer_count;
        const int64_t going_on = last ? a_.logit_count : all;
        const auto row_of = [&](int64_t i) { return last ? a_.logit_rows[i] : i; };
        const auto residual = [&](int64_t i) { return last ? wanted(i) : x(i); };
        const Inputs attention_in = hidden_of(l.qkv), mlp_in = hidden_of(l.gate_up);
        const Inputs context{&l.output, s_.context.get(), s_.context_stride};
        const Inputs gate{&l.down, s_.gated.get(), s_.gated_stride};
        const auto add_to_rows = [&](int64_t panel, const float* values) {
            for (int64_t i = 0; i < going_on; ++i) add_to(residual(i) + panel * kPanelColumns, values + i * kPanelColumns);
        };
        pieces(all, [&](int64_t row) { normalised(x(row), l.attention_norm, attention_in, row); });
        panels(attention_in, all, s_.qkv_stride / kPanelColumns, [&](int64_t panel, const float* values) {
            for (int64_t row = 0; row < all; ++row)
                std::memcpy(qkv(row) + panel * kPanelColumns, values + row * kPanelColumns, kPanelColumns * sizeof(float));
        });
        pieces(all, [&](int64_t row) { rotate_and_keep(row, index); });
        if (last) pieces(going_on, [&](int64_t i) { copy(x(row_of(i)), wanted(i)); });
        pieces(d_.kv_heads * going_on, [&](int64_t piece) {
            const int64_t i = piece % going_on;
            attend_row(row_of(i), piece / going_on, index, context, i);
        });
        panels(context, going_on, hidden_panels, add_to_rows);
        pieces(going_on, [&](int64_t i) { normalised(residual(i), l.mlp_norm, mlp_in, i); });
        constexpr int64_t half = kPanelColumns / 2;
        panels(mlp_in, going_on, (d_.intermediate_size + half - 1) / half, [&](int64_t panel, const float* values) {
            const int64_t count = std::min(half, d_.intermediate_size - panel * half);
            float products[half];
            for (int64_t row = 0; row < going_on; ++row) {
                gated(values + row * kPanelColumns, values + row * kPanelColumns + half, products);
                gate.put(row, panel * half, count, products);
            }
        });
        panels(gate, going_on, hidden_panels, add_to_rows);
    }

    // A phase: f(piece) for the pieces that this thread gets.
    template <class F> void pieces(int64_t count, const F& f) { team_.pieces(phase_++, count, f); }

    // f(panel, values [rows][64]) for the panels of a linear.
    template <class F> void panels(const Inputs& in, int64_t rows, int64_t count, const F& f) {
        team_.pieces_ahead(phase_++, count, [&](int64_t panel, int64_t next) {
            const char* const following = panel_of(*in.linear, std::min(next, count - 1));
            multiply_panel(in, rows, panel, following, own_.sums.get(), own_.values.get());
            f(panel, own_.values.get());
        });
    }

    float* x(int64_t row) const { return s_.x.get() + row * s_.x_stride; }
    // The residual stream behind the last attention, of a row whose logits are wanted.
    float* wanted(int64_t i) const { return s_.wanted.get() + i * s_.x_stride; }
    float* qkv(int64_t row) const { return s_.qkv.get() + row * s_.qkv_stride; }
    Inputs hidden_of(const c2t_linear& l) const { return {&l, s_.hidden.get(), s_.x_stride}; }

    float normalised(const float* from, const float* weight, const Inputs& to, int64_t row) const {
        const float mean = normalise(from, weight, d_.hidden_size, d_.epsilon, own_.row.get());
        to.put(row, 0, d_.hidden_size, own_.row.get());
        return mean;
    }

    // Keys [0] or values [1] of a row's KV head: [C, head_size].
    float* cached(int64_t layer, int64_t part, int64_t row, int64_t kv_head) const {
        const int64_t place = ((2 * layer + part) * a_.batch + a_.batch_rows[row]) * d_.kv_heads + kv_head;
        return a_.cache + place * a_.capacity * d_.head_size;
    }

    void rotate_and_keep(int64_t row, int64_t layer) const {
        const int64_t size = d_.head_size, half = size / 2, place = a_.cache_index[row] * size;
        const float* const cosines = d_.cosines + a_.positions[row] * half;
        const float* const sines = d_.sines + a_.positions[row] * half;
        float* const queries = qkv(row);
        float* const turned = own_.attended.get();
        for (int64_t head = 0; head < d_.heads; ++head) {
            rotate(queries + head * size, cosines, sines, half, turned);
            for (int64_t i = 0; i < size; ++i) queries[head * size + i] = turned[i] * d_.scale;
        }
        const float* const keys = queries + d_.heads * size;
        const float* const values = keys + d_.kv_heads * size;
        for (int64_t head = 0; head < d_.kv_heads; ++head) {
            rotate(keys + head * size, cosines, sines, half, cached(layer, 0, row, head) + place);
            std::memcpy(cached(layer, 1, row, head) + place, values + head * size, static_cast<size_t>(size) * sizeof(float));
        }
    }

    // The attention of a row, written as row `place` of `to`.
    void attend_row(int64_t row, int64_t kv_head, int64_t layer, const Inputs& to, int64_t place) const {
        const int64_t heads = d_.heads / d_.kv_heads, numbers = heads * d_.head_size;
        attend(qkv(row) + kv_head * numbers, heads, cached(layer, 0, row, kv_head), cached(layer, 1, row, kv_head),
               a_.cache_index[row] + 1, d_.head_size, own_.scores.get(), own_.score_stride, own_.divisors.get(),
               own_.attended.get());
        to.put(place, kv_head * numbers, numbers, own_.attended.get());
    }

    void copy(const float* from, float* to) const {
        std::memcpy(to, from, static_cast<size_t>(d_.hidden_size) * sizeof(float));
    }

    static void add_to(float* to, const float* values) {
        for (int64_t i = 0; i < kPanelColumns; i += kLanes) store(to + i, add(load(to + i), load(values + i)));
    }

    void write_logits(int64_t panel, const float* values) const {
        const int64_t first = panel * kPanelColumns, count = std::min(kPanelColumns, d_.vocabulary_size - first);
        for (int64_t row = 0; row < a_.logit_count; ++row) {
            float* const to = a_.logits + row * d_.vocabulary_size + first;
            // Quantised, what is not finite would look like a number.
            if (s_.finite.get()[row]) {
                std::memcpy(to, values + row * kPanelColumns, static_cast<size_t>(count) * sizeof(float));
            } else {
                std::fill(to, to + count, std::numeric_limits<float>::quiet_NaN());
            }
        }
    }

    const c2t_step_decoder& d_;
    const c2t_step_args& a_;
    Team& team_;
    StepActivations& s_;
    StepScratch& own_;
    int64_t phase_ = 0;
};
