// Opening and running a decoder's step; which implementations run here.
#include <algorithm>
#include <atomic>
#include <mutex>
#include <new>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

#include "memory.h"
#include "pack.h"

namespace {

// Bytes of weights, times rows, that are worth another thread: a barrier costs about a microsecond.
constexpr int64_t kBytesPerThread = 1 << 19;

int64_t process() {
#if defined(__unix__) || defined(__APPLE__)
    return getpid();
#else
    return 0;
#endif
}

int64_t bytes_of(const c2t_step_linear& l) { return l.inputs * l.columns * (l.type == C2T_F32 ? 4 : 1); }

int64_t bytes_of(const c2t_step_decoder& d) {
    int64_t bytes = bytes_of(d.lm_head);
    for (int64_t i = 0; i < d.layer_count; ++i) {
        const c2t_step_layer& l = d.layers[i];
        bytes += bytes_of(l.qkv) + bytes_of(l.output) + bytes_of(l.gate_up) + bytes_of(l.down);
    }
    return bytes;
}

}  // namespace

struct c2t_step {
    c2t_step(const c2t_step_decoder& d, int32_t isa, int32_t threads, bool spin)
        : decoder(d), bytes(bytes_of(d)), wanted(std::clamp(threads, 1, kMostThreads)), spins(spin), activations(d) {
        if (isa == C2T_SCALAR) run = &c2t_scalar::run_step;
#if defined(C2T_X86)
        if (isa == C2T_AVX2) run = &c2t_avx2::run_step;
        if (isa == C2T_AVX512) run = &c2t_avx512::run_step;
#endif
        for (int32_t i = 0; i < wanted; ++i) scratch.push_back(std::make_unique<StepScratch>(d));
        for (const auto& own : scratch) scratch_pointers.push_back(own.get());
    }

    // Threads that a step of so many rows has work for.
    int64_t threads_for(int64_t rows) const { return 1 + bytes * (rows + 7) / 8 / kBytesPerThread; }

    // Make this process the owner of threads that are yet to start.
    void adopt() {
        const int64_t here = process();
        for (int64_t seen = owner; seen != here; seen = owner) {
            if (seen == kAdopting || !owner.compare_exchange_strong(seen, kAdopting)) continue;  // another thread does
            turn = new std::mutex;
            team = nullptr;
            owner = here;
        }
    }

    static constexpr int64_t kAdopting = -1;
    const c2t_step_decoder decoder;
    const int64_t bytes;
    const int32_t wanted;
    const bool spins;
    void (*run)(const StepJob&, int32_t) = nullptr;
    StepActivations activations;
    std::vector<std::unique_ptr<StepScratch>> scratch;
    std::vector<StepScratch*> scratch_pointers;
    // Threads start at the first step. They do not survive fork(), which Python programs call: a child starts its own,
    // and leaves those that it has only the memory of where they are.
    std::mutex* turn = new std::mutex;
    Team* team = nullptr;
    std::atomic<int64_t> owner{process()};
};

extern "C" {

int32_t c2t_step_isa_mask(void) {
    int32_t mask = c2t_isa_mask() & (1 << C2T_SCALAR | 1 << C2T_AVX2 | 1 << C2T_AVX512);
#if defined(C2T_X86)
    if (!__builtin_cpu_supports("avx512vnni")) mask &= ~(1 << C2T_AVX512);
#endif
    return mask;
}

c2t_step* c2t_step_open(const c2t_step_decoder* decoder, int32_t isa, int32_t threads, int32_t spin) {
    try {
        return new c2t_step(*decoder, isa, threads, spin != 0);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

void c2t_step_close(c2t_step* step) {
    if (step->owner == process()) {
        delete step->team;
        delete step->turn;
    }
    delete step;
}

int32_t c2t_step_run(c2t_step* step, const c2t_step_args* args) {
    step->adopt();
    const std::lock_guard<std::mutex> lock(*step->turn);
    try {
        if (!step->team) {
            const auto most = static_cast<int32_t>(std::min<int64_t>(step->wanted, step->threads_for(kStepRows)));
            step->team = new Team(most, step_phases(step->decoder), step->spins);
        }
        for (const auto& own : step->scratch) own->reserve(step->decoder, args->capacity);
    } catch (const std::bad_alloc&) {
        return 1;
    }
    struct Work {
        StepJob job;
        void (*run)(const StepJob&, int32_t);
    } work{{&step->decoder, args, step->team, &step->activations, step->scratch_pointers.data()}, step->run};
    const auto active = static_cast<int32_t>(std::min<int64_t>(step->team->size(), step->threads_for(args->rows)));
    step->team->run(
        [](void* context, int32_t thread) {
            const auto* const w = static_cast<const Work*>(context);
            w->run(w->job, thread);
        },
        &work, active);
    return 0;
}

}  // extern "C"
