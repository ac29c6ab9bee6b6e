// Threads that run the phases of a step together, and meet at a barrier after each.
//
// One decision: threads claim the pieces of a phase one by one, so that a core that is busy with something else takes
// fewer. Who computes a piece does not change its numbers.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

// Waiting that spins for a while and then sleeps, for a number that another thread changes.
class Signal {
public:
    uint32_t now() const { return number_.load(std::memory_order_acquire); }
    void change(uint32_t number);  // wakes all that sleep
    // Wait until the number is no longer `seen`.
    void wait(uint32_t seen, int64_t spin_nanoseconds);

private:
    std::atomic<uint32_t> number_{0};
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

    // Run work(context, thread) on the first `active` threads, the caller's among them as thread 0. All of them must pass
    // the same phases.
    void run(void (*work)(void*, int32_t), void* context, int32_t active);

    // The next piece of a phase; may be more than there are.
    int64_t claim(int64_t phase) { return claims_[static_cast<size_t>(phase)].next.fetch_add(1, std::memory_order_relaxed); }
    // Wait until all active threads have come here.
    void meet();

private:
    struct alignas(64) Claims { std::atomic<int64_t> next{0}; };
    void help(int32_t thread);

    std::vector<Claims> claims_;
    std::vector<std::thread> helpers_;
    const int64_t idle_spin_;
    void (*work_)(void*, int32_t) = nullptr;
    void* context_ = nullptr;
    int32_t active_ = 1;
    uint32_t runs_ = 0;
    alignas(64) std::atomic<int32_t> arrived_{0};
    alignas(64) Signal met_;
    // Number of the run and, in the lower bits, how many threads are active in it: a helper that is not must decide that
    // by one look, for the next run may begin at any time. 0 active threads: the team ends.
    alignas(64) Signal started_;
};
