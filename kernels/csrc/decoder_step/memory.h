// The memory of a step besides weights and cache: activations, which all threads see, and scratch of each thread.
#pragma once
#include "c2t_decoder_step.h"
#include "../linears/numbers.h"
#include "../threads/team.h"

// Whether what is added to the residual stream goes through a norm before, or waits for what an MLP adds.
inline bool keeps_branches(const c2t_step_decoder& d) {
    bool keeps = d.parallel != 0;
    for (int64_t i = 0; i < d.layer_count; ++i) keeps |= d.layers[i].after_attention || d.layers[i].after_mlp;
    return keeps;
}

// Memory for activations that is not kept for the next step. To make it again takes a few thousandths of a step over so
// many rows.
constexpr int64_t kReleasedBytes = 16 << 20;

// Inputs of linears are float32 or quantised: the buffers are large enough for either.
struct StepActivations {
    explicit StepActivations(const c2t_step_decoder& d)
        : x_stride(whole_panels(d.hidden_size)),
          qkv_stride(whole_panels((d.heads + 2 * d.kv_heads) * d.head_size)),
          hidden_stride(input_stride(d.hidden_size)), context_stride(input_stride(d.heads * d.head_size)),
          gated_stride(input_stride(d.intermediate_size)), branch_stride(keeps_branches(d) ? x_stride : 0) {}
    // Memory for so many rows.
    void reserve(int64_t wanted_rows) {
        const int64_t count = whole_tiles(wanted_rows);
        if (count <= rows) return;
        *this = StepActivations(*this, 0);  // free it before there is more
        *this = StepActivations(*this, count);
    }
    // Free what a step of fewer rows does not need.
    void release() {
        const int64_t numbers = 2 * x_stride + qkv_stride + hidden_stride + context_stride + gated_stride + branch_stride;
        if (rows * numbers * static_cast<int64_t>(sizeof(float)) >= kReleasedBytes) *this = StepActivations(*this, 0);
    }
    int64_t x_stride, qkv_stride, hidden_stride, context_stride, gated_stride, branch_stride, rows = 0;
    Numbers<float> x;        // the residual stream
    Numbers<float> wanted;   // of it, the rows whose logits are wanted
    Numbers<float> qkv;
    Numbers<float> hidden;   // of a norm
    Numbers<float> context;  // of attention
    Numbers<float> gated;    // of the MLP
    Numbers<float> branch;   // what attention or an MLP adds to the residual stream, where it is kept apart for a while
    Numbers<bool> finite;    // of logit rows

private:
    StepActivations(const StepActivations& like, int64_t count)
        : x_stride(like.x_stride), qkv_stride(like.qkv_stride), hidden_stride(like.hidden_stride),
          context_stride(like.context_stride), gated_stride(like.gated_stride), branch_stride(like.branch_stride),
          rows(count), x(count * x_stride), wanted(count * x_stride), qkv(count * qkv_stride),
          hidden(count * hidden_stride), context(count * context_stride), gated(count * gated_stride),
          branch(count * branch_stride), finite(count) {}
};

constexpr int64_t kMostLanes = 16;  // of a vector, of all implementations

struct StepScratch {
    explicit StepScratch(const c2t_step_decoder& d)
        : row(whole_panels(d.hidden_size)), head(d.head_size), queries(kMostLanes * d.head_size),
          attended(kMostLanes * d.head_size) {}
    // Memory for the panels of so many rows, and for scores of so many cache positions.
    void reserve(int64_t wanted_rows, int64_t capacity) {
        const int64_t count = whole_tiles(wanted_rows);
        if (count > rows) {
            rows = 0;
            sums = Numbers<int32_t>(count * C2T_PANEL_COLUMNS);
            values = Numbers<float>(count * C2T_PANEL_COLUMNS);
            rows = count;
        }
        if (capacity <= positions) return;
        positions = 0;
        scores = Numbers<float>(kMostLanes * capacity);
        positions = capacity;
    }
    Numbers<int32_t> sums;   // of a panel
    Numbers<float> values;   // likewise
    Numbers<float> row, head;
    Numbers<float> queries, attended, scores;  // of the queries that lie in the lanes of a vector
    int64_t rows = 0, positions = 0;
};

struct StepJob {
    const c2t_step_decoder* decoder;
    const c2t_step_args* args;
    Team* team;
    StepActivations* shared;
    StepScratch* const* scratch;  // of each thread
};

// Phases of a step: each ends when all of its pieces are done.
inline int64_t step_phases(const c2t_step_decoder& d) { return 9 * d.layer_count + 4; }

#define C2T_DECLARE_STEP(isa) \
    namespace c2t_##isa { void run_step(const StepJob& job, int32_t thread); }
C2T_DECLARE_STEP(scalar)
C2T_DECLARE_STEP(avx2)
C2T_DECLARE_STEP(avx512)
C2T_DECLARE_STEP(amx)
#undef C2T_DECLARE_STEP
