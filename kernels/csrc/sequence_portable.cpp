// For processors of which nothing is known: vectors of four, which all 64-bit ones have.
#include "sequence_simd.h"

namespace {

constexpr int kLanes = 4;
constexpr int kTileRows = 4;
constexpr long kBlock = 4;
typedef float Vec __attribute__((vector_size(16)));

inline void transpose_block(const float* from, long from_row, const float* factors, float* to,
                            long to_row) {
  for (long k = 0; k < kBlock; ++k) {
    for (long i = 0; i < kBlock; ++i) {
      to[k * to_row + i] = from[i * from_row + k] * (factors ? factors[i] : 1.0f);
    }
  }
}

}  // namespace

#include "sequence_body.h"

const sequence::Simd& sequence::portable_simd() {
  static const Simd simd = new_simd("portable");
  return simd;
}
