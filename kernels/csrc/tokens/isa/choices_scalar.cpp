// Choices from logits without vector instructions.
#include <algorithm>
#include <cmath>
#include <limits>

#include "../c2t_tokens.h"

namespace {
#include "../../linears/isa/vector_scalar.inl"
#include "../choices.inl"
}  // namespace

void c2t_scalar::choose(const c2t_choices_args& args) { choose_rows(args); }
void c2t_scalar::probabilities(const c2t_probabilities_args& args) { probabilities_of(args); }
