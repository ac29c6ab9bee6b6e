// Compares what AVX-512 kernels do in place of divisions with plain divisions: the int8 of quotients, as the linears'
// inputs are quantised, and reciprocals. Prints how many quotients were compared, how many of them a product alone would
// have rounded to another number, and how many reciprocals; exits with 1 at a difference.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>

namespace {
#include "linears/isa/vector_avx512.inl"

int64_t compared = 0, close = 0, reciprocals = 0;

void compare(const float (&x)[16], float scale) {
    Activation found[16];
    const float inverse = 1.0f / scale;
    store_quotient(found, load(x), broadcast(scale), broadcast(inverse));
    for (int i = 0; i < 16; ++i) {
        Activation expected[16];
        store_int8(expected, broadcast(x[i] / scale));
        if (found[i] != expected[0]) {
            std::printf("%a / %a is %d, not %d\n", x[i], scale, expected[0] - 128, found[i] - 128);
            std::exit(1);
        }
        ++compared;
        close += std::isfinite(x[i] * inverse) && std::nearbyint(x[i] * inverse) != std::nearbyint(x[i] / scale);
    }
}
void compare_reciprocal(const float (&x)[16], Vector found) {
    float inverse[16];
    store(inverse, found);
    for (int i = 0; i < 16; ++i) {
        const float expected = 1.0f / x[i];
        if (std::memcmp(&inverse[i], &expected, 4) && !(std::isnan(inverse[i]) && std::isnan(expected))) {
            std::printf("1 / %a is %a, not %a\n", x[i], expected, inverse[i]);
            std::exit(1);
        }
        ++reciprocals;
    }
}

// Every mantissa, with the processor's guess and with guesses that are as wrong as they may be.
void compare_all_mantissas() {
    float x[16];
    for (uint32_t bits = 0x3F800000; bits < 0x40000000; bits += 16) {
        for (uint32_t i = 0; i < 16; ++i) {
            const uint32_t each = bits + i;
            std::memcpy(&x[i], &each, 4);
        }
        const Vector v = load(x);
        compare_reciprocal(x, reciprocal(v));
        if (!can_be_refined(v)) continue;
        for (const float wrong : {1 - 0x1p-14f, 1 + 0x1p-14f})
            compare_reciprocal(x, refined_reciprocal(v, multiply(divide(broadcast(1.0f), v), broadcast(wrong))));
        for (float& value : x) value *= 0x1p125f;
        compare_reciprocal(x, reciprocal(load(x)));
    }
    const float large[16] = {INFINITY, NAN, 0x1p126f, 0x1p127f, 3e38f, 1, 2, 1e30f, 0x1.fffffep125f, 5, 6, 7, 8, 9, 10, 11};
    std::copy(std::begin(large), std::end(large), x);
    compare_reciprocal(x, reciprocal(load(x)));
}
}  // namespace

int main() {
    compare_all_mantissas();
    std::mt19937 random(1);
    std::uniform_real_distribution<float> exponent(-30, 10), any(-400, 400);
    float x[16];
    for (int round = 0; round < 20000; ++round) {
        const float scale = std::exp2(exponent(random));
        // The middles of two numbers, and what lies a few steps of a float beside them.
        for (float& value : x) {
            value = (static_cast<float>(static_cast<int>(random() % 300)) - 150 + 0.5f) * scale;
            for (int steps = static_cast<int>(random() % 7) - 3; steps; steps += steps < 0 ? 1 : -1)
                value = std::nextafter(value, steps < 0 ? -INFINITY : INFINITY);
        }
        compare(x, scale);
        for (float& value : x) value = any(random) * scale;
        compare(x, scale);
    }
    const float odd[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1e-45f, -1e-45f, 3e38f, -3e38f, 127.5f, -128.5f, 1e-38f, 1, -1, 0.5f, -0.5f};
    for (float scale : {1.0f, 1e-45f, 1e-38f, 1e-39f, 3e38f, 0.02f}) {
        std::copy(std::begin(odd), std::end(odd), x);
        compare(x, scale);
    }
    std::printf("%lld %lld %lld\n", static_cast<long long>(compared), static_cast<long long>(close),
                static_cast<long long>(reciprocals));
    return 0;
}
