// Which instruction sets of the kernels this x86-64 processor has, and its system keeps the registers of.
//
// __builtin_cpu_supports() is no help: the library that Zig links, with which wheels are built, answers "none" always.
#pragma once
#include <cpuid.h>

struct X86Features { bool avx2, avx512; };

inline X86Features x86_features() {
    unsigned eax, ebx, ecx, edx, enabled, upper;
    constexpr unsigned first = bit_OSXSAVE | bit_AVX | bit_FMA | bit_F16C;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) || (ecx & first) != first) return {false, false};
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return {false, false};
    __asm__("xgetbv" : "=a"(enabled), "=d"(upper) : "c"(0));
    constexpr unsigned avx_registers = 0x06, avx512_registers = 0xE6;
    constexpr unsigned avx512 = bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL;
    const bool has_avx2 = (ebx & bit_AVX2) && (enabled & avx_registers) == avx_registers;
    return {has_avx2, has_avx2 && (ebx & avx512) == avx512 && (enabled & avx512_registers) == avx512_registers};
}
