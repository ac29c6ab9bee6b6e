// Threads that run the phases of a piece of work together.
//
// Two decisions. Threads claim the pieces of a phase one by one, so that a core that is busy with something else takes
// fewer; who computes a piece does not change its numbers. And a phase ends when its pieces are done, not when all threads
// have come: a thread that the system lets wait for a core, before it has come in, holds nobody up.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

// Waiting that spins for a while and then sleeps.
class Wakeup {
public:
    // Wait until ready(), which reads what others change before they call wake(); with sequential consistency.
    template <class Ready> void wait(const Ready& ready, int64_t spin_nanoseconds) {
        if (ready() || spin(&Wakeup::call<Ready>, &ready, spin_nanoseconds)) return;
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        changed_.wait(lock, ready);
        sleeping_.fetch_sub(1, std::memory_order_relaxed);
    }
    void wake();  // all that sleep

private:
    template <class Ready> static bool call(const void* ready) { return (*static_cast<const Ready*>(ready))(); }
    static bool spin(bool (*ready)(const void*), const void* argument, int64_t nanoseconds);

    std::atomic<int32_t> sleeping_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
};

constexpr int32_t kMostThreads = 255;

class Team {
public:
    // Threads besides the caller's start now; fewer if the system has no more.
    // At most kMostThreads.
    Team(int32_t threads, int64_t phases, bool spin);
    ~Team();
    Team(const Team&) = delete;
    Team& operator=(const Team&) = delete;

    int32_t size() const { return static_cast<int32_t>(helpers_.size()) + 1; }

    // Run work(context, thread) on the first `active` threads, the caller's among them as thread 0; those that get no core
    // in time may not come. All of them must pass the same phases.
    void run(void (*work)(void*, int32_t), void* context, int32_t active);

    // f(piece) for the pieces of a phase that this thread gets. Returns when all `count` are done.
    template <class F> void pieces(int64_t phase, int64_t count, const F& f) {
        Phase& p = phases_[static_cast<size_t>(phase)];
        int64_t mine = 0;
        for (int64_t piece = claim(p); piece < count; piece = claim(p), ++mine) f(piece);
        if (active_ > 1) finish(p, mine, count);
    }

    // Likewise f(piece, next): with the piece that this thread gets next, or one behind the last, so that its data can be
    // fetched. Only for many pieces: of a few, a thread would take two before another one has its first.
    template <class F> void pieces_ahead(int64_t phase, int64_t count, const F& f) {
        Phase& p = phases_[static_cast<size_t>(phase)];
        int64_t mine = 0;
        for (int64_t piece = claim(p), next; piece < count; piece = next, ++mine) {
            next = claim(p);
            f(piece, next);
        }
        if (active_ > 1) finish(p, mine, count);
    }

private:
    struct alignas(64) Phase { std::atomic<int64_t> next{0}, done{0}; };
    static int64_t claim(Phase& p) { return p.next.fetch_add(1, std::memory_order_relaxed); }
    void finish(Phase& p, int64_t mine, int64_t count);
    void help(int32_t thread);

    std::vector<Phase> phases_;
    std::vector<std::thread> helpers_;
    const int64_t idle_spin_;
    void (*work_)(void*, int32_t) = nullptr;
    void* context_ = nullptr;
    int32_t active_ = 1;
    uint32_t runs_ = 0;
    alignas(64) Wakeup finished_;  // a phase
    // The run, see Run in team.cpp: all that a helper must know to decide by one look whether it comes in.
    alignas(64) std::atomic<uint64_t> run_{0};
    Wakeup started_, left_;
};
