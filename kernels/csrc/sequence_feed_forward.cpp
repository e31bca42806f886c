#include <algorithm>
#include <vector>

#include "sequence.h"
#include "sequence_team.h"

namespace sequence {
namespace {

constexpr long kTokens = 64;  // that one thread works on at a time
constexpr long kAhead = 2;    // rows that are fetched before they are read

void fetch(const float* row, long width) {
  constexpr long line = 16;  // numbers
  for (long i = 0; i < width; i += line) __builtin_prefetch(row + i);
}

struct Layer {
  explicit Layer(const decoding::Fields& fields)
      : n_tokens(fields.integer("n_tokens")),
        d_model(fields.integer("d_model")),
        d_lowrank(fields.integer("d_lowrank")),
        n_blocks(fields.integer("n_blocks")),
        block_size(fields.integer("block_size")),
        x(array<const float>(fields, "x")),
        controller_in(array<const float>(fields, "controller_in")),
        controller_out(array<const float>(fields, "controller_out")),
        controller_bias(array<const float>(fields, "controller_bias")),
        w1(array<const float>(fields, "w1")),
        w2(array<const float>(fields, "w2")),
        b2(array<const float>(fields, "b2")),
        y(array<float>(fields, "y")) {}

  long n_tokens, d_model, d_lowrank, n_blocks, block_size;
  const float* x;                // [T, D]
  const float* controller_in;    // [r, D]
  const float* controller_out;   // [F, r]
  const float* controller_bias;  // [F]
  const float *w1, *w2;          // [F, D]
  const float* b2;               // [D]
  float* y;                      // [T, D]
};

// The tokens [begin, begin + count) of a layer.
class Tile {
 public:
  Tile(const Layer& layer, const Simd& simd, long begin, long count)
      : layer_(layer), simd_(simd), begin_(begin), count_(count), choice_(count * layer.n_blocks) {}

  void choose() {
    const long columns = padded(count_, simd_), row = columns + kApart;
    float* inputs = scratch((layer_.d_model + layer_.d_lowrank) * row + columns);
    float* low = inputs + layer_.d_model * row;
    auto* found = reinterpret_cast<std::int32_t*>(low + layer_.d_lowrank * row);
    simd_.transpose(layer_.x + begin_ * layer_.d_model, layer_.d_model, count_, layer_.d_model,
                    nullptr, inputs, row);
    simd_.multiply({layer_.controller_in, layer_.d_model, 1, inputs, row, low, row,
                    layer_.d_lowrank, columns, layer_.d_model, false});
    for (long block = 0; block < layer_.n_blocks; ++block) {
      const long first = block * layer_.block_size;
      const Directions units{layer_.controller_out + first * layer_.d_lowrank,
                             layer_.d_lowrank,
                             1,
                             layer_.controller_bias + first,
                             layer_.block_size,
                             layer_.d_lowrank,
                             false};
      for (long column = 0; column < columns; column += simd_.panel) {
        simd_.nearest(units, low + column, row, found + column);
      }
      for (long t = 0; t < count_; ++t) choice_[t * layer_.n_blocks + block] = found[t];
    }
  }

  void compute() {
    const long width = layer_.d_model, n_blocks = layer_.n_blocks;
    std::vector<const float*> rows(n_blocks);
    std::vector<float> units(n_blocks);
    for (long t = 0; t < count_; ++t) {
      const float* x = layer_.x + (begin_ + t) * width;
      long n_active = 0;
      for (long block = 0; block < n_blocks; ++block) {
        const long at = t * n_blocks + block;
        if (at + kAhead < count_ * n_blocks) fetch(layer_.w1 + row_of(at + kAhead), width);
        const float unit = simd_.dot(x, layer_.w1 + row_of(at), width);
        if (unit <= 0.0f) continue;
        rows[n_active] = layer_.w2 + row_of(at);
        units[n_active] = unit;
        fetch(rows[n_active], width);
        ++n_active;
      }
      simd_.weigh_rows(rows.data(), units.data(), n_active, width, layer_.b2,
                       layer_.y + (begin_ + t) * width);
    }
  }

 private:
  // Where the row of a choice begins; choices are counted over tokens and blocks.
  long row_of(long at) const {
    return (at % layer_.n_blocks * layer_.block_size + choice_[at]) * layer_.d_model;
  }

  const Layer& layer_;
  const Simd& simd_;
  const long begin_, count_;
  std::vector<std::int32_t> choice_;
};

}  // namespace

void sparse_feed_forward(const decoding::Fields& fields, const Simd& simd, int n_threads) {
  const Layer layer(fields);
  Team::run(n_threads, (layer.n_tokens + kTokens - 1) / kTokens, [&](long part) {
    const long begin = part * kTokens;
    Tile tile(layer, simd, begin, std::min(kTokens, layer.n_tokens - begin));
    tile.choose();
    tile.compute();
  });
}

}  // namespace sequence
