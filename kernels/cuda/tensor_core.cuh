// PTX instructions of sm_80 and later that CUDA C++ does not offer without a header: tensor cores, asynchronous copies,
// named barriers, memory order. No header of CUDA is included: NVRTC then needs nothing but itself on the user's machine.
// The tests' emulation defines C2T_EMULATED and functions of the same names.

#pragma once

#include "cuda/half.cuh"

struct __align__(16) Words {  // 16 bytes: the widest load and store of a thread
    unsigned x, y, z, w;
};

#ifndef C2T_EMULATED

// sum[16 columns][8 rows] += a[16 columns][16 inputs] b[8 rows][16 inputs], float16 in, float32 sums; PTX ISA,
// "mma.m16n8k16". `volatile` keeps it before the asynchronous copies that overwrite the shared memory it reads from.
__device__ inline void multiply_add(float sum[4], const Words& a, unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b0), "r"(b1));
}

// The block's dynamic shared memory.
__device__ inline Words* shared_memory() {
    extern __shared__ Words shared[];
    return shared;
}

// Start to copy 16 bytes to shared memory, past the L1 cache.
__device__ inline void copy_async(Words* shared, const Words* global) {
    const unsigned address = unsigned(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
}
// The copies that this thread has started since its last commit form a group.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Wait until at most N of this thread's groups are still being copied.
template <int N> __device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

// A named barrier of the block, for `count` threads: those that arrive do not wait for the others, those that wait do.
__device__ inline void arrive_at(int barrier, int count) {
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(count) : "memory");
}
__device__ inline void wait_at(int barrier, int count) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(count) : "memory");
}

// Read from the L2 cache, which all multiprocessors share. The L1 cache of this one may hold a line from before another
// block wrote it.
__device__ inline Words load_from_l2(const Words* p) {
    Words v;
    asm volatile("ld.global.cg.v4.u32 {%0,%1,%2,%3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(p)
                 : "memory");
    return v;
}
// Add to a counter with release order. Whoever reads the sum with load_acquire also sees what this thread wrote before,
// and what other threads wrote before they met this one at a barrier.
__device__ inline void add_release(unsigned* p, unsigned v) {
    asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(p), "r"(v) : "memory");
}
__device__ inline unsigned load_acquire(const unsigned* p) {
    unsigned v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
    return v;
}

// Two float16 numbers in a word, the first in its low half.
__device__ inline unsigned pack_halves(float low, float high) {
    unsigned both;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(high), "f"(low));
    return both;
}
// Four bytes chosen from the eight of two words: each digit of SELECTOR, the last one first, is the number of a byte.
template <unsigned SELECTOR> __device__ inline unsigned choose_bytes(unsigned first, unsigned second) {
    unsigned chosen;
    asm("prmt.b32 %0, %1, %2, %3;" : "=r"(chosen) : "r"(first), "r"(second), "n"(SELECTOR));
    return chosen;
}
// Differences of two float16 numbers each.
__device__ inline unsigned subtract_halves(unsigned from, unsigned what) {
    unsigned difference;
    asm("sub.f16x2 %0, %1, %2;" : "=r"(difference) : "r"(from), "r"(what));
    return difference;
}

#endif

// The first or the last two of four bytes, each 128 more than its number, as float16 numbers. The float16 number
// with the bytes 0x64 and b is 1024 + b; 0x6480 is 1024 + 128. So nothing is rounded.
template <bool LAST> __device__ inline unsigned halves_of_bytes(unsigned bytes) {
    return subtract_halves(choose_bytes<LAST ? 0x4342 : 0x4140>(bytes, 0x64646464), 0x64806480);
}

__device__ inline float low_half(unsigned both) { return half_value((unsigned short)(both & 0xFFFF)); }
__device__ inline float high_half(unsigned both) { return half_value((unsigned short)(both >> 16)); }
