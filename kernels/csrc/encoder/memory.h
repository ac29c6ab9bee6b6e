// The memory of an encoder besides its weights: activations, which all threads see, and scratch of each thread.
#pragma once
#include <algorithm>
#include <atomic>

#include "../attention/attention.h"
#include "../linears/numbers.h"
#include "../threads/team.h"
#include "c2t_encoder.h"

// Rows that a thread takes through a layer's linears at a time, so that what lies between them stays in its cache:
// multiples of `step`, which are the rows whose sums fit into registers.
struct TileRows { int64_t step, most; };
constexpr int64_t kMostTileRows = 192;

// Rows that go through the projector at a time.
constexpr int64_t kProjectedRows = 32;
static_assert(kProjectedRows <= kMostTileRows, "a thread's memory must hold them");

// Memory for queries, keys and values that a group of heads may take, as far as each thread has a head to pack.
constexpr int64_t kGroupBytes = 8 << 20;

// Rows whose activations are not kept for the next run: to make their memory again takes a few thousandths of a run over so
// many.
constexpr int64_t kReleasedRows = 1024;

// Rows of a cell that leave a layer.
inline int64_t rows_of(const c2t_encoder_layer& l, int64_t length) { return l.rows ? std::min(l.rows, length) : length; }

// Rows of a cell that leave the encoder.
inline int64_t rows_leaving(const c2t_encoder& e, int64_t length) { return rows_of(e.layers[e.layer_count - 1], length); }

// Inputs of linears are float32 or quantised: the buffers are large enough for either.
struct EncoderActivations {
    // Memory for the rows and packed heads of a run.
    void reserve(const c2t_encoder& e, const c2t_encoder_args& a, int64_t group_heads, int64_t head_bytes) {
        const c2t_encoder_layer& last = e.layers[e.layer_count - 1];
        const int64_t count = a.batch * a.length;
        const int64_t read = (count + whole_tiles(1)) * input_stride(e.hidden_size);  // behind the last row too, by products
        qkv.grow(count * 3 * group_heads * (e.hidden_size / e.heads));
        heads.grow(a.batch * group_heads * head_bytes);
        if (group_heads < e.heads) {
            context.grow(read);
            inputs.grow(read);
            if (last.query.linear.panels) query_inputs.grow(read);
        }
        if (a.batch > batch) {
            broken = std::make_unique<std::atomic<bool>[]>(static_cast<size_t>(a.batch));
            batch = a.batch;
        }
        for (int64_t i = 0; i < a.batch; ++i) broken[i] = false;
    }
    // Free what a decoder beside this encoder had better have.
    void release(int64_t rows) {
        if (rows >= kReleasedRows) *this = EncoderActivations();
    }
    int64_t batch = 0;
    Numbers<float> qkv;           // [B, S, 3, columns of a group of heads]; attention writes its result in place of the queries
    Numbers<char> heads;          // packed keys and values of a group
    // Where heads go in groups, what linears read: [B, S, stride].
    Numbers<float> inputs;        // of queries, keys and values
    Numbers<float> query_inputs;  // of queries that have a linear of their own, in the rows that need them
    Numbers<float> context;       // of the output linear
    std::unique_ptr<std::atomic<bool>[]> broken;  // cells with numbers that are not finite
};

// Inputs of linears are float32 or quantised: the buffers are large enough for either.
struct EncoderScratch {
    explicit EncoderScratch(const c2t_encoder& e)
        : stride(input_stride(e.hidden_size)), wide_stride(input_stride(e.intermediate_size)),
          sums(kMostTileRows * C2T_PANEL_COLUMNS), values(kMostTileRows * C2T_PANEL_COLUMNS), narrow(kMostTileRows * stride),
          wide(kMostTileRows * wide_stride), rows(kMostTileRows * stride) {
        if (!e.projector) return;
        projected_stride = input_stride(e.projector->intermediate_size);
        projected = Numbers<float>(kProjectedRows * projected_stride);
        projected_inputs = Numbers<float>(kProjectedRows * projected_stride);
    }
    int64_t stride, wide_stride, projected_stride = 0;
    Numbers<int32_t> sums;  // of a panel
    Numbers<float> values;  // likewise
    Numbers<float> narrow;  // inputs of a linear of H
    Numbers<float> wide;    // of the MLP's second one
    Numbers<float> rows;    // residual sums
    Numbers<float> projected, projected_inputs;  // between the projector's linears: numbers, and what the second one reads
};

struct EncoderJob {
    const c2t_encoder* encoder;
    c2t_encoder_args* args;
    const AttentionKernel* attention;
    int64_t group_heads, head_bytes, tile_rows;
    Team* team;
    EncoderActivations* shared;
    EncoderScratch* const* scratch;  // of each thread
};

// Most phases of a run: each ends when all of its pieces are done.
inline int64_t encoder_phases(const c2t_encoder& e) { return (3 * e.heads + 1) * e.layer_count + 3; }

#define C2T_DECLARE_ENCODER(isa) \
    namespace c2t_##isa { void run_encoder(const EncoderJob& job, int32_t thread); }
C2T_DECLARE_ENCODER(scalar)
C2T_DECLARE_ENCODER(avx2)
C2T_DECLARE_ENCODER(avx512)
C2T_DECLARE_ENCODER(amx)
#undef C2T_DECLARE_ENCODER
