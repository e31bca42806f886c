#include "rotation.h"

#include <cmath>

namespace decoding {

void Rotations::rotate(const SimdTable& simd, const float* const* vectors, long n_vectors,
                       std::vector<float>& x) const {
  x.resize(n_groups(n_vectors) * n_floats());
  for (long group = 0; group < n_groups(n_vectors); ++group) {
    const float* signs = signs_ + group * 4 * n_floats();
    float* columns = x.data() + group * n_floats();
    simd.spread(vectors, n_vectors, d_head_, signs, width_, columns);
    simd.turn(columns, signs + 2 * n_floats(), width_);
    simd.turn(columns, signs + 3 * n_floats(), width_);
  }
}

void Rotations::find(const SimdTable& simd, long n_vectors, std::vector<float>& x,
                     std::vector<Met>& found) const {
  std::int32_t rows[kPanelRows];
  const long n_columns = n_vectors * n_rounds_;
  found.resize(n_columns);
  for (long column = 0; column < n_columns; ++column) {
    float* group = x.data() + column / kPanelRows * n_floats();
    if (column % kPanelRows == 0) simd.farthest(group, half_, rows);
    const long row = rows[column % kPanelRows];
    float& product = group[row * kPanelRows + column % kPanelRows];
    found[column] = {product < 0.0f ? half_ + row : row, std::fabs(product)};
    product = 0.0f;
  }
}

}  // namespace decoding
