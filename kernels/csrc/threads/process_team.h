// A team whose threads start at its first use, in the process that uses it.
//
// Threads do not survive fork(), which Python programs call: a child starts its own, and leaves those that it has only
// the memory of where they are.
#pragma once
#include <atomic>
#include <cstdint>
#include <mutex>

#include "team.h"

class ProcessTeam {
public:
    // Phases of a run; whether threads wait for the next run by spinning for a while before they sleep.
    ProcessTeam(int64_t phases, bool spin);
    ~ProcessTeam();
    ProcessTeam(const ProcessTeam&) = delete;
    ProcessTeam& operator=(const ProcessTeam&) = delete;

    // Take turns: one thread at a time may use the team.
    std::unique_lock<std::mutex> turn();
    // The team, of `threads` threads or fewer. Only while it is this thread's turn. Throws std::bad_alloc.
    Team& team(int32_t threads);

private:
    static constexpr int64_t kAdopting = -1;

    const int64_t phases_;
    const bool spins_;
    std::mutex* turn_ = new std::mutex;
    Team* team_ = nullptr;
    std::atomic<int64_t> owner_;  // the process
};
