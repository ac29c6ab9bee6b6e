// The step without vector instructions.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../memory.h"

namespace {
#include "../../linears/isa/vector_scalar.inl"
#define C2T_PRODUCTS "isa/products_scalar.inl"
#include "../step.inl"
}  // namespace

void c2t_scalar::run_step(const StepJob& job, int32_t thread) { StepThread(job, thread).run(); }
