// INT8 attention for any processor, one query in a "vector": what the other forms are compared with. ONNX Runtime's own
// attention is faster than this.
#include <algorithm>
#include <cstring>
#include <limits>

#include "attention.h"

namespace {

struct Vector {
    static constexpr int64_t kLanes = 1, kGroup = 4, kRows = 4, kKeyStep = 8;
    static constexpr int32_t kOffset = 128;
    using Query = uint8_t;
    using Integer = int8_t;
    using Floats = float;
    using Integers = int32_t;

    static Floats all(float x) { return x; }
    static Floats load(const float* p) { return *p; }
    static void store(float* p, Floats x) { *p = x; }
    static Floats add(Floats a, Floats b) { return a + b; }
    static Floats sub(Floats a, Floats b) { return a - b; }
    static Floats mul(Floats a, Floats b) { return a * b; }
    static Floats max(Floats a, Floats b) { return a > b ? a : b; }
    static Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
    static bool any_less(Floats a, Floats b) { return a < b; }
    static Floats to_floats(Integers x) { return static_cast<float>(x); }
    static Integers zero() { return 0; }
    static Integers load(const void* p) { return repeat(p); }
    static Integers repeat(const void* p) {
        Integers x;
        std::memcpy(&x, p, 4);
        return x;
    }
    static Integers dot(Integers sum, Integers unsigned_, Integers signed_) {
        uint8_t a[kGroup];
        int8_t b[kGroup];
        std::memcpy(a, &unsigned_, kGroup);
        std::memcpy(b, &signed_, kGroup);
        for (int64_t i = 0; i < kGroup; ++i) sum += a[i] * b[i];
        return sum;
    }
    static void turn(const float* from, int64_t, float* to, int64_t) { *to = *from; }
    // y * 2^n, where `shifted` is 1.5 * 2^23 + n.
    static Floats add_exponent(Floats y, Floats shifted) {
        uint32_t bits, n;
        std::memcpy(&bits, &y, 4);
        std::memcpy(&n, &shifted, 4);
        bits += n << 23;
        std::memcpy(&y, &bits, 4);
        return y;
    }
    // The lowest byte of each of four integers that were added to 2^23.
    static void store_low_bits(int32_t* p, const Floats (&x)[kGroup]) {
        uint32_t all = 0;
        for (int64_t i = 0; i < kGroup; ++i) {
            uint32_t bits;
            std::memcpy(&bits, &x[i], 4);
            all |= (bits & 0xff) << (8 * i);
        }
        std::memcpy(p, &all, 4);
    }
};

#define C2T_ATTENTION_PRODUCTS "products.inl"
#define C2T_PROBABILITIES "probabilities.inl"
#include "attention.inl"
}  // namespace

const AttentionKernel c2t_scalar::attention{kLayout, kQueries, pack, attend};
