#include "simd_table.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>

// From here on; what the headers above define must run on any processor.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx2,fma")
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // inside the intrinsics themselves
#endif

namespace {

constexpr int kLanes = 16;
constexpr int kTileInputs = 12;
typedef float Vec __attribute__((vector_size(64)));

inline Vec load_bytes(const std::int8_t* p) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes));
}

}  // namespace

#include "simd_body.h"

const decoding::SimdTable* decoding::avx512_table() {
  static const SimdTable table = new_table("avx512");
  return &table;
}

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
const decoding::SimdTable* decoding::avx512_table() { return nullptr; }
#endif
