#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "sequence.h"
#include "sequence_team.h"

namespace sequence {
namespace {

constexpr std::int64_t kMostCounted = 1 << 20;  // buckets; beyond, or with gaps, by comparing

// Stable, so that equal buckets stay in the order of time.
void sort_times(const std::int64_t* buckets, std::vector<std::int32_t>& real, std::int32_t* order) {
  std::int64_t least = INT64_MAX, most = INT64_MIN;
  for (const std::int32_t t : real) {
    least = std::min(least, buckets[t]);
    most = std::max(most, buckets[t]);
  }
  if (real.empty()) return;
  if (most / 2 - least / 2 > kMostCounted / 2) {
    std::copy(real.begin(), real.end(), order);
    std::stable_sort(order, order + real.size(), [&](std::int32_t one, std::int32_t other) {
      return buckets[one] < buckets[other];
    });
    return;
  }
  std::vector<std::int32_t> places(static_cast<std::size_t>(most - least) + 2, 0);
  for (const std::int32_t t : real) ++places[static_cast<std::size_t>(buckets[t] - least) + 1];
  for (std::size_t i = 1; i < places.size(); ++i) places[i] += places[i - 1];
  for (const std::int32_t t : real) {
    order[places[static_cast<std::size_t>(buckets[t] - least)]++] = t;
  }
}

}  // namespace

void sort_by_bucket(const decoding::Fields& fields, const Simd&, int n_threads) {
  const long n_rows = fields.integer("n_rows"), rows_a_batch = fields.integer("rows_a_batch");
  const long length = fields.integer("length");
  const auto* buckets = array<const std::int64_t>(fields, "buckets");
  const auto* mask = array<const std::uint8_t>(fields, "mask");
  auto* order = array<std::int32_t>(fields, "order");
  Team::run(n_threads, n_rows, [&](long row) {
    std::vector<std::int32_t> real;
    real.reserve(static_cast<std::size_t>(length));
    const std::uint8_t* is_real = mask ? mask + row / rows_a_batch * length : nullptr;
    for (long t = 0; t < length; ++t) {
      if (is_real == nullptr || is_real[t]) real.push_back(static_cast<std::int32_t>(t));
    }
    sort_times(buckets + row * length, real, order + row * length);
  });
}

}  // namespace sequence
