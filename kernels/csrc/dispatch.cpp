// The choice of an implementation, and the split of the work over threads.
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <vector>

#include "linears/pack.h"
#include "helper_thread.h"
#include "implementations.h"

namespace {

// Starting a thread costs about 30 microseconds, so each must have work for several times as long.
constexpr int64_t kBytesPerThread = 1 << 20;
constexpr int64_t kEntriesPerThread = 1 << 14;
constexpr int64_t kCellsPerStep = 8;

// Work that threads take step by step. The caller does not wait for a helper thread that has not begun when the steps
// have run out: on a busy machine that would take longer than the work. Such a helper finds the job closed. Helpers own
// the job together with the caller, so that it still exists then.
struct Job {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    std::condition_variable left;
    bool open = true;
    int64_t inside = 0;
};

// Run step(scratch, i) for i in 0 ... steps - 1 on up to `threads` threads, the caller's among them. Threads live for one
// call: a pool would not survive fork(), which Python programs call. Returns false if memory ran out.
template <class MakeScratch, class Step>
bool run_steps(int64_t steps, int64_t threads, const MakeScratch& make_scratch, const Step& step) {
    const auto job = std::make_shared<Job>();
    const auto work = [&] {
        try {
            auto scratch = make_scratch();
            for (int64_t i; (i = job->next.fetch_add(1)) < steps;) step(*scratch, i);
        } catch (const std::bad_alloc&) {
            job->failed = true;
        }
    };
    const auto help = [job, work_here = &work] {
        {
            const std::lock_guard<std::mutex> lock(job->mutex);
            if (!job->open) return;
            ++job->inside;
        }
        (*work_here)();
        // Signal while the lock is held: once the caller goes on, nothing that it owns may be touched here.
        const std::lock_guard<std::mutex> lock(job->mutex);
        --job->inside;
        job->left.notify_one();
    };
    try {
        for (int64_t i = 1; i < std::min(threads, steps); ++i) start_helper(help);
    } catch (const std::system_error&) {
        // The system has no more threads: those that started do the work.
    } catch (const std::bad_alloc&) {
    }
    work();
    std::unique_lock<std::mutex> lock(job->mutex);
    job->open = false;
    job->left.wait(lock, [&] { return job->inside == 0; });
    return !job->failed;
}

template <class MakeScratch, class Step>
int32_t run_safely(int64_t steps, int64_t threads, const MakeScratch& make_scratch, const Step& step) {
    try {
        return run_steps(steps, threads, make_scratch, step) ? 0 : 1;
    } catch (const std::bad_alloc&) {
        return 1;  // no helper has started yet
    }
}

struct OwnedRankScratch {
    explicit OwnedRankScratch(size_t genes)
        : sum(new double[genes + 1]()), token(new uint32_t[genes + kSpill]),
          keys(new uint64_t[3 * genes + kSpill + kFewEntries]),
          view{sum.get(), token.get(), keys.get(), keys.get() + genes + kSpill, keys.get() + 2 * genes + kSpill} {}
    std::unique_ptr<double[]> sum;
    std::unique_ptr<uint32_t[]> token;
    std::unique_ptr<uint64_t[]> keys;
    RankScratch view;
};

struct Implementation {
    decltype(&c2t_scalar::embed_block) embed_block;
    decltype(&c2t_scalar::rank_cells) rank_cells;
    decltype(&c2t_scalar::pack_panels) pack_panels;
};

Implementation implementation_of(int32_t isa) {
    switch (isa) {
#if defined(C2T_X86)
        case C2T_AVX2: return {&c2t_avx2::embed_block, &c2t_avx2::rank_cells, &c2t_avx2::pack_panels};
        case C2T_AVX512:
        case C2T_AMX: return {&c2t_avx512::embed_block, &c2t_avx512::rank_cells, &c2t_avx2::pack_panels};
#elif defined(C2T_ARM64)
        case C2T_NEON: return {&c2t_neon::embed_block, &c2t_neon::rank_cells, &c2t_scalar::pack_panels};
#endif
        default: return {&c2t_scalar::embed_block, &c2t_scalar::rank_cells, &c2t_scalar::pack_panels};
    }
}

}  // namespace

extern "C" {

int32_t c2t_embed(const c2t_embed_args* args, int32_t isa, int32_t threads) {
    const auto embed_block = implementation_of(isa).embed_block;
    const int64_t bytes = args->cells * args->ranks * args->hidden_size * 4;
    const int64_t blocks = args->cells ? (args->ranks + kRankBlock - 1) / kRankBlock : 0;
    return run_safely(
        blocks, std::min<int64_t>(threads, 1 + bytes / kBytesPerThread),
        [&] { return std::make_unique<std::vector<float>>(static_cast<size_t>(args->hidden_size)); },
        [&](std::vector<float>& row, int64_t block) { embed_block(*args, block, row.data()); });
}

int32_t c2t_rank(const c2t_rank_args* args, int32_t isa, int32_t threads) {
    const auto rank_cells = implementation_of(isa).rank_cells;
    const int64_t entries = args->indptr[args->cells] - args->indptr[0];
    return run_safely(
        (args->cells + kCellsPerStep - 1) / kCellsPerStep,
        std::min<int64_t>(threads, 1 + entries / kEntriesPerThread),
        [&] { return std::make_unique<OwnedRankScratch>(static_cast<size_t>(args->genes_of_vocabulary)); },
        [&](OwnedRankScratch& scratch, int64_t step) {
            const int64_t first = step * kCellsPerStep;
            rank_cells(*args, first, std::min(first + kCellsPerStep, args->cells), scratch.view);
        });
}

int32_t c2t_pack(const c2t_pack_args* args, int32_t isa, int32_t threads) {
    struct Nothing {};
    const auto pack_panels = implementation_of(isa).pack_panels;
    const int64_t panels = c2t_panel_count(*args), together = c2t_panels_together(*args);
    return run_safely(
        (panels + together - 1) / together, threads, [] { return std::make_unique<Nothing>(); },
        [&](Nothing&, int64_t step) {
            const int64_t first = step * together;
            pack_panels(*args, first, std::min(first + together, panels));
        });
}

}  // extern "C"
