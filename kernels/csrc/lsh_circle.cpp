#include <cmath>

#include "lsh.h"

namespace sequence {
namespace {

constexpr float kNormEpsilon = 1e-6f;
constexpr float kSelfPenalty = 1e5f;
constexpr long kLeastChunks = 16;     // of a share
constexpr long kSharesPerThread = 4;  // so that a thread which is held up can be relieved

long chunks_of(const Problem& problem, long b) {
  return (problem.lengths[b] + problem.chunk_len - 1) / problem.chunk_len;
}

}  // namespace

Problem::Problem(const decoding::Fields& fields)
    : n_batch(fields.integer("n_batch")),
      n_heads(fields.integer("n_heads")),
      n_rounds(fields.integer("n_rounds")),
      length(fields.integer("length")),
      d_key(fields.integer("d_key")),
      d_value(fields.integer("d_value")),
      chunk_len(fields.integer("chunk_len")),
      n_before(fields.integer("n_chunks_before")),
      n_after(fields.integer("n_chunks_after")),
      causal(fields.integer("causal") != 0),
      qk(fields, "qk"),
      v(fields, "v"),
      order(array<const std::int32_t>(fields, "order")),
      lengths(array<const std::int64_t>(fields, "lengths")),
      weight_scale(array<const float>(fields, "weight_scale")),
      largest(array<float>(fields, "largest")),
      total(array<float>(fields, "total")) {}

long shares_a_head(const Problem& problem, int n_threads) {
  if (n_threads == 1) return 1;
  const long n_heads = problem.n_batch * problem.n_heads;
  const long wanted = (kSharesPerThread * n_threads + n_heads - 1) / n_heads;
  const long most = problem.length / (problem.chunk_len * kLeastChunks);
  return wanted < most ? wanted : most < 1 ? 1 : most;
}

Share share_of(const Problem& problem, long round, long part, long n_shares) {
  const long head = part / n_shares, i = part % n_shares, b = head / problem.n_heads;
  const long n_chunks = chunks_of(problem, b);
  return {b, head % problem.n_heads, round, n_chunks * i / n_shares, n_chunks * (i + 1) / n_shares};
}

Circle::Circle(const Problem& problem, const Share& share)
    : order_(problem.order +
             ((share.b * problem.n_heads + share.h) * problem.n_rounds + share.round) *
                 problem.length),
      n_real_(problem.lengths[share.b]),
      chunk_len_(problem.chunk_len),
      n_before_(problem.n_before),
      n_chunks_(chunks_of(problem, share.b)) {
  const long window = problem.n_before + problem.n_after + 1;
  first_ = n_chunks_ <= n_before_ ? 1 - n_chunks_ : -n_before_;
  last_ = first_ + (window < n_chunks_ ? window : n_chunks_) - 1;
}

long Circle::count(long i) const {
  const long rest = n_real_ - chunk(i) * chunk_len_;
  return rest < chunk_len_ ? rest : chunk_len_;
}

void gather(const Rows<const float>& from, const Share& share, const std::int32_t* times,
            long count, long width, float* to, long to_row) {
  for (long i = 0; i < count; ++i) {
    const float* row = from.row(share.b, share.h, times[i]);
    for (long j = 0; j < width; ++j) to[i * to_row + j] = row[j];
  }
}

void unit_factors(const Simd& simd, const float* rows, long row, long count, long width,
                  float* factors) {
  const float n = static_cast<float>(width);
  for (long i = 0; i < count; ++i) {
    const float power = simd.dot(rows + i * row, rows + i * row, width) / n + kNormEpsilon;
    factors[i] = 1.0f / std::sqrt(power * n);
  }
}

void hide(const Problem& problem, const Simd& simd, const Circle& circle, long queries, long keys,
          float* scores, long row) {
  const long count = circle.count(queries);
  if (queries == keys) {
    for (long i = 0; i < count; ++i) scores[i * row + i] -= kSelfPenalty;
  }
  if (problem.causal) {
    simd.hide_later(scores, row, count, circle.count(keys), circle.times(queries),
                    circle.times(keys));
  }
}

}  // namespace sequence
