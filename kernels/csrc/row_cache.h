// A cache of which a step reads listed positions: the key and the value of each stand together.
#pragma once

#include <cstdint>
#include <vector>

#include "step.h"

namespace decoding {

// Keys and values of a head, [room][2][width], widths filled up to sixteens.
struct RowCache {
  float* rows;
  long width;

  float* key(long position) const { return rows + 2 * position * width; }
  float* value(long position) const { return key(position) + width; }
  void put(long position, const float* key, const float* value, long d_head) const;
};

// What stands for the positions that are not read: so many of them, and the sums over all that might
// have been read or not.
struct Rest {
  const float* key_sum;
  const float* value_sum;
  long count;
};

// The positions that a query attends to, each once.
class Reading {
 public:
  // Begins for a head that has room for so many positions.
  void begin(long room);
  void add(std::int32_t position) { positions_.push_back(position); }
  void add_range(long from, long to);
  // Adds a position unless it was added this way before.
  bool add_once(std::int32_t position);
  long count() const { return static_cast<long>(positions_.size()); }
  // Computes the scores of the positions that were added since the last time.
  void score(const SimdTable& simd, const RowCache& cache, const float* query);
  // Writes the mean of the values by the softmax of all scores; zeros if there are none.
  void mix(const SimdTable& simd, const RowCache& cache, float* out, long d_head);
  // The same, where positions from `first_chosen` on belong to a set of `rest.count` of which the
  // others have the mean of their scores and of their values.
  void mix_with_rest(const SimdTable& simd, const RowCache& cache, const float* query,
                     const Rest& rest, long first_chosen, float* out, long d_head);

 private:
  void forget();

  std::vector<std::int32_t> positions_, once_;
  std::vector<float> scores_, mixed_;
  std::vector<std::uint64_t> seen_;  // a bit a position
  long n_scored_ = 0;
};

}  // namespace decoding
