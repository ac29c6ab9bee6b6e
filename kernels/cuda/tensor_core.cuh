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

// The same of bytes with a sign, 32 inputs at a time and exact sums; "mma.m16n8k32". Of its inputs a lane holds eight that
// follow each other, as it holds four of the one above: both operands may have their inputs in any order, if it is one.
__device__ inline void multiply_add(int sum[4], const Words& a, unsigned b0, unsigned b1) {
    asm volatile("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+r"(sum[0]), "+r"(sum[1]), "+r"(sum[2]), "+r"(sum[3])
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
// Four integers as bytes with a sign, saturated, the first in the lowest.
__device__ inline unsigned pack_bytes(int first, int second, int third, int fourth) {
    unsigned high, all;
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, 0;" : "=r"(high) : "r"(fourth), "r"(third));
    asm("cvt.pack.sat.s8.s32.b32 %0, %1, %2, %3;" : "=r"(all) : "r"(second), "r"(first), "r"(high));
    return all;
}
// Add to a number in shared memory.
__device__ inline void add_to_shared(int* shared, int v) {
    const unsigned address = unsigned(__cvta_generic_to_shared(shared));
    asm volatile("red.shared.add.s32 [%0], %1;" ::"r"(address), "r"(v) : "memory");
}

#endif

__device__ inline float low_half(unsigned both) { return half_value((unsigned short)(both & 0xFFFF)); }
__device__ inline float high_half(unsigned both) { return half_value((unsigned short)(both >> 16)); }
