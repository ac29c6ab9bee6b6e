// Gene embedding for any processor: eight plain floats at a time, which the compiler vectorises as it can.
#include <cmath>
#include <cstring>
#include <type_traits>

#include "../implementations.h"

namespace {
#include "storage.inl"

constexpr int64_t kLanes = 8;
struct Vector { float lane[kLanes]; };

template <class F> inline Vector each(F f) {
    Vector r;
    for (int64_t i = 0; i < kLanes; ++i) r.lane[i] = f(i);
    return r;
}
inline Vector broadcast(float v) { return each([&](int64_t) { return v; }); }
inline Vector zero() { return broadcast(0.0f); }
inline Vector add(const Vector& a, const Vector& b) { return each([&](int64_t i) { return a.lane[i] + b.lane[i]; }); }
inline Vector subtract(const Vector& a, const Vector& b) { return each([&](int64_t i) { return a.lane[i] - b.lane[i]; }); }
inline Vector multiply(const Vector& a, const Vector& b) { return each([&](int64_t i) { return a.lane[i] * b.lane[i]; }); }
inline Vector multiply_add(const Vector& a, const Vector& b, const Vector& c) {
    return each([&](int64_t i) { return a.lane[i] * b.lane[i] + c.lane[i]; });
}
// In pairs, as vector units add: NEON, which has no FMA here either, gives the same bits.
inline float sum(const Vector& a) {
    const auto four = [&](int64_t i) { return a.lane[i] + a.lane[i + 4]; };
    return (four(0) + four(2)) + (four(1) + four(3));
}
template <class T> inline Vector load(const T* p) { return each([&](int64_t i) { return widen(p[i]); }); }
template <class T> inline void store(const Vector& v, T* p, float scale) {
    for (int64_t i = 0; i < kLanes; ++i) narrow(v.lane[i], p + i, scale);
}
#include "gene_embedding.inl"
}  // namespace

void c2t_scalar::embed_block(const c2t_embed_args& args, int64_t block, float* row) { embed_any(args, block, row); }
