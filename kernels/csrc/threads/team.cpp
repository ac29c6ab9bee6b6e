// See team.h. Nothing here may use more than the baseline's instructions.
#include "team.h"

#include <chrono>
#include <system_error>

namespace {

// At a barrier a thread waits for another's last piece, some hundred microseconds at most; if it takes longer, the other
// has lost its core, which sleeping may give back.
constexpr int64_t kBarrierSpin = 300'000;
// Between two steps Python chooses tokens and drafts.
constexpr int64_t kIdleSpin = 300'000;
constexpr int kPausesPerLook = 32;
constexpr int kActiveBits = 8;
static_assert(kMostThreads < 1 << kActiveBits, "the number of active threads must fit");

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

int64_t nanoseconds() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void Signal::change(uint32_t number) {
    // Either this thread sees who sleeps, or that one sees the new number: both are sequentially consistent.
    number_.store(number, std::memory_order_seq_cst);
    if (sleeping_.load(std::memory_order_seq_cst) == 0) return;
    { const std::lock_guard<std::mutex> lock(mutex_); }
    changed_.notify_all();
}

void Signal::wait(uint32_t seen, int64_t spin_nanoseconds) {
    if (now() != seen) return;
    if (spin_nanoseconds > 0) {
        const int64_t end = nanoseconds() + spin_nanoseconds;
        do {
            for (int i = 0; i < kPausesPerLook; ++i) {
                if (now() != seen) return;
                pause();
            }
        } while (nanoseconds() < end);
    }
    std::unique_lock<std::mutex> lock(mutex_);
    sleeping_.fetch_add(1, std::memory_order_seq_cst);
    changed_.wait(lock, [&] { return number_.load(std::memory_order_seq_cst) != seen; });
    sleeping_.fetch_sub(1, std::memory_order_relaxed);
}

Team::Team(int32_t threads, int64_t phases, bool spin)
    : claims_(static_cast<size_t>(phases)), idle_spin_(spin ? kIdleSpin : 0) {
    helpers_.reserve(static_cast<size_t>(threads));
    try {
        for (int32_t i = 1; i < threads; ++i) helpers_.emplace_back([this, i] { help(i); });
    } catch (const std::system_error&) {
        // The system has no more threads: those that started do the work.
    }
}

Team::~Team() {
    started_.change(++runs_ << kActiveBits);
    for (std::thread& helper : helpers_) helper.join();
}

void Team::run(void (*work)(void*, int32_t), void* context, int32_t active) {
    for (Claims& claims : claims_) claims.next.store(0, std::memory_order_relaxed);
    work_ = work;
    context_ = context;
    active_ = active;
    if (active > 1) started_.change(++runs_ << kActiveBits | static_cast<uint32_t>(active));
    work(context, 0);
}

void Team::meet() {
    if (active_ == 1) return;
    const uint32_t seen = met_.now();
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == active_ - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        met_.change(seen + 1);
    } else {
        met_.wait(seen, kBarrierSpin);
    }
}

void Team::help(int32_t thread) {
    for (uint32_t seen = 0;;) {
        started_.wait(seen, idle_spin_);
        seen = started_.now();
        const auto active = static_cast<int32_t>(seen & ((1u << kActiveBits) - 1));
        if (active == 0) return;
        if (thread < active) work_(context_, thread);
    }
}
