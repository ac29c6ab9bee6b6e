// Compares the int8 of quotients, as the linears' inputs are quantised with AVX-512, with plain divisions. Prints how many
// were compared, and how many of them a product alone would have rounded to another number; exits with 1 at a difference.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <random>

namespace {
#include "linears/isa/vector_avx512.inl"

int64_t compared = 0, close = 0;

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
}  // namespace

int main() {
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
    std::printf("%lld %lld\n", static_cast<long long>(compared), static_cast<long long>(close));
    return 0;
}
