// The step with AVX-512 (F, BW, DQ, VL) and VNNI.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../memory.h"

namespace {
#include "../../linears/isa/vector_avx512.inl"
#define C2T_PRODUCTS "isa/products_avx512.inl"
#include "../step.inl"
}  // namespace

void c2t_avx512::run_step(const StepJob& job, int32_t thread) { StepThread(job, thread).run(); }
