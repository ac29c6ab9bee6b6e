// See team.h. Nothing here may use more than the baseline's instructions.
#include "team.h"

#include <chrono>
#include <new>
#include <system_error>

namespace {

// At the end of a phase a thread waits for another's last piece, some hundred microseconds at most; if it takes longer, the
// other has lost its core, which sleeping may give back.
constexpr int64_t kBarrierSpin = 300'000;
// Between two steps Python chooses tokens and drafts.
constexpr int64_t kIdleSpin = 300'000;
constexpr int kPausesPerLook = 32;

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

// What is known of a run: its number, how many threads may come (0: the team ends), whether they still may, and how many
// helpers are in. In one integer, the last part lowest, so that one addition brings a helper in.
struct Run {
    static constexpr uint64_t kOpen = 1 << 16;
    Run(uint32_t run_number, int32_t threads, bool may_come, int32_t helpers)
        : number(run_number), active(threads), open(may_come), inside(helpers) {}
    explicit Run(uint64_t packed)
        : number(static_cast<uint32_t>(packed >> 32)), active(static_cast<int32_t>(packed >> 17 & 0x7fff)),
          open((packed & kOpen) != 0), inside(static_cast<int32_t>(packed & 0xffff)) {}
    uint64_t packed() const {
        return static_cast<uint64_t>(number) << 32 | static_cast<uint64_t>(active) << 17 | (open ? kOpen : 0) |
               static_cast<uint64_t>(inside);
    }
    uint32_t number;
    int32_t active;
    bool open;
    int32_t inside;
};
static_assert(kMostThreads < 1 << 15, "the number of active threads must fit");

}  // namespace

bool Wakeup::spin(bool (*ready)(const void*), const void* argument, int64_t spin_nanoseconds) {
    if (spin_nanoseconds <= 0) return false;
    const int64_t end = nanoseconds() + spin_nanoseconds;
    do {
        for (int i = 0; i < kPausesPerLook; ++i) {
            if (ready(argument)) return true;
            pause();
        }
    } while (nanoseconds() < end);
    return false;
}

void Wakeup::wake() {
    // Either this thread sees who sleeps, or that one sees what has changed: both are sequentially consistent.
    if (sleeping_.load(std::memory_order_seq_cst) == 0) return;
    { const std::lock_guard<std::mutex> lock(mutex_); }
    changed_.notify_all();
}

Team::Team(int32_t threads, int64_t phases, bool spin)
    : phases_(static_cast<size_t>(phases)), idle_spin_(spin ? kIdleSpin : 0) {
    helpers_.reserve(static_cast<size_t>(threads));
    try {
        for (int32_t i = 1; i < threads; ++i) helpers_.emplace_back([this, i] { help(i); });
    } catch (const std::system_error&) {
        // The system has no more threads: those that started do the work.
    } catch (const std::bad_alloc&) {
        // Likewise without memory for another one.
    }
}

Team::~Team() {
    run_.store(Run{++runs_, 0, false, 0}.packed());
    started_.wake();
    for (std::thread& helper : helpers_) helper.join();
}

void Team::run(void (*work)(void*, int32_t), void* context, int32_t active) {
    for (Phase& phase : phases_) {
        phase.next.store(0, std::memory_order_relaxed);
        phase.done.store(0, std::memory_order_relaxed);
    }
    work_ = work;
    context_ = context;
    active_ = active;
    if (active > 1) {
        run_.store(Run{++runs_, active, true, 0}.packed());
        started_.wake();
    }
    work(context, 0);
    if (active == 1) return;
    // No helper may come in any more, and those that are in must have left the work behind.
    run_.fetch_and(~Run::kOpen);
    left_.wait([this] { return Run(run_.load()).inside == 0; }, kBarrierSpin);
}

void Team::finish(Phase& p, int64_t mine, int64_t count) {
    if (mine && p.done.fetch_add(mine) + mine == count) {
        finished_.wake();
    } else {
        finished_.wait([&] { return p.done.load() >= count; }, kBarrierSpin);
    }
}

void Team::help(int32_t thread) {
    for (uint32_t seen = 0;;) {
        started_.wait([&] { return Run(run_.load()).number != seen; }, idle_spin_);
        uint64_t now = run_.load();
        seen = Run(now).number;
        if (Run(now).active == 0) return;
        if (thread >= Run(now).active) continue;
        bool in = false;
        while (!in && Run(now).open && Run(now).number == seen) in = run_.compare_exchange_weak(now, now + 1);
        if (!in) continue;
        work_(context_, thread);
        const Run before(run_.fetch_sub(1));
        if (before.inside == 1 && !before.open) left_.wake();
    }
}
