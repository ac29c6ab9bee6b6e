// Just enough of CUDA to run the kernels' device code as host C++: one block after another, one std::thread per
// CUDA thread. It shows that the algorithm is right, not that a GPU runs it. Compile with -std=c++20.
#pragma once
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <mutex>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct Index { unsigned x; };
inline thread_local Index threadIdx;
inline Index blockIdx;  // the same for all threads of the block that runs
inline std::barrier<>* block_barrier;
inline std::mutex atomic_mutex;
inline float warp_values[32];

inline void __syncthreads() { block_barrier->arrive_and_wait(); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
template <class T> T atomicOr(T* p, T v) {
    const std::lock_guard<std::mutex> lock(atomic_mutex);
    const T old = *p;
    *p |= v;
    return old;
}
inline int atomicAdd(int* p, int v) {
    const std::lock_guard<std::mutex> lock(atomic_mutex);
    const int old = *p;
    *p += v;
    return old;
}
// The block is one warp here.
inline float __shfl_xor_sync(unsigned, float v, int mask) {
    warp_values[threadIdx.x] = v;
    __syncthreads();
    const float other = warp_values[threadIdx.x ^ mask];
    __syncthreads();
    return other;
}
inline long long __double_as_longlong(double v) { long long bits; std::memcpy(&bits, &v, 8); return bits; }
inline unsigned __float_as_uint(float v) { unsigned bits; std::memcpy(&bits, &v, 4); return bits; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline int __float2int_rn(float a) { return int(std::nearbyint(a)); }
using std::fmaxf;
using std::fminf;

// `backwards`: the last block first, as a GPU may run them in any order.
template <class Kernel> void run_grid(long long blocks, unsigned threads, Kernel kernel, bool backwards = false) {
    std::barrier<> barrier(threads);
    block_barrier = &barrier;
    for (long long block = 0; block < blocks; ++block) {
        blockIdx.x = unsigned(backwards ? blocks - 1 - block : block);
        std::vector<std::thread> all;
        for (unsigned t = 0; t < threads; ++t) {
            all.emplace_back([&, t] {
                threadIdx.x = t;
                kernel();
            });
        }
        for (std::thread& thread : all) thread.join();
    }
}
