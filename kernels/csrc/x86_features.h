// Which instruction sets of the kernels this x86-64 processor has, and its system keeps the registers of.
//
// __builtin_cpu_supports() is no help: the library that Zig links, with which wheels are built, answers "none" always.
#pragma once
#include <cpuid.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

struct X86Features { bool avx2, avx512, vnni, amx; };

inline X86Features x86_features() {
    unsigned eax, ebx, ecx, edx, enabled, upper;
    constexpr unsigned first = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & first) != first) return {};
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return {};
    __asm__("xgetbv" : "=a"(enabled), "=d"(upper) : "c"(0));
    const auto keeps = [&](unsigned registers) { return (enabled & registers) == registers; };
    constexpr unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    constexpr unsigned vnni = 1u << 11, amx = 1u << 24 | 1u << 25;  // AVX512_VNNI; AMX-TILE and AMX-INT8
    const bool has_avx2 = (ebx & bit_AVX2) && keeps(0x06);
    const bool has_avx512 = has_avx2 && (ebx & avx512) == avx512 && keeps(0xE6);
    const bool has_vnni = has_avx512 && (ecx & vnni);
    return {has_avx2, has_avx512, has_vnni, has_vnni && (edx & amx) == amx && keeps(0x60000)};
}

// Whether this process may use tiles: Linux gives their registers only to those that ask, and to all of their threads.
inline bool tiles_allowed() {
#if defined(__linux__)
    constexpr long request = 0x1023, tile_data = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
    static const bool allowed = syscall(SYS_arch_prctl, request, tile_data) == 0;
    return allowed;
#else
    return false;
#endif
}
