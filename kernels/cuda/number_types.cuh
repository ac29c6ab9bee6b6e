// Storage types of CUDA sources, chosen by macros, and their conversions from and to float.
//   C2T_TABLE   Table: 0 float32, 1 float16, 3 int8
//   C2T_OUT     Out:   0 float32, 1 float16, 2 bfloat16; a source that has others defines them itself
// No header of CUDA is included: NVRTC then needs nothing but itself on the user's machine.

#include "cuda/half.cuh"

#if C2T_TABLE == 0
typedef float Table;
__device__ inline float widen(Table v) { return v; }
#elif C2T_TABLE == 1
typedef unsigned short Table;
__device__ inline float widen(Table v) { return half_value(v); }
#else
typedef signed char Table;
__device__ inline float widen(Table v) { return float(v); }
#endif

#ifdef C2T_OUT
#if C2T_OUT == 0
typedef float Out;
__device__ inline Out narrow(float v) { return v; }
#elif C2T_OUT == 1
typedef unsigned short Out;
__device__ inline Out narrow(float v) {
    Out half;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(half) : "f"(v));
    return half;
}
#elif C2T_OUT == 2
typedef unsigned short Out;
__device__ inline Out narrow(float v) {
    const unsigned bits = __float_as_uint(v);
    return v != v ? Out(0x7FC0) : Out((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}
#endif
#endif
