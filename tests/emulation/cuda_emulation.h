// Just enough of CUDA to run the kernels' device code as host C++. It shows that the algorithm is right, not that a GPU
// runs it.
//
// CUDA threads are fibers of one host thread: a fiber runs until it must wait, and another goes on. The order is drawn at
// random (with a fixed seed), warp by warp. Every other block is late: after each signal that it waits for, it goes on
// only when the other blocks can go no further, so that they meet numbers that are not written yet if they do not wait
// for them. Those blocks' asynchronous copies are late as well: they are made only when they are waited for. Memory that
// a block shares begins as NaN. A kernel that waits for ever is an error.
#pragma once
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __global__
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define C2T_EMULATED

struct Index { unsigned x; };
inline Index threadIdx, blockIdx, gridDim;

struct HostGrid {
    unsigned blocks, threads, shared_bytes;
    bool together;   // all blocks at once, as in a cooperative launch; else one after another
    bool backwards;  // the last block first
};

struct HostBarrier {
    unsigned expected = 0, arrived = 0, round = 0;
    void arrive() {
        if (++arrived == expected) {
            arrived = 0;
            ++round;
        }
    }
};
struct HostCopy {
    void* to;
    const void* from;
    int bytes;
};
struct HostWarp {
    HostBarrier barrier;
    unsigned words[32][6];  // what lanes exchange
};
struct HostBlock {
    unsigned number;
    bool is_late, sleeps = false;
    HostBarrier barrier, named[16];
    std::vector<HostWarp> warps;
    std::vector<unsigned char> shared;  // dynamic shared memory, with room to align it
    void* shared_memory() { return (void*)((std::size_t(shared.data()) + 15) / 16 * 16); }
};
struct Fiber {
    HostBlock* block;
    unsigned thread;
    const std::function<void()>* kernel;
    std::unique_ptr<char[]> stack;
    ucontext_t begin;
    jmp_buf where;
    bool started = false, ended = false;
    const HostBarrier* barrier = nullptr;  // that it waits at, since this round
    unsigned round = 0;
    const unsigned* counter = nullptr;  // that it read last, and what it read
    unsigned seen = 0;
    bool polls = false;
    std::vector<HostCopy> started_copies;
    std::vector<std::vector<HostCopy>> committed_copies;

    bool can_run() const {
        return !ended && !block->sleeps && !(barrier && barrier->round == round) && !(polls && *counter == seen);
    }
};
inline Fiber* current;
inline jmp_buf scheduler;
inline const char* problem;  // what the kernel does wrong; null: nothing
constexpr std::size_t kStackBytes = 1 << 17;

inline HostWarp& this_warp() { return current->block->warps[current->thread / 32]; }

inline void go_on_elsewhere() {
    if (!_setjmp(current->where)) _longjmp(scheduler, 1);
}
inline void wait_in(HostBarrier& barrier) {
    current->counter = nullptr;
    current->barrier = &barrier;
    current->round = barrier.round;
    barrier.arrive();
    if (barrier.round == current->round) go_on_elsewhere();
    current->barrier = nullptr;
}
inline void begin_fiber() {
    (*current->kernel)();
    current->ended = true;
    _longjmp(scheduler, 1);
}
inline void run(Fiber& fiber) {
    current = &fiber;
    threadIdx.x = fiber.thread;
    blockIdx.x = fiber.block->number;
    if (_setjmp(scheduler)) return;
    if (fiber.started) _longjmp(fiber.where, 1);
    fiber.started = true;
    getcontext(&fiber.begin);
    fiber.begin.uc_stack.ss_sp = fiber.stack.get();
    fiber.begin.uc_stack.ss_size = kStackBytes;
    fiber.begin.uc_link = nullptr;
    makecontext(&fiber.begin, begin_fiber, 0);
    setcontext(&fiber.begin);
}

inline void run_together(const HostGrid& grid, unsigned first, unsigned end, const std::function<void()>& kernel) {
    static std::mt19937 draw(0);
    std::vector<std::unique_ptr<HostBlock>> blocks;
    std::vector<std::vector<Fiber>> warps;
    for (unsigned number = first; number < end; ++number) {
        blocks.push_back(std::make_unique<HostBlock>());
        HostBlock& block = *blocks.back();
        block.number = number;
        block.is_late = number % 2;
        block.barrier.expected = grid.threads;
        block.warps.resize((grid.threads + 31) / 32);
        block.shared.assign(grid.shared_bytes + 16, 0xFF);
        for (unsigned w = 0; w < block.warps.size(); ++w) {
            const unsigned lanes = std::min(32u, grid.threads - w * 32);
            block.warps[w].barrier.expected = lanes;
            warps.emplace_back(lanes);
            for (unsigned lane = 0; lane < lanes; ++lane) {
                Fiber& fiber = warps.back()[lane];
                fiber.block = &block;
                fiber.thread = w * 32 + lane;
                fiber.kernel = &kernel;
                fiber.stack.reset(new char[kStackBytes]);
            }
        }
    }
    std::size_t left = std::size_t(grid.threads) * (end - first);
    while (left) {
        bool went_on = false;
        std::shuffle(warps.begin(), warps.end(), draw);
        for (auto& warp : warps) {
            for (bool again = true; again;) {
                again = false;
                for (Fiber& fiber : warp) {
                    if (!fiber.can_run()) continue;
                    run(fiber);
                    again = went_on = true;
                    left -= fiber.ended;
                }
            }
        }
        if (went_on) continue;
        bool woke = false;
        for (auto& block : blocks) woke |= std::exchange(block->sleeps, false);
        if (!woke && left) {
            problem = "the kernel waits for ever";
            return;
        }
    }
}
inline void run_grid(const HostGrid& grid, const std::function<void()>& kernel) {
    gridDim.x = grid.blocks;
    if (grid.together) return run_together(grid, 0, grid.blocks, kernel);
    for (unsigned i = 0; i < grid.blocks; ++i) {
        const unsigned block = grid.backwards ? grid.blocks - 1 - i : i;
        run_together(grid, block, block + 1, kernel);
    }
}

