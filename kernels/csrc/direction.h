// Random directions, each taken in both senses, and which of them a vector meets best.
#pragma once

#include <cstdlib>
#include <vector>

#include "step.h"

namespace decoding {

// Bucket `half + i` of a round is the direction opposite to that of bucket i.
struct Met {
  float product;
  long bucket;
};

// The direction that a vector meets best, the first of equals, from its products with half of them.
Met best_met(const float* products, long half);
// The same for several, at most `half`, the best first.
void best_met(const float* products, long half, long n_wanted, std::vector<Met>& best);

// Sets products to those of vectors, which stand `stride` apart, with the directions in panels; those
// of a vector are filled up to sixteens. Returns how far apart they stand.
long meet(const SimdTable& simd, const float* panels, long n_directions, long d_head,
          const float* x, long n_vectors, long stride, std::vector<float>& products);

}  // namespace decoding
