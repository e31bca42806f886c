#include "direction.h"

#include <cmath>

namespace decoding {
namespace {

Met better_sense(const float* products, long half, long i) {
  return {std::fabs(products[i]), products[i] < 0.0f ? half + i : i};
}

}  // namespace

Met best_met(const float* products, long half) {
  long best = 0;
  for (long i = 1; i < half; ++i) {
    if (std::fabs(products[i]) > std::fabs(products[best])) best = i;
  }
  return better_sense(products, half, best);
}

void best_met(const float* products, long half, long n_wanted, std::vector<Met>& best) {
  best.clear();
  const std::size_t wanted = static_cast<std::size_t>(n_wanted);
  for (long i = 0; i < half; ++i) {
    if (best.size() == wanted) {
      if (std::fabs(products[i]) <= best.back().product) continue;
      best.pop_back();
    }
    const Met met = better_sense(products, half, i);
    auto place = best.end();
    while (place != best.begin() && (place - 1)->product < met.product) --place;
    best.insert(place, met);
  }
}

long meet(const SimdTable& simd, const float* panels, long n_directions, long d_head,
          const float* x, long n_vectors, long stride, std::vector<float>& products) {
  const long width = round_up(n_directions);
  products.assign(n_vectors * width, 0.0f);
  simd.add_product({panels, nullptr, n_directions, d_head}, 0, width / kPanelRows, 0, d_head,
                   {x, n_vectors, stride, products.data(), width});
  return width;
}

}  // namespace decoding
