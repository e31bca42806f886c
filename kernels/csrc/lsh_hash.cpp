#include <algorithm>

#include "lsh.h"

namespace sequence {
namespace {

constexpr long kTokens = 64;  // that are turned into columns at once

}  // namespace

void hash_buckets(const decoding::Fields& fields, const Simd& simd, int n_threads) {
  const Rows<const float> q(fields, "q");
  const long n_heads = fields.integer("n_heads"), n_rounds = fields.integer("n_rounds");
  const long length = fields.integer("length"), d_key = fields.integer("d_key");
  const long n_factors = fields.integer("n_factors");
  const auto* factors = array<const std::int64_t>(fields, "factors");
  const auto* rotations = array<const float>(fields, "rotations");  // [H, K, R, W]
  auto* buckets = array<std::int64_t>(fields, "buckets");           // [B, H, R, L]
  long width = 0;
  for (long i = 0; i < n_factors; ++i) width += factors[i] / 2;
  const long n_tiles = (length + kTokens - 1) / kTokens;
  const long columns = padded(kTokens, simd), row = columns + kApart;
  Team::run(n_threads, fields.integer("n_batch") * n_heads * n_tiles, [&](long part) {
    const long head = part / n_tiles, h = head % n_heads, begin = part % n_tiles * kTokens;
    const long count = std::min(kTokens, length - begin);
    float* tile = scratch(d_key * row + columns);
    auto* found = reinterpret_cast<std::int32_t*>(tile + d_key * row);
    simd.transpose(q.row(head / n_heads, h, begin), q.time, count, d_key, nullptr, tile, row);
    for (long round = 0; round < n_rounds; ++round) {
      std::int64_t* to = buckets + (head * n_rounds + round) * length + begin;
      std::fill(to, to + count, 0);
      const float* directions = rotations + (h * d_key * n_rounds + round) * width;
      long scale = 1;
      for (long i = 0; i < n_factors; ++i) {
        const long half = factors[i] / 2;
        for (long column = 0; column < count; column += simd.panel) {
          simd.nearest({directions, 1, n_rounds * width, nullptr, half, d_key, true}, tile + column,
                       row, found + column);
        }
        for (long j = 0; j < count; ++j) to[j] += scale * found[j];
        directions += half;
        scale *= factors[i];
      }
    }
  });
}

}  // namespace sequence
