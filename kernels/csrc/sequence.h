// Operations on whole sequences. Each reads its sizes and the addresses of its arrays from fields.
#pragma once

#include <cstdint>
#include <string>

#include "fields.h"
#include "sequence_simd.h"

namespace sequence {

template <class Item>
Item* array(const decoding::Fields& fields, const std::string& name) {
  return reinterpret_cast<Item*>(fields.integer(name));
}

// Rows of [batch, heads, time, width]; the numbers of a row lie side by side.
template <class Item>
struct Rows {
  Rows(const decoding::Fields& fields, const std::string& name)
      : at(array<Item>(fields, name)),
        batch(fields.integer(name + "_batch")),
        head(fields.integer(name + "_head")),
        time(fields.integer(name + "_time")) {}

  Item* row(long b, long h, long t) const { return at + b * batch + h * head + t * time; }

  Item* at;
  long batch, head, time;  // strides
};

// Rows of a tile are longer than the panels that they hold, so that those below one another do not
// fall on the same places of the cache.
constexpr long kApart = 16;

inline long padded(long width, const Simd& simd) {
  return (width + simd.panel - 1) / simd.panel * simd.panel;
}

void sort_by_bucket(const decoding::Fields&, const Simd&, int n_threads);
void attend(const decoding::Fields&, const Simd&, int n_threads);
void attend_backward(const decoding::Fields&, const Simd&, int n_threads);
void hash_buckets(const decoding::Fields&, const Simd&, int n_threads);
void sparse_feed_forward(const decoding::Fields&, const Simd&, int n_threads);
void scan(const decoding::Fields&, const Simd&, int n_threads);
void scan_backward(const decoding::Fields&, const Simd&, int n_threads);

}  // namespace sequence
