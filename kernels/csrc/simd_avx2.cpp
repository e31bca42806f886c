#include "simd_table.h"

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
constexpr int kTileInputs = 6;
typedef float Vec __attribute__((vector_size(32)));

inline Vec load_bytes(const std::int8_t* p) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
}

}  // namespace

#include "simd_body.h"

const decoding::SimdTable* decoding::avx2_table() {
  static const SimdTable table = new_table("avx2");
  return &table;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
const decoding::SimdTable* decoding::avx2_table() { return nullptr; }
#endif
