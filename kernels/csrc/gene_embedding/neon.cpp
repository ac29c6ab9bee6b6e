// Gene embedding with NEON, which every 64-bit Arm processor has: eight floats at a time, in two registers.
//
// No FMA: products and sums are rounded as in scalar.cpp, so that the results have its bits. The sums are
// floats, and int8 tables are scaled first: there is no product of int8 numbers for dot-product instructions (SDOT).
#include <arm_neon.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#include "../implementations.h"

namespace {
#include "storage.inl"

constexpr int64_t kLanes = 8;
struct Vector { float32x4_t low, high; };

inline Vector broadcast(float v) { return {vdupq_n_f32(v), vdupq_n_f32(v)}; }
inline Vector zero() { return broadcast(0.0f); }
inline Vector add(Vector a, Vector b) { return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)}; }
inline Vector subtract(Vector a, Vector b) { return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)}; }
inline Vector multiply(Vector a, Vector b) { return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)}; }
inline Vector multiply_add(Vector a, Vector b, Vector c) { return add(multiply(a, b), c); }
inline float sum(Vector v) {
    const float32x4_t four = vaddq_f32(v.low, v.high);
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

inline Vector load(const float* p) { return {vld1q_f32(p), vld1q_f32(p + 4)}; }
inline Vector load(const Half* p) {
    const float16x8_t halves = vreinterpretq_f16_u16(vld1q_u16(&p->bits));
    return {vcvt_f32_f16(vget_low_f16(halves)), vcvt_high_f32_f16(halves)};
}
inline Vector load(const int8_t* p) {
    const int16x8_t numbers = vmovl_s8(vld1_s8(p));
    return {vcvtq_f32_s32(vmovl_s16(vget_low_s16(numbers))), vcvtq_f32_s32(vmovl_high_s16(numbers))};
}

inline void store(Vector v, float* p, float) {
    vst1q_f32(p, v.low);
    vst1q_f32(p + 4, v.high);
}
inline void store(Vector v, Half* p, float) {
    const uint16x8_t bits = vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(v.low), v.high));
    // The conversion keeps the sign and part of the payload of a NaN; narrow() keeps the sign only.
    const uint16x8_t magnitude = vandq_u16(bits, vdupq_n_u16(0x7FFF));
    const uint16x8_t nan = vcgtq_u16(magnitude, vdupq_n_u16(0x7C00));
    const uint16x8_t quiet = vorrq_u16(veorq_u16(bits, magnitude), vdupq_n_u16(0x7E00));
    vst1q_u16(&p->bits, vbslq_u16(nan, quiet, bits));
}
inline uint16x4_t rounded_to_bfloat16(float32x4_t v) {
    const uint32x4_t bits = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint16x4_t rounded = vaddhn_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7FFF)));
    return vbsl_u16(vmovn_u32(vceqq_f32(v, v)), rounded, vdup_n_u16(0x7FC0));  // a NaN does not equal itself
}
inline void store(Vector v, BFloat16* p, float) {
    vst1_u16(&p->bits, rounded_to_bfloat16(v.low));
    vst1_u16(&p->bits + 4, rounded_to_bfloat16(v.high));
}
inline int16x4_t int8_steps(float32x4_t v, float32x4_t scale) {
    v = vdivq_f32(v, scale);
    v = vminq_f32(vmaxq_f32(v, vdupq_n_f32(-128.0f)), vdupq_n_f32(127.0f));
    return vmovn_s32(vcvtnq_s32_f32(v));  // to nearest, ties to even
}
inline void store(Vector v, int8_t* p, float scale) {
    const float32x4_t scales = vdupq_n_f32(scale);
    vst1_s8(p, vmovn_s16(vcombine_s16(int8_steps(v.low, scales), int8_steps(v.high, scales))));
}
#include "gene_embedding.inl"
}  // namespace

void c2t_neon::embed_block(const c2t_embed_args& args, int64_t block, float* row) { embed_any(args, block, row); }
