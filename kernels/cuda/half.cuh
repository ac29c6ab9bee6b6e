// A float16 number as a float. No header of CUDA is included: NVRTC then needs nothing but itself on the user's
// machine. The tests' emulation defines C2T_EMULATED and a function of the same name.
#pragma once

#ifndef C2T_EMULATED
__device__ inline float half_value(unsigned short bits) {
    float wide;
    asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(bits));
    return wide;
}
#endif
