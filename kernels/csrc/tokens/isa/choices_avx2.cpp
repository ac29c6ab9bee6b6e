// Choices from logits with AVX2 and FMA.
#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "../c2t_tokens.h"

namespace {
#include "../../linears/isa/vector_avx2.inl"
#include "../choices.inl"
}  // namespace

void c2t_avx2::choose(const c2t_choices_args& args) { choose_rows(args); }
void c2t_avx2::probabilities(const c2t_probabilities_args& args) { probabilities_of(args); }
