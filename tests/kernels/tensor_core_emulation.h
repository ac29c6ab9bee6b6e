// The machine's instructions below CUDA C++ (kernels/tensor_core.cuh) as host C++: lanes of a warp exchange their numbers.
#pragma once
#include <chrono>

#include "cuda_emulation.h"

inline float half_value(unsigned short);
#define C2T_EMULATED
#define __align__(n) alignas(n)
#include "cuda/tensor_core.cuh"

inline Words* shared_memory() { return (Words*)this_block->shared.data(); }
inline float half_value(unsigned short bits) {
    _Float16 half;
    std::memcpy(&half, &bits, 2);
    return float(half);
}
inline unsigned pack_halves(float low, float high) {
    const _Float16 both[2] = {_Float16(low), _Float16(high)};
    unsigned word;
    std::memcpy(&word, both, 4);
    return word;
}
inline void multiply_add(float sum[4], const Words& a, unsigned b0, unsigned b1) {
    Warp& warp = this_warp();
    const unsigned lane = threadIdx.x % 32, mine[6] = {a.x, a.y, a.z, a.w, b0, b1};
    std::memcpy(warp.words[lane], mine, sizeof mine);
    warp.barrier.arrive_and_wait();
    for (int i = 0; i < 4; ++i) {
        const unsigned column = lane / 4, row = lane % 4 * 2 + i % 2;  // and 8 columns further
        for (unsigned k = 0; k < 16; ++k) {
            const unsigned* w = warp.words[column * 4 + k % 8 / 2];
            const unsigned left = w[(k / 8) * 2 + i / 2], right = warp.words[row * 4 + k % 8 / 2][4 + k / 8];
            sum[i] += (k % 2 ? high_half(left) : low_half(left)) * (k % 2 ? high_half(right) : low_half(right));
        }
    }
    warp.barrier.arrive_and_wait();
}

inline void arrive_at(int barrier, int count) { (void)this_block->named_barrier(barrier, count).arrive(); }
inline void wait_at(int barrier, int count) { this_block->named_barrier(barrier, count).arrive_and_wait(); }
inline void copy_async(Words* shared, const Words* global) { *shared = *global; }
inline void commit_copies() {}
template <int N> inline void wait_for_copies() {}
template <class T> inline T load_shared_by_blocks(const T* p) { return *p; }
// Every other block is late after each wait, so that who reads its numbers too early does not find them.
inline unsigned load_acquire(const unsigned* p) {
    if (blockIdx.x % 2) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}
inline void add_release(unsigned* p, unsigned v) { __atomic_fetch_add(p, v, __ATOMIC_RELEASE); }
