#include "sequence_simd.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

// From here on; what the headers above define must run on any processor.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif

namespace {

constexpr int kLanes = 8;
constexpr int kTileRows = 6;
typedef float Vec __attribute__((vector_size(32)));

}  // namespace

#include "sequence_transpose.h"

#include "sequence_body.h"

const sequence::Simd* sequence::avx2_simd() {
  static const Simd simd = new_simd("avx2");
  return &simd;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
const sequence::Simd* sequence::avx2_simd() { return nullptr; }
#endif
