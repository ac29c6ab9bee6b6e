// A thread that nobody waits for, and that ends by itself.
#pragma once
#include <system_error>
#include <thread>

#if defined(_WIN32)
#include <windows.h>

#include <process.h>

#include <memory>
#endif

// Run `work` in a new thread. Throws std::system_error if the system has no more threads, or std::bad_alloc.
template <class Work>
void start_helper(const Work& work) {
#if defined(_WIN32)
    // Not std::thread: MinGW's winpthreads sometimes lost the argument of a thread that is detached as it begins. A
    // program that starts a few hundred such threads crashed in 2 of 11 runs.
    auto own = std::make_unique<Work>(work);
    const auto run = [](void* given) -> unsigned {
        const std::unique_ptr<Work> mine(static_cast<Work*>(given));
        (*mine)();
        return 0;
    };
    const uintptr_t handle = _beginthreadex(nullptr, 0, run, own.get(), 0, nullptr);
    if (handle == 0) throw std::system_error(std::make_error_code(std::errc::resource_unavailable_try_again));
    own.release();  // the thread's own now
    CloseHandle(reinterpret_cast<HANDLE>(handle));
#else
    std::thread(work).detach();
#endif
}
