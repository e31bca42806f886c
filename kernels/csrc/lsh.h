// LSH attention over whole sequences: what forward and backward have in common.
#pragma once

#include "sequence.h"
#include "sequence_team.h"

namespace sequence {

// Chunks [begin, end) of one round of one head: what one thread works on at a time.
struct Share {
  long b, h, round, begin, end;
};

// What both passes read. Rounds are sorted into chunks; those of a round are counted in a circle.
struct Problem {
  explicit Problem(const decoding::Fields&);

  long n_batch, n_heads, n_rounds, length, d_key, d_value;
  long chunk_len, n_before, n_after;
  bool causal;
  Rows<const float> qk, v;
  const std::int32_t* order;    // [B, H, R, L]: times in the order of buckets, real ones first
  const std::int64_t* lengths;  // [B]: how many are real
  const float* weight_scale;    // [B, H, C, W * C] or null
  float* largest;               // [B, H, L]: the largest score of a query in all rounds
  float* total;                 // [B, H, L]: the sum of exponentials of what scores are below it

  long query(const Share& share, long t) const {
    return (share.b * n_heads + share.h) * length + t;
  }
  // What the weights of a chunk are scaled by, from a slot of its neighbourhood on.
  const float* scale_of(const Share& share, long slot) const {
    return weight_scale + (share.b * n_heads + share.h) * chunk_len * scale_row() + slot * chunk_len;
  }
  long scale_row() const { return chunk_len * (n_before + n_after + 1); }
};

// How many shares a head is cut into: enough for all threads, not so many that the neighbours, which
// each of them reads as well, would matter.
long shares_a_head(const Problem&, int n_threads);
Share share_of(const Problem&, long round, long part, long n_shares);

// Chunks are numbered beyond the ends of the circle too. Chunk i reaches chunks i + first … i + last,
// each of them once.
class Circle {
 public:
  Circle(const Problem&, const Share&);

  long n_chunks() const { return n_chunks_; }
  long first() const { return first_; }
  long last() const { return last_; }
  long window() const { return last_ - first_ + 1; }
  const std::int32_t* times(long i) const { return order_ + chunk(i) * chunk_len_; }
  long count(long i) const;
  // Where weights of chunk i + offset stand among those of `weight_scale`.
  long slot(long offset) const { return (offset + n_before_) % n_chunks_; }

 private:
  long chunk(long i) const { return (i % n_chunks_ + n_chunks_) % n_chunks_; }

  const std::int32_t* order_;
  long n_real_, chunk_len_, n_before_, n_chunks_;
  long first_, last_;
};

// Runs body(share) for all chunks of all heads, the rounds of a head one after another: all at once
// where a head is one share, while its rows are in the cache.
template <class Body>
void for_each_share(const Problem& problem, int n_threads, const Body& body) {
  const long n_shares = shares_a_head(problem, n_threads);
  const long n_parts = problem.n_batch * problem.n_heads * n_shares;
  const long at_once = n_shares == 1 ? problem.n_rounds : 1;
  for (long first = 0; first < problem.n_rounds; first += at_once) {
    Team::run(n_threads, n_parts, [&](long part) {
      for (long round = first; round < first + at_once; ++round) {
        const Share share = share_of(problem, round, part, n_shares);
        if (share.begin < share.end) body(share);
      }
    });
  }
}

// Copies rows of a head one below the other, `to_row` numbers apart.
void gather(const Rows<const float>&, const Share&, const std::int32_t* times, long count,
            long width, float* to, long to_row);
// The factors that turn rows into keys of unit length.
void unit_factors(const Simd&, const float* rows, long row, long count, long width, float* factors);
// Lowers scores of queries where they meet themselves, and where keys are later if that is asked.
void hide(const Problem&, const Simd&, const Circle&, long queries, long keys, float* scores,
          long row);

}  // namespace sequence
