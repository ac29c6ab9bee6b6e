// Just enough of CUDA to run the kernels' device code as host C++: one std::thread per CUDA thread, one block after
// another or all together. It shows that the algorithm is right, not that a GPU runs it. Compile with -std=c++20.
#pragma once
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#define __device__
#define __global__
#define __shared__ static
#define __launch_bounds__(...)

struct Index { unsigned x; };
struct Warp {
    explicit Warp(unsigned lanes) : barrier(lanes) {}
    std::barrier<> barrier;
    float values[32];
    unsigned words[32][6];
};
struct Block {
    Block(unsigned threads, std::size_t shared_bytes) : barrier(threads), shared(shared_bytes / 16 + 1) {
        for (unsigned first = 0; first < threads; first += 32) {
            warps.push_back(std::make_unique<Warp>(threads - first < 32 ? threads - first : 32));
        }
    }
    struct alignas(16) Line { unsigned char bytes[16]; };
    std::barrier<>& named_barrier(int number, int count) {
        const std::lock_guard<std::mutex> lock(mutex);
        if (!named[number]) named[number] = std::make_unique<std::barrier<>>(counts[number] = count);
        if (counts[number] != count) std::abort();  // threads disagree about who is to come
        return *named[number];
    }
    std::barrier<> barrier;
    std::mutex mutex;
    std::unique_ptr<std::barrier<>> named[16];
    int counts[16];
    std::vector<Line> shared;  // dynamic shared memory
    std::vector<std::unique_ptr<Warp>> warps;
};
inline thread_local Index threadIdx, blockIdx, gridDim;
inline thread_local Block* this_block;
inline std::mutex atomic_mutex;

inline Warp& this_warp() { return *this_block->warps[threadIdx.x / 32]; }
inline void __syncthreads() { this_block->barrier.arrive_and_wait(); }
inline void __threadfence() { std::atomic_thread_fence(std::memory_order_seq_cst); }
template <class T> T atomicOr(T* p, T v) {
    const std::lock_guard<std::mutex> lock(atomic_mutex);
    const T old = *p;
    *p |= v;
    return old;
}
template <class Number> inline Number atomicAdd(Number* p, Number v) {
    const std::lock_guard<std::mutex> lock(atomic_mutex);
    const Number old = *p;
    *p += v;
    return old;
}
template <class T> T __shfl_sync(unsigned, T v, int lane) {
    Warp& warp = this_warp();
    std::memcpy(&warp.values[threadIdx.x % 32], &v, sizeof v);
    warp.barrier.arrive_and_wait();
    T other;
    std::memcpy(&other, &warp.values[lane], sizeof other);
    warp.barrier.arrive_and_wait();
    return other;
}
inline float __shfl_xor_sync(unsigned lanes, float v, int mask) { return __shfl_sync(lanes, v, threadIdx.x % 32 ^ mask); }
inline unsigned __float_as_uint(float v) { unsigned bits; std::memcpy(&bits, &v, 4); return bits; }
inline float __uint_as_float(unsigned bits) { float v; std::memcpy(&v, &bits, 4); return v; }
inline float __expf(float v) { return std::exp(v); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline int __float2int_rn(float a) { return int(std::nearbyint(a)); }
using std::fmaf;
using std::fmaxf;
using std::fminf;

// Blocks [first, end) of a grid at the same time.
template <class Kernel>
void run_blocks(unsigned first, unsigned end, unsigned grid, unsigned threads, std::size_t shared, Kernel kernel) {
    std::vector<std::unique_ptr<Block>> blocks;
    std::vector<std::thread> all;
    for (unsigned number = first; number < end; ++number) {
        blocks.push_back(std::make_unique<Block>(threads, shared));
        for (unsigned t = 0; t < threads; ++t) {
            all.emplace_back([=, block = blocks.back().get()] {
                threadIdx.x = t;
                blockIdx.x = number;
                gridDim.x = grid;
                this_block = block;
                kernel();
            });
        }
    }
    for (std::thread& thread : all) thread.join();
}
// `backwards`: the last block first, as a GPU may run them in any order.
template <class Kernel> void run_grid(long long blocks, unsigned threads, Kernel kernel, bool backwards = false) {
    for (long long i = 0; i < blocks; ++i) {
        const unsigned block = unsigned(backwards ? blocks - 1 - i : i);
        run_blocks(block, block + 1, unsigned(blocks), threads, 0, kernel);
    }
}
