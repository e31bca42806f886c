#include <cmath>
#include <vector>

#include "lsh.h"

namespace sequence {
namespace {

// A chunk of the sorted sequence, as queries and as keys.
struct Tile {
  float* queries;  // [count][query_row]
  float* keys;     // of unit length, transposed: [d_key][key_row]
  float* values;   // [count][value_row]
};

class Worker {
 public:
  Worker(const Problem& problem, const Rows<float>& out, const Simd& simd, const Share& share)
      : problem_(problem),
        out_(out),
        simd_(simd),
        share_(share),
        circle_(problem, share),
        columns_(padded(problem.chunk_len, simd)),
        query_row_(padded(problem.d_key, simd) + kApart),
        key_row_(columns_ + kApart),
        value_row_(padded(problem.d_value, simd) + kApart),
        score_row_(circle_.window() * columns_ + kApart),
        tiles_(static_cast<std::size_t>(circle_.window())) {
    const long chunk_len = problem.chunk_len;
    const long n_queries = chunk_len * query_row_, n_keys = problem.d_key * key_row_;
    const long tile_size = n_queries + n_keys + chunk_len * value_row_;
    float* room = scratch(circle_.window() * tile_size + chunk_len * (score_row_ + value_row_ + 2));
    for (Tile& tile : tiles_) {
      tile = {room, room + n_queries, room + n_queries + n_keys};
      room += tile_size;
    }
    scores_ = room;
    made_ = scores_ + chunk_len * score_row_;
    largest_ = made_ + chunk_len * value_row_;
    total_ = largest_ + chunk_len;
  }

  void run() {
    for (long i = circle_.first(); i < circle_.last(); ++i) fill(share_.begin + i);
    for (long i = share_.begin; i < share_.end; ++i) {
      fill(i + circle_.last());
      score(i);
      simd_.soften(scores_, score_row_, circle_.count(i), circle_.window() * columns_, largest_,
                   total_);
      weigh(i);
      write(i);
    }
  }

 private:
  Tile& tile(long i) {
    const long n = circle_.window();
    return tiles_[static_cast<std::size_t>((i % n + n) % n)];
  }

  void fill(long i) {
    const Tile& to = tile(i);
    const std::int32_t* times = circle_.times(i);
    const long count = circle_.count(i);
    gather(problem_.qk, share_, times, count, problem_.d_key, to.queries, query_row_);
    gather(problem_.v, share_, times, count, problem_.d_value, to.values, value_row_);
    unit_factors(simd_, to.queries, query_row_, count, problem_.d_key, total_);
    simd_.transpose(to.queries, query_row_, count, problem_.d_key, total_, to.keys, key_row_);
  }

  void score(long i) {
    const long count = circle_.count(i);
    for (long offset = circle_.first(); offset <= circle_.last(); ++offset) {
      float* scores = scores_ + (offset - circle_.first()) * columns_;
      simd_.multiply({tile(i).queries, query_row_, 1, tile(i + offset).keys, key_row_, scores,
                      score_row_, count, columns_, problem_.d_key, false});
      hide(problem_, simd_, circle_, i, i + offset, scores, score_row_);
      for (long j = circle_.count(i + offset); j < columns_; ++j) {
        for (long query = 0; query < count; ++query) scores[query * score_row_ + j] = kHidden;
      }
    }
  }

  void weigh(long i) {
    const long count = circle_.count(i);
    for (long offset = circle_.first(); offset <= circle_.last(); ++offset) {
      float* weights = scores_ + (offset - circle_.first()) * columns_;
      const long n_keys = circle_.count(i + offset);
      if (problem_.weight_scale) {
        simd_.scale(weights, score_row_, problem_.scale_of(share_, circle_.slot(offset)),
                    problem_.scale_row(), count, n_keys);
      }
      simd_.multiply({weights, score_row_, 1, tile(i + offset).values, value_row_, made_,
                      value_row_, count, value_row_ - kApart, n_keys, offset > circle_.first()});
    }
  }

  // Joins the outputs of this round to those of the rounds before it.
  void write(long i) {
    const bool is_first = share_.round == 0, is_last = share_.round == problem_.n_rounds - 1;
    for (long query = 0; query < circle_.count(i); ++query) {
      const long t = circle_.times(i)[query], at = problem_.query(share_, t);
      float keep = 0.0f, take = 1.0f, largest = largest_[query], total = total_[query];
      if (!is_first) {
        largest = std::fmax(largest, problem_.largest[at]);
        keep = std::exp(problem_.largest[at] - largest);
        take = std::exp(largest_[query] - largest);
        total = problem_.total[at] * keep + total * take;
      }
      problem_.largest[at] = largest;
      problem_.total[at] = total;
      const float share = is_last ? 1.0f / total : 1.0f;
      float* to = out_.row(share_.b, share_.h, t);
      const float* from = made_ + query * value_row_;
      if (is_first) {
        simd_.put(from, share, to, problem_.d_value);
      } else {
        simd_.blend(from, take * share, to, keep * share, problem_.d_value);
      }
    }
  }

  const Problem& problem_;
  const Rows<float>& out_;
  const Simd& simd_;
  const Share share_;
  const Circle circle_;
  const long columns_, query_row_, key_row_, value_row_, score_row_;
  std::vector<Tile> tiles_;
  float *scores_, *made_, *largest_, *total_;
};

}  // namespace

void attend(const decoding::Fields& fields, const Simd& simd, int n_threads) {
  const Problem problem(fields);
  const Rows<float> out(fields, "out");
  for_each_share(problem, n_threads,
                 [&](const Share& share) { Worker(problem, out, simd, share).run(); });
}

}  // namespace sequence