// CUDA C++.
inline void __syncthreads() { wait_in(current->block->barrier); }
inline void __threadfence() {}
template <class T> T atomicOr(T* p, T v) { return std::exchange(*p, *p | v); }
template <class T> T atomicAdd(T* p, T v) { return std::exchange(*p, *p + v); }
template <class T> T __shfl_sync(unsigned, T v, int lane) {
    static_assert(sizeof v == 4);
    HostWarp& warp = this_warp();
    std::memcpy(&warp.words[threadIdx.x % 32], &v, 4);
    wait_in(warp.barrier);
    std::memcpy(&v, &warp.words[lane], 4);
    wait_in(warp.barrier);
    return v;
}
inline float __shfl_xor_sync(unsigned lanes, float v, int mask) { return __shfl_sync(lanes, v, threadIdx.x % 32 ^ mask); }
inline unsigned __float_as_uint(float v) { unsigned bits; std::memcpy(&bits, &v, 4); return bits; }
inline float __uint_as_float(unsigned bits) { float v; std::memcpy(&v, &bits, 4); return v; }
inline float __expf(float v) { return std::exp(v); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float rsqrtf(float a) { return 1.0f / std::sqrt(a); }
inline int __float2int_rn(float a) {  // saturated; 0 of NaN
    return a != a ? 0 : int(std::clamp(std::nearbyint(double(a)), -2147483648.0, 2147483647.0));
}
using std::fmaf;
using std::fmaxf;
using std::fminf;

// Float16 and the PTX instructions of kernels/cuda/tensor_core.cuh.
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
inline unsigned pack_bytes(int first, int second, int third, int fourth) {
    const auto byte = [](int v) { return unsigned(std::clamp(v, -128, 127)) & 0xFF; };
    return byte(first) | byte(second) << 8 | byte(third) << 16 | byte(fourth) << 24;
}
inline void add_to_shared(int* shared, int v) { *shared += v; }
struct Words;
inline Words* shared_memory() { return (Words*)current->block->shared_memory(); }
inline HostBarrier& named_barrier(int number, int count) {
    HostBarrier& barrier = current->block->named[number];
    if (!barrier.expected) barrier.expected = count;
    if (barrier.expected != unsigned(count)) problem = "threads disagree about how many meet at a barrier";
    return barrier;
}
inline void arrive_at(int barrier, int count) { named_barrier(barrier, count).arrive(); }
inline void wait_at(int barrier, int count) { wait_in(named_barrier(barrier, count)); }
template <class T> T load_from_l2(const T* p) { return *p; }
inline void add_release(unsigned* p, unsigned v) { *p += v; }
// A fiber that reads the same number again, with no barrier between, waits until another fiber has changed it.
inline unsigned load_acquire(const unsigned* p) {
    if (current->block->is_late) {
        current->block->sleeps = true;
        go_on_elsewhere();
    }
    if (current->counter == p && current->seen == *p) {
        current->polls = true;
        go_on_elsewhere();
        current->polls = false;
    }
    current->counter = p;
    return current->seen = *p;
}
inline void make_copies(const std::vector<HostCopy>& copies) {
    for (const HostCopy& copy : copies) std::memcpy(copy.to, copy.from, copy.bytes);
}
template <class T> void copy_async(T* shared, const T* global) {
    current->started_copies.push_back({shared, global, sizeof(T)});
    if (!current->block->is_late) make_copies(current->started_copies), current->started_copies.clear();
}
inline void commit_copies() {
    current->committed_copies.push_back(std::move(current->started_copies));
    current->started_copies.clear();
}
template <int N> void wait_for_copies() {
    auto& groups = current->committed_copies;
    while (groups.size() > N) {
        make_copies(groups.front());
        groups.erase(groups.begin());
    }
}
// The operands of an instruction, of all lanes of a warp: four words of 16 columns, two of 8 rows.
template <class T, class Add> void with_operands(const T& a, unsigned b0, unsigned b1, Add add) {
    HostWarp& warp = this_warp();
    const unsigned lane = threadIdx.x % 32, mine[6] = {a.x, a.y, a.z, a.w, b0, b1};
    std::memcpy(warp.words[lane], mine, sizeof mine);
    wait_in(warp.barrier);
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned column = lane / 4, row = lane % 4 * 2 + i % 2;  // and, for i > 1, 8 columns further
        for (unsigned word = 0; word < 8; ++word) {  // of a quarter and a half of the inputs
            const unsigned lanes_inputs = word % 4, half = word / 4;
            add(i, warp.words[column * 4 + lanes_inputs][half * 2 + i / 2], warp.words[row * 4 + lanes_inputs][4 + half]);
        }
    }
    wait_in(warp.barrier);
}
template <class T> void multiply_add(float sum[4], const T& a, unsigned b0, unsigned b1) {
    const auto half = [](unsigned both, int k) { return half_value((unsigned short)(both >> 16 * k)); };
    with_operands(a, b0, b1, [&](unsigned i, unsigned left, unsigned right) {
        for (int k = 0; k < 2; ++k) sum[i] += half(left, k) * half(right, k);
    });
}
template <class T> void multiply_add(int sum[4], const T& a, unsigned b0, unsigned b1) {
    with_operands(a, b0, b1, [&](unsigned i, unsigned left, unsigned right) {
        for (int k = 0; k < 32; k += 8) sum[i] += int((signed char)(left >> k)) * int((signed char)(right >> k));
    });
}
