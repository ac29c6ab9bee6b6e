// Opening and running an encoder; which implementations run here.
#include <algorithm>
#include <new>
#include <vector>

#include "../threads/process_team.h"
#include "memory.h"

namespace {

// Rows that are worth another thread.
constexpr int64_t kRowsPerThread = 8;
// Rows of each thread that go through all layers before other cells do: their activations stay in a core's cache where a
// model is small, and weights are read for enough rows where it is large.
constexpr int64_t kRowsTogether = 512;
// Tiles of a layer that every thread gets at least, so that none waits long for the last one.
constexpr int64_t kTilesPerThread = 4;
constexpr TileRows kTileRows{12, 72};
#if defined(C2T_HAS_AMX)
constexpr TileRows kAmxTileRows{32, 192};
static_assert(kAmxTileRows.most <= kMostTileRows, "a thread's memory must hold a tile");
#endif
static_assert(kTileRows.most <= kMostTileRows, "a thread's memory must hold a tile");

// Cells of so many rows that go through all layers together.
int64_t cells_together(int64_t length, int64_t threads) {
    return std::max<int64_t>(1, (threads * kRowsTogether + length - 1) / length);
}

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

    // Run some cells through all layers.
    void compute(c2t_encoder_args& args, Team& threads) {
        const int64_t rows = args.batch * args.length;
        const c2t_attention_args sizes{nullptr, nullptr, nullptr, nullptr, nullptr, args.batch, args.length, args.length,
                                       encoder.heads, encoder.hidden_size / encoder.heads, 0, 0, 0, 0, encoder.scale};
        const int64_t head_bytes = round_up(PackedSizes(sizes, attention.layout).bytes(), 64);
        const int32_t active = static_cast<int32_t>(std::clamp<int64_t>(rows / kRowsPerThread, 1, threads.size()));
        const int64_t groups_of = group_heads(rows, active);
        activations.reserve(encoder, args, groups_of, head_bytes);
        struct Work {
            EncoderJob job;
            void (*run)(const EncoderJob&, int32_t);
        } work{{&encoder, &args, &attention, groups_of, head_bytes, tile_rows(rows, active), &threads, &activations,
                scratch_pointers.data()},
               run};
        threads.run(
            [](void* context, int32_t thread) {
                const auto* const w = static_cast<const Work*>(context);
                w->run(w->job, thread);
            },
            &work, active);
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

int32_t c2t_encoder_compute(c2t_encoder_run* encoder, c2t_encoder_args* args) {
    const auto turn = encoder->team.turn();
    args->projector_seconds = 0.0;
    try {
        Team& team = encoder->team.team(encoder->wanted);
        const int64_t together = cells_together(args->length, team.size());
        for (int64_t cell = 0; cell < args->batch; cell += together) {
            c2t_encoder_args some = *args;
            some.batch = std::min(together, args->batch - cell);
            some.embeddings += cell * args->length * encoder->encoder.hidden_size;
            const int64_t rows = cell * rows_leaving(encoder->encoder, args->length);
            some.hidden += rows * encoder->encoder.hidden_size;
            if (const c2t_projector* const projector = encoder->encoder.projector) some.vectors += rows * projector->vector_size;
            encoder->compute(some, team);
            args->projector_seconds += some.projector_seconds;
        }
        encoder->activations.release(std::min(together, args->batch) * args->length);
    } catch (const std::bad_alloc&) {
        return 1;
    }
    return 0;
}

}  // extern "C"
