// Rank-value encoding with NEON, which every 64-bit Arm processor has. It divides doubles and sorts: there is no product
// of int8 numbers for dot-product instructions (SDOT).
#include <arm_neon.h>

#include <cstring>
#include <limits>

#include "../implementations.h"

namespace {
#include "rank_known.inl"

struct Doubles { float64x2_t low, high; };

inline Doubles doubles(const float* p) {
    const float32x4_t v = vld1q_f32(p);
    return {vcvt_f64_f32(vget_low_f32(v)), vcvt_high_f64_f32(v)};
}
inline Doubles doubles(const double* p) { return {vld1q_f64(p), vld1q_f64(p + 2)}; }
inline Doubles doubles(const int32_t* p) {
    const int32x4_t v = vld1q_s32(p);
    return {vcvtq_f64_s64(vmovl_s32(vget_low_s32(v))), vcvtq_f64_s64(vmovl_high_s32(v))};
}
inline Doubles doubles(const int64_t* p) { return {vcvtq_f64_s64(vld1q_s64(p)), vcvtq_f64_s64(vld1q_s64(p + 2))}; }

// NEON cannot gather: lanes are loaded one by one.
template <class Index> inline int32x4_t gather(const int32_t* table, const Index* at) {
    int32x4_t v = vld1q_dup_s32(table + at[0]);
    v = vld1q_lane_s32(table + at[1], v, 1);
    v = vld1q_lane_s32(table + at[2], v, 2);
    return vld1q_lane_s32(table + at[3], v, 3);
}
template <class Index> inline Doubles gather(const double* table, const Index* at) {
    return {vcombine_f64(vld1_f64(table + at[0]), vld1_f64(table + at[1])),
            vcombine_f64(vld1_f64(table + at[2]), vld1_f64(table + at[3]))};
}

// Nor can it compress: row m lists the bytes of those of four tokens whose bits are set in m, in order.
struct KeptBytes { uint8_t row[16][16]; };
constexpr KeptBytes list_kept_bytes() {
    KeptBytes bytes{};
    for (int mask = 0; mask < 16; ++mask) {
        for (int byte = 0, n = 0; byte < 16; ++byte) {
            if (mask >> (byte / 4) & 1) bytes.row[mask][n++] = static_cast<uint8_t>(byte);
        }
    }
    return bytes;
}
constexpr KeptBytes kKeptBytes = list_kept_bytes();

// Store those of two keys whose bits are set in `keep`, in order, and maybe others behind them. Returns how many.
inline int64_t store_kept(uint64_t* to, float64x2_t ratio, uint32_t keep) {
    const uint64x2_t key = vreinterpretq_u64_f64(ratio);
    vst1q_lane_u64(to, key, 0);
    vst1q_lane_u64(to + (keep & 1), key, 1);
    return (keep & 1) + (keep >> 1);
}

// As known_one_by_one, four entries at a time. Vectors are stored whole: kSpill leaves room for that.
template <class Value, class Index>
int64_t known_entries(const c2t_rank_args& a, const Value* data, const Index* columns, int64_t stored, const RankScratch& s) {
    const uint32_t bit_of_lane[4] = {1, 2, 4, 8};
    const uint32x4_t bits = vld1q_u32(bit_of_lane);
    int64_t n = 0, i = 0;
    for (; i + 4 <= stored; i += 4) {
        const Doubles x = doubles(data + i);
        const Doubles median = gather(a.column_median, columns + i);
        const int32x4_t token = gather(a.column_token, columns + i);
        const uint32x4_t above_zero = vcombine_u32(vmovn_u64(vcgtzq_f64(x.low)), vmovn_u64(vcgtzq_f64(x.high)));
        const uint32_t keep = vaddvq_u32(vandq_u32(vandq_u32(vcgezq_s32(token), above_zero), bits));
        const uint8x16_t kept = vqtbl1q_u8(vreinterpretq_u8_s32(token), vld1q_u8(kKeptBytes.row[keep]));
        vst1q_u32(s.token + n, vreinterpretq_u32_u8(kept));
        n += store_kept(s.key + n, vdivq_f64(x.low, median.low), keep & 3);
        n += store_kept(s.key + n, vdivq_f64(x.high, median.high), keep >> 2);
    }
    return known_one_by_one(a, data, columns, i, stored, s, n);
}

#include "rank_value.inl"
}  // namespace

void c2t_neon::rank_cells(const c2t_rank_args& args, int64_t first, int64_t last, const RankScratch& scratch) {
    rank_any(args, first, last, scratch);
}
