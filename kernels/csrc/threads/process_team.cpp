// See process_team.h.
#include "process_team.h"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace {

int64_t process() {
#if defined(__unix__) || defined(__APPLE__)
    return getpid();
#else
    return 0;
#endif
}

}  // namespace

ProcessTeam::ProcessTeam(int64_t phases, bool spin) : phases_(phases), spins_(spin), owner_(process()) {}

ProcessTeam::~ProcessTeam() {
    if (owner_ != process()) return;  // a child: neither the threads nor the mutex are its own
    delete team_;
    delete turn_;
}

std::unique_lock<std::mutex> ProcessTeam::turn() {
    // Make this process the owner of threads that are yet to start.
    const int64_t here = process();
    for (int64_t seen = owner_; seen != here; seen = owner_) {
        if (seen == kAdopting || !owner_.compare_exchange_strong(seen, kAdopting)) continue;  // another thread does
        turn_ = new std::mutex;
        team_ = nullptr;
        owner_ = here;
    }
    return std::unique_lock<std::mutex>(*turn_);
}

Team& ProcessTeam::team(int32_t threads) {
    if (!team_) team_ = new Team(threads, phases_, spins_);
    return *team_;
}
