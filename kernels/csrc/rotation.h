// Pseudo-random rotations, which tell where vectors point: products with many directions for the price
// of some additions.
#pragma once

#include <cstdint>
#include <vector>

#include "step.h"

namespace decoding {

// A direction of a round that a vector meets best, and by how much; from `half` on they are those
// opposite to the first ones.
struct Met {
  long direction;
  float reach;
};

// Rounds of three turns, each of which multiplies by signs and by Hadamard's matrix. Two vectors can
// be rotated at once: the first in as many columns as there are rounds, the second in those after
// them, sixteen columns a group. Signs stand as [groups][4][width][16]: of the first turn for the first
// vector and for the second, with zeros in the other's columns; of the second turn; of the third.
class Rotations {
 public:
  explicit Rotations(const Fields& fields)
      : signs_(fields.array<float>("signs")),
        n_rounds_(fields.integer("hashes")),
        half_(fields.integer("n_buckets") / 2),
        width_(fields.integer("turned_width")),
        d_head_(fields.integer("d_head")) {}

  long n_rounds() const { return n_rounds_; }

  // Rotates vectors, one or two; x gets what `find` looks at.
  void rotate(const SimdTable& simd, const float* const* vectors, long n_vectors,
              std::vector<float>& x) const;
  // Sets found to the direction that each vector meets best in each round, [vectors][rounds]; what is
  // found is left out the next time.
  void find(const SimdTable& simd, long n_vectors, std::vector<float>& x,
            std::vector<Met>& found) const;

 private:
  long n_groups(long n_vectors) const { return round_up(n_vectors * n_rounds_) / kPanelRows; }
  long n_floats() const { return width_ * kPanelRows; }

  const float* signs_;
  long n_rounds_, half_, width_, d_head_;
};

}  // namespace decoding
