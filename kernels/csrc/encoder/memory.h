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

// Memory for queries, keys and values that is not kept for the next run. To make it again takes a hundredth of a run over
// so many rows.
constexpr int64_t kReleasedBytes = 16 << 20;

// Rows of a cell that leave a layer.
inline int64_t rows_of(const c2t_encoder_layer& l, int64_t length) { return l.rows ? std::min(l.rows, length) : length; }

struct EncoderActivations {
    // Memory for so many rows and packed heads.
    void reserve(const c2t_encoder& e, const c2t_encoder_args& a, int64_t head_bytes) {
        const int64_t now = a.batch * a.length, heads_now = a.batch * e.heads * head_bytes;
        if (now > rows) {
            qkv = Numbers<float>();
            rows = 0;
            qkv = Numbers<float>(now * 3 * e.hidden_size);
            rows = now;
        }
        if (heads_now > head_memory) {
            heads = Numbers<char>();
            head_memory = 0;
            heads = Numbers<char>(heads_now);
            head_memory = heads_now;
        }
        if (a.batch > batch) {
            broken = std::make_unique<std::atomic<bool>[]>(static_cast<size_t>(a.batch));
            batch = a.batch;
        }
        for (int64_t i = 0; i < a.batch; ++i) broken[i] = false;
    }
    // Free what a decoder beside this encoder had better have.
    void release(const c2t_encoder& e) {
        if (rows * 3 * e.hidden_size * static_cast<int64_t>(sizeof(float)) < kReleasedBytes) return;
        *this = EncoderActivations();
    }
    int64_t rows = 0, head_memory = 0, batch = 0;
    Numbers<float> qkv;   // [B, S, 3 H]; attention writes its result in place of the queries
    Numbers<char> heads;  // packed keys and values
    std::unique_ptr<std::atomic<bool>[]> broken;  // cells with numbers that are not finite
};

// Inputs of linears are float32 or quantised: the buffers are large enough for either.
struct EncoderScratch {
    explicit EncoderScratch(const c2t_encoder& e)
        : stride(input_stride(e.hidden_size)), wide_stride(input_stride(e.intermediate_size)),
          sums(kMostTileRows * C2T_PANEL_COLUMNS), values(kMostTileRows * C2T_PANEL_COLUMNS), narrow(kMostTileRows * stride),
          wide(kMostTileRows * wide_stride), rows(kMostTileRows * stride) {}
    int64_t stride, wide_stride;
    Numbers<int32_t> sums;  // of a panel
    Numbers<float> values;  // likewise
    Numbers<float> narrow;  // inputs of a linear of H
    Numbers<float> wide;    // of the MLP's second one
    Numbers<float> rows;    // residual sums
};

struct EncoderJob {
    const c2t_encoder* encoder;
    const c2t_encoder_args* args;
    const AttentionKernel* attention;
    int64_t head_bytes, tile_rows;
    Team* team;
    EncoderActivations* shared;
    EncoderScratch* const* scratch;  // of each thread
};

// Phases of a run: each ends when all of its pieces are done.
inline int64_t encoder_phases(const c2t_encoder& e) { return 3 * e.layer_count + 2; }

#define C2T_DECLARE_ENCODER(isa) \
    namespace c2t_##isa { void run_encoder(const EncoderJob& job, int32_t thread); }
C2T_DECLARE_ENCODER(scalar)
C2T_DECLARE_ENCODER(avx2)
C2T_DECLARE_ENCODER(avx512)
C2T_DECLARE_ENCODER(amx)
#undef C2T_DECLARE_ENCODER
