// Which implementations run on this processor.
#pragma once
#include "c2t_kernels.h"

// As c2t_isa_mask, of what multiplies rows with packed weights or keys: AVX-512 only with VNNI; no NEON.
int32_t products_isa_mask();
