// The memory of a step besides weights and cache: activations, which all threads see, and scratch of each thread.
#pragma once
#include "c2t_decoder_step.h"
#include "../linears/numbers.h"
#include "../threads/team.h"

// Inputs of linears are float32 or quantised: the buffers are large enough for either.
struct StepActivations {
    explicit StepActivations(const c2t_step_decoder& d)
        : x_stride(whole_panels(d.hidden_size)),
          qkv_stride(whole_panels((d.heads + 2 * d.kv_heads) * d.head_size)),
          context_stride(whole_panels(d.heads * d.head_size)), gated_stride(whole_panels(d.intermediate_size)) {}
    // Memory for so many rows.
    void reserve(int64_t wanted_rows) {
        const int64_t count = whole_tiles(wanted_rows);
        if (count <= rows) return;
        *this = StepActivations(x_stride, qkv_stride, context_stride, gated_stride, 0);  // free it before there is more
        *this = StepActivations(x_stride, qkv_stride, context_stride, gated_stride, count);
    }
    int64_t x_stride, qkv_stride, context_stride, gated_stride, rows = 0;
    Numbers<float> x;        // the residual stream
    Numbers<float> wanted;   // of it, the rows whose logits are wanted
    Numbers<float> qkv;
    Numbers<float> hidden;   // of a norm
    Numbers<float> context;  // of attention
    Numbers<float> gated;    // of the MLP
    Numbers<bool> finite;    // of logit rows

private:
    StepActivations(int64_t x_columns, int64_t qkv_columns, int64_t context_columns, int64_t gated_columns, int64_t count)
        : x_stride(x_columns), qkv_stride(qkv_columns), context_stride(context_columns), gated_stride(gated_columns),
          rows(count), x(count * x_stride), wanted(count * x_stride), qkv(count * qkv_stride), hidden(count * x_stride),
          context(count * context_stride), gated(count * gated_stride), finite(count) {}
};

struct StepScratch {
    explicit StepScratch(const c2t_step_decoder& d)
        : row(whole_panels(d.hidden_size)), attended(d.heads / d.kv_heads * d.head_size), divisors(d.heads / d.kv_heads) {}
    // Memory for the panels of so many rows, and for the scores of one KV head's queries.
    void reserve(const c2t_step_decoder& d, int64_t wanted_rows, int64_t capacity) {
        const int64_t count = whole_tiles(wanted_rows);
        if (count > rows) {
            rows = 0;
            sums = Numbers<int32_t>(count * C2T_PANEL_COLUMNS);
            values = Numbers<float>(count * C2T_PANEL_COLUMNS);
            rows = count;
        }
        if (capacity + C2T_PANEL_COLUMNS <= score_stride) return;
        score_stride = 0;
        const int64_t stride = whole_panels(capacity) + C2T_PANEL_COLUMNS;
        scores = Numbers<float>(d.heads / d.kv_heads * stride);
        score_stride = stride;
    }
    Numbers<int32_t> sums;   // of a panel
    Numbers<float> values;   // likewise
    Numbers<float> row;
    Numbers<float> attended, divisors, scores;
    int64_t rows = 0, score_stride = 0;
};

struct StepJob {
    const c2t_step_decoder* decoder;
    const c2t_step_args* args;
    Team* team;
    StepActivations* shared;
    StepScratch* const* scratch;  // of each thread
};

// Phases of a step: each ends when all of its pieces are done.
inline int64_t step_phases(const c2t_step_decoder& d) { return 8 * d.layer_count + 4; }

#define C2T_DECLARE_STEP(isa) \
    namespace c2t_##isa { void run_step(const StepJob& job, int32_t thread); }
C2T_DECLARE_STEP(scalar)
C2T_DECLARE_STEP(avx2)
C2T_DECLARE_STEP(avx512)
C2T_DECLARE_STEP(amx)
#undef C2T_DECLARE_STEP
