// Opening and running an encoder; which implementations run here.
#include <algorithm>
#include <new>
#include <vector>

#include "../threads/process_team.h"
#include "memory.h"

namespace {

// Rows that are worth another thread.
constexpr int64_t kRowsPerThread = 8;
// Tiles of a layer that every thread gets at least, so that none waits long for the last one.
constexpr int64_t kTilesPerThread = 4;
constexpr TileRows kTileRows{12, 72};
#if defined(C2T_HAS_AMX)
constexpr TileRows kAmxTileRows{32, 192};
static_assert(kAmxTileRows.most <= kMostTileRows, "a thread's memory must hold a tile");
#endif
static_assert(kTileRows.most <= kMostTileRows, "a thread's memory must hold a tile");

}  // namespace

struct c2t_encoder_run {
    c2t_encoder_run(const c2t_encoder& e, int32_t isa, int32_t threads, bool spin)
        : encoder(e), wanted(std::clamp(threads, 1, kMostThreads)), attention(attention_kernel(isa)),
          team(encoder_phases(e), spin) {
        if (isa == C2T_SCALAR) run = &c2t_scalar::run_encoder;
#if defined(C2T_X86)
        if (isa == C2T_AVX2) run = &c2t_avx2::run_encoder;
        if (isa == C2T_AVX512) run = &c2t_avx512::run_encoder;
#if defined(C2T_HAS_AMX)
        if (isa == C2T_AMX) {
            run = &c2t_amx::run_encoder;
            tiles = kAmxTileRows;
        }
#endif
#endif
        for (int32_t i = 0; i < wanted; ++i) scratch.push_back(std::make_unique<EncoderScratch>(e));
        for (const auto& own : scratch) scratch_pointers.push_back(own.get());
    }

    int64_t tile_rows(int64_t rows, int64_t threads) const {
        const int64_t even = rows / (threads * kTilesPerThread) / tiles.step * tiles.step;
        return std::clamp(even, tiles.step, tiles.most);
    }

    // Heads that go through attention together: all groups are about as large.
    int64_t group_heads(int64_t rows, int64_t threads) const {
        const int64_t bytes = rows * 3 * (encoder.hidden_size / encoder.heads) * static_cast<int64_t>(sizeof(float));
        const int64_t most = std::clamp(std::max(kGroupBytes / bytes, threads), int64_t{1}, encoder.heads);
        const int64_t groups = (encoder.heads + most - 1) / most;
        return (encoder.heads + groups - 1) / groups;
    }

    const c2t_encoder encoder;
    const int32_t wanted;
    const AttentionKernel& attention;
    ProcessTeam team;
    TileRows tiles = kTileRows;
    void (*run)(const EncoderJob&, int32_t) = nullptr;
    EncoderActivations activations;
    std::vector<std::unique_ptr<EncoderScratch>> scratch;
    std::vector<EncoderScratch*> scratch_pointers;
};

extern "C" {

int32_t c2t_encoder_isa_mask(void) { return c2t_attention_isa_mask(); }

c2t_encoder_run* c2t_encoder_open(const c2t_encoder* encoder, int32_t isa, int32_t threads, int32_t spin) {
    try {
        return new c2t_encoder_run(*encoder, isa, threads, spin != 0);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void c2t_encoder_close(c2t_encoder_run* encoder) { delete encoder; }

int32_t c2t_encoder_compute(c2t_encoder_run* encoder, const c2t_encoder_args* args) {
    const auto turn = encoder->team.turn();
    const c2t_encoder& e = encoder->encoder;
    const int64_t rows = args->batch * args->length;
    const c2t_attention_args sizes{nullptr, nullptr, nullptr, nullptr, nullptr, args->batch, args->length, args->length,
                                   e.heads, e.hidden_size / e.heads, 0, 0, 0, 0, e.scale};
    const int64_t head_bytes = round_up(PackedSizes(sizes, encoder->attention.layout).bytes(), 64);
    Team* team = nullptr;
    int32_t active = 1;
    int64_t group_heads = e.heads;
    try {
        team = &encoder->team.team(encoder->wanted);
        active = static_cast<int32_t>(std::clamp<int64_t>(rows / kRowsPerThread, 1, team->size()));
        group_heads = encoder->group_heads(rows, active);
        encoder->activations.reserve(e, *args, group_heads, head_bytes);
    } catch (const std::bad_alloc&) {
        return 1;
    }
    struct Work {
        EncoderJob job;
        void (*run)(const EncoderJob&, int32_t);
    } work{{&e, args, &encoder->attention, group_heads, head_bytes, encoder->tile_rows(rows, active), team,
            &encoder->activations, encoder->scratch_pointers.data()},
           encoder->run};
    team->run(
        [](void* context, int32_t thread) {
            const auto* const w = static_cast<const Work*>(context);
            w->run(w->job, thread);
        },
        &work, active);
    encoder->activations.release(*args);
    return 0;
}

}  // extern "C"
