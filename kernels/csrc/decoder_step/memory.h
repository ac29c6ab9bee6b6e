// The memory of a step besides weights and cache: activations, which all threads see, and scratch of each thread.
#pragma once
#include "c2t_decoder_step.h"
#include "../linears/numbers.h"
#include "../threads/team.h"

constexpr int64_t kStepRows = C2T_STEP_ROWS;

// Inputs of linears are float32 or quantised: the buffers are large enough for either.
struct StepActivations {
    explicit StepActivations(const c2t_step_decoder& d)
        : x_stride(whole_panels(d.hidden_size)),
          qkv_stride(whole_panels((d.heads + 2 * d.kv_heads) * d.head_size)),
          context_stride(whole_panels(d.heads * d.head_size)), gated_stride(whole_panels(d.intermediate_size)),
          x(kStepRows * x_stride), qkv(kStepRows * qkv_stride), hidden(kStepRows * x_stride),
          context(kStepRows * context_stride), gated(kStepRows * gated_stride) {}
    int64_t x_stride, qkv_stride, context_stride, gated_stride;
    Numbers<float> x;        // the residual stream
    Numbers<float> qkv;
    Numbers<float> hidden;   // of a norm
    Numbers<float> context;  // of attention
    Numbers<float> gated;    // of the MLP
    bool finite[kStepRows] = {};  // of logit rows
};

struct StepScratch {
    explicit StepScratch(const c2t_step_decoder& d)
        : sums(kStepRows * C2T_PANEL_COLUMNS), values(kStepRows * C2T_PANEL_COLUMNS), row(whole_panels(d.hidden_size)),
          attended(d.heads / d.kv_heads * d.head_size), divisors(d.heads / d.kv_heads) {}
    // Memory for the scores of one KV head's queries.
    void reserve(const c2t_step_decoder& d, int64_t capacity) {
        if (capacity + C2T_PANEL_COLUMNS <= score_stride) return;
        score_stride = whole_panels(capacity) + C2T_PANEL_COLUMNS;
        scores = Numbers<float>(d.heads / d.kv_heads * score_stride);
    }
    Numbers<int32_t> sums;   // of a panel
    Numbers<float> values;   // likewise
    Numbers<float> row;
    Numbers<float> attended, divisors, scores;
    int64_t score_stride = 0;
};

struct StepJob {
    const c2t_step_decoder* decoder;
    const c2t_step_args* args;
    Team* team;
    StepActivations* shared;
    StepScratch* const* scratch;  // of each thread
};

// Phases of a step: between two of them all threads meet.
inline int64_t step_phases(const c2t_step_decoder& d) { return 8 * d.layer_count + 3; }

#define C2T_DECLARE_STEP(isa) \
    namespace c2t_##isa { void run_step(const StepJob& job, int32_t thread); }
C2T_DECLARE_STEP(scalar)
C2T_DECLARE_STEP(avx2)
C2T_DECLARE_STEP(avx512)
#undef C2T_DECLARE_STEP
