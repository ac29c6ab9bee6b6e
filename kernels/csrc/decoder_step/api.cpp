// Opening and running a decoder's step; which implementations run here.
#include <algorithm>
#include <new>
#include <vector>

#include "../instruction_sets.h"
#include "../threads/process_team.h"
#include "memory.h"

namespace {

// Bytes of weights, times rows, that are worth another thread: the end of a phase costs about a microsecond.
constexpr int64_t kBytesPerThread = 1 << 19;
constexpr int64_t kUsualRows = 32;  // threads that a step of so many rows has no work for are not started

int64_t bytes_of(const c2t_linear& l) { return l.inputs * l.columns * (l.type == C2T_F32 ? 4 : 1); }

int64_t bytes_of(const c2t_step_decoder& d) {
    int64_t bytes = bytes_of(d.lm_head);
    for (int64_t i = 0; i < d.layer_count; ++i) {
        const c2t_step_layer& l = d.layers[i];
        for (const auto* part : {&l.qkv, &l.output, &l.gate_up, &l.down}) bytes += bytes_of(part->linear);
    }
    return bytes;
}

}  // namespace

struct c2t_step {
    c2t_step(const c2t_step_decoder& d, int32_t isa, int32_t threads, bool spin)
        : decoder(d), bytes(bytes_of(d)), wanted(std::clamp(threads, 1, kMostThreads)), team(step_phases(d), spin), activations(d) {
        if (isa == C2T_SCALAR) run = &c2t_scalar::run_step;
#if defined(C2T_X86)
        if (isa == C2T_AVX2) run = &c2t_avx2::run_step;
        if (isa == C2T_AVX512) run = &c2t_avx512::run_step;
#if defined(C2T_HAS_AMX)
        if (isa == C2T_AMX) run = &c2t_amx::run_step;
#endif
#endif
        for (int32_t i = 0; i < wanted; ++i) scratch.push_back(std::make_unique<StepScratch>(d));
        for (const auto& own : scratch) scratch_pointers.push_back(own.get());
    }

    // Threads that a step of so many rows has work for.
    int64_t threads_for(int64_t rows) const { return 1 + bytes * (rows + 7) / 8 / kBytesPerThread; }

    const c2t_step_decoder decoder;
    const int64_t bytes;
    const int32_t wanted;
    ProcessTeam team;
    void (*run)(const StepJob&, int32_t) = nullptr;
    StepActivations activations;
    std::vector<std::unique_ptr<StepScratch>> scratch;
    std::vector<StepScratch*> scratch_pointers;
};

extern "C" {

int32_t c2t_step_isa_mask(void) { return products_isa_mask(); }

c2t_step* c2t_step_open(const c2t_step_decoder* decoder, int32_t isa, int32_t threads, int32_t spin) {
    try {
        return new c2t_step(*decoder, isa, threads, spin != 0);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void c2t_step_close(c2t_step* step) { delete step; }

int32_t c2t_step_run(c2t_step* step, const c2t_step_args* args) {
    const auto turn = step->team.turn();
    Team* team = nullptr;
    try {
        team = &step->team.team(static_cast<int32_t>(std::min<int64_t>(step->wanted, step->threads_for(kUsualRows))));
        const int64_t rows = std::max(args->rows, args->logit_count);
        step->activations.reserve(rows);
        for (const auto& own : step->scratch) own->reserve(rows, args->capacity);
    } catch (const std::bad_alloc&) {
        return 1;
    }
    struct Work {
        StepJob job;
        void (*run)(const StepJob&, int32_t);
    } work{{&step->decoder, args, team, &step->activations, step->scratch_pointers.data()}, step->run};
    const auto active = static_cast<int32_t>(std::min<int64_t>(team->size(), step->threads_for(args->rows)));
    team->run(
        [](void* context, int32_t thread) {
            const auto* const w = static_cast<const Work*>(context);
            w->run(w->job, thread);
        },
        &work, active);
    step->activations.release();
    return 0;
}

}  // extern "C"
