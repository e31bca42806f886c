// For processors of which nothing is known: vectors of four, which all 64-bit ones have.
#include "simd_table.h"

namespace {

constexpr int kLanes = 4;
constexpr int kTileInputs = 2;
typedef float Vec __attribute__((vector_size(16)));

inline Vec load_bytes(const std::int8_t* p) {
  return Vec{float(p[0]), float(p[1]), float(p[2]), float(p[3])};
}

}  // namespace

#include "simd_body.h"

const decoding::SimdTable& decoding::portable_table() {
  static const SimdTable table = new_table("portable");
  return table;
}
