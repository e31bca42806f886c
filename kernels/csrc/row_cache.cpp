#include "row_cache.h"

#include <algorithm>
#include <cmath>

namespace decoding {

void RowCache::put(long position, const float* key, const float* value, long d_head) const {
  std::copy(key, key + d_head, this->key(position));
  std::copy(value, value + d_head, this->value(position));
}

void Reading::begin(long room) {
  positions_.clear();
  n_scored_ = 0;
  const std::size_t n_words = static_cast<std::size_t>(room / 64 + 1);
  if (seen_.size() < n_words) seen_.resize(n_words, 0);
}

void Reading::add_range(long from, long to) {
  for (long position = from; position < to; ++position) add(static_cast<std::int32_t>(position));
}

bool Reading::add_once(std::int32_t position) {
  std::uint64_t& word = seen_[position / 64];
  const std::uint64_t bit = std::uint64_t{1} << position % 64;
  if (word & bit) return false;
  word |= bit;
  once_.push_back(position);
  add(position);
  return true;
}

void Reading::score(const SimdTable& simd, const RowCache& cache, const float* query) {
  scores_.resize(round_up(count() + 1));
  simd.score_rows(cache.rows, 2 * cache.width, positions_.data() + n_scored_, count() - n_scored_,
                  query, cache.width, scores_.data() + n_scored_);
  n_scored_ = count();
}

void Reading::mix(const SimdTable& simd, const RowCache& cache, float* out, long d_head) {
  mixed_.assign(cache.width, 0.0f);
  if (count() > 0) {
    simd.softmax(scores_.data(), count());
    simd.mix_rows(cache.value(0), 2 * cache.width, positions_.data(), scores_.data(), count(),
                  mixed_.data(), cache.width);
  }
  std::copy(mixed_.begin(), mixed_.begin() + d_head, out);
  forget();
}

void Reading::mix_with_rest(const SimdTable& simd, const RowCache& cache, const float* query,
                            const Rest& rest, long first_chosen, float* out, long d_head) {
  const long n_rest = rest.count - (count() - first_chosen);
  if (n_rest == 0) return mix(simd, cache, out, d_head);
  float total = 0.0f;
  for (long c = 0; c < d_head; ++c) total += query[c] * rest.key_sum[c];
  for (long i = first_chosen; i < count(); ++i) total -= scores_[i];
  const float number = static_cast<float>(n_rest);
  scores_[count()] = total / number + std::log(number);
  simd.softmax(scores_.data(), count() + 1);
  const float share = scores_[count()] / number;
  for (long i = first_chosen; i < count(); ++i) scores_[i] -= share;
  mixed_.assign(cache.width, 0.0f);
  simd.mix_rows(cache.value(0), 2 * cache.width, positions_.data(), scores_.data(), count(),
                mixed_.data(), cache.width);
  for (long c = 0; c < d_head; ++c) out[c] = mixed_[c] + share * rest.value_sum[c];
  forget();
}

void Reading::forget() {
  for (std::int32_t position : once_) seen_[position / 64] = 0;
  once_.clear();
}

}  // namespace decoding
