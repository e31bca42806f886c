#include <algorithm>
#include <vector>

#include "lsh.h"

namespace sequence {
namespace {

struct Gradients {
  explicit Gradients(const decoding::Fields& fields)
      : out(fields, "out"), dout(fields, "dout"), dqk(fields, "dqk"), dv(fields, "dv") {}

  Rows<const float> out, dout;
  Rows<float> dqk, dv;
};

// A chunk of the sorted sequence, and the gradients of it that have been found so far.
struct Tile {
  float* queries;  // [count][query_row]
  float* keys;     // of unit length, transposed: [d_key][key_row]
  float* values;   // transposed: [d_value][key_row]
  float* factors;  // [count]: they turn queries into keys
  float* dqueries;
  float* dkeys;    // [count][query_row] each; of keys before they are scaled
  float* dvalues;  // [count][value_row]
};

// Finds the gradients of some chunks of one round of one head. Queries of neighbours that reach them
// are run through again, so that each chunk's gradients are summed in one order however a round is
// cut into shares.
class Worker {
 public:
  Worker(const Problem& problem, const Gradients& gradients, const Simd& simd, const Share& share)
      : problem_(problem),
        gradients_(gradients),
        simd_(simd),
        share_(share),
        circle_(problem, share),
        columns_(padded(problem.chunk_len, simd)),
        query_row_(padded(problem.d_key, simd) + kApart),
        key_row_(columns_ + kApart),
        value_row_(padded(problem.d_value, simd) + kApart),
        tiles_(static_cast<std::size_t>(circle_.window())) {
    const long chunk_len = problem.chunk_len;
    const long sizes[] = {chunk_len * query_row_,      problem.d_key * key_row_,
                          problem.d_value * key_row_,  columns_,
                          chunk_len * query_row_,      chunk_len * query_row_,
                          chunk_len * value_row_};
    long tile_size = 0;
    for (const long size : sizes) tile_size += size;
    float* room = scratch(circle_.window() * tile_size +
                          chunk_len * (2 * key_row_ + value_row_ + problem.d_value + 3));
    const auto take = [&](long size) {
      room += size;
      return room - size;
    };
    for (Tile& tile : tiles_) {
      tile = {take(sizes[0]), take(sizes[1]), take(sizes[2]), take(sizes[3]),
              take(sizes[4]), take(sizes[5]), take(sizes[6])};
    }
    weights_ = take(chunk_len * key_row_);
    slopes_ = take(chunk_len * key_row_);
    dout_ = take(chunk_len * value_row_);
    out_ = take(chunk_len * problem.d_value);
    offsets_ = take(chunk_len);
    largest_ = take(chunk_len);
    shares_ = take(chunk_len);
  }

  void run() {
    const long begin = share_.begin - circle_.last(), end = share_.end - circle_.first();
    for (long i = circle_.first(); i < circle_.last(); ++i) fill(begin + i);
    for (long i = begin; i < end; ++i) {
      fill(i + circle_.last());
      fill_query(i);
      for (long offset = circle_.first(); offset <= circle_.last(); ++offset) {
        if (is_own(i) || is_own(i + offset)) go_back(i, offset);
      }
      if (is_own(i + circle_.first())) write(i + circle_.first());
    }
  }

 private:
  bool is_own(long i) const { return share_.begin <= i && i < share_.end; }

  Tile& tile(long i) {
    const long n = circle_.window();
    return tiles_[static_cast<std::size_t>((i % n + n) % n)];
  }

  void fill(long i) {
    const Tile& to = tile(i);
    const std::int32_t* times = circle_.times(i);
    const long count = circle_.count(i), d_key = problem_.d_key, d_value = problem_.d_value;
    gather(problem_.qk, share_, times, count, d_key, to.queries, query_row_);
    std::fill(to.factors, to.factors + columns_, 0.0f);
    unit_factors(simd_, to.queries, query_row_, count, d_key, to.factors);
    simd_.transpose(to.queries, query_row_, count, d_key, to.factors, to.keys, key_row_);
    gather(problem_.v, share_, times, count, d_value, to.dvalues, value_row_);
    simd_.transpose(to.dvalues, value_row_, count, d_value, nullptr, to.values, key_row_);
    std::fill(to.dqueries, to.dqueries + count * query_row_, 0.0f);
    std::fill(to.dkeys, to.dkeys + count * query_row_, 0.0f);
    std::fill(to.dvalues, to.dvalues + count * value_row_, 0.0f);
  }

  void fill_query(long i) {
    const std::int32_t* times = circle_.times(i);
    const long count = circle_.count(i), d_value = problem_.d_value;
    gather(gradients_.dout, share_, times, count, d_value, dout_, value_row_);
    gather(gradients_.out, share_, times, count, d_value, out_, d_value);
    for (long query = 0; query < count; ++query) {
      const long at = problem_.query(share_, times[query]);
      offsets_[query] = simd_.dot(dout_ + query * value_row_, out_ + query * d_value, d_value);
      largest_[query] = problem_.largest[at];
      shares_[query] = 1.0f / problem_.total[at];
    }
  }

  // From the outputs of chunk i to what it took from chunk i + offset.
  void go_back(long i, long offset) {
    const Tile &from = tile(i), &to = tile(i + offset);
    const long n_queries = circle_.count(i), n_keys = circle_.count(i + offset);
    const long d_key = problem_.d_key, d_value = problem_.d_value, row = key_row_;
    simd_.multiply({from.queries, query_row_, 1, to.keys, row, weights_, row, n_queries, columns_,
                    d_key, false});
    hide(problem_, simd_, circle_, i, i + offset, weights_, row);
    simd_.weigh(weights_, row, n_queries, columns_, largest_, shares_);
    simd_.multiply({dout_, value_row_, 1, to.values, row, slopes_, row, n_queries, columns_,
                    d_value, false});
    const float* scale = nullptr;
    if (problem_.weight_scale) {
      scale = problem_.scale_of(share_, circle_.slot(offset));
      simd_.scale(slopes_, row, scale, problem_.scale_row(), n_queries, n_keys);
    }
    simd_.slope(slopes_, weights_, row, n_queries, columns_, offsets_, to.factors);
    if (is_own(i)) {
      simd_.multiply({slopes_, row, 1, to.queries, query_row_, from.dqueries, query_row_, n_queries,
                      query_row_ - kApart, n_keys, true});
    }
    if (is_own(i + offset)) {
      if (scale) simd_.scale(weights_, row, scale, problem_.scale_row(), n_queries, n_keys);
      simd_.multiply({slopes_, 1, row, from.queries, query_row_, to.dkeys, query_row_, n_keys,
                      query_row_ - kApart, n_queries, true});
      simd_.multiply({weights_, 1, row, dout_, value_row_, to.dvalues, value_row_, n_keys,
                      value_row_ - kApart, n_queries, true});
    }
  }

  // Joins the gradients of this round to those of the rounds before it.
  void write(long i) {
    const Tile& from = tile(i);
    for (long j = 0; j < circle_.count(i); ++j) {
      const long t = circle_.times(i)[j], d_key = problem_.d_key;
      float *dquery = from.dqueries + j * query_row_, *dkey = from.dkeys + j * query_row_;
      const float* query = from.queries + j * query_row_;
      // A key is the query times its factor, and the factor changes with the query.
      const float along = simd_.dot(query, dkey, d_key) * from.factors[j] * from.factors[j];
      simd_.blend(dkey, 1.0f, dquery, 1.0f, d_key);
      simd_.blend(query, -along, dquery, 1.0f, d_key);
      add(dquery, gradients_.dqk.row(share_.b, share_.h, t), d_key);
      add(from.dvalues + j * value_row_, gradients_.dv.row(share_.b, share_.h, t),
          problem_.d_value);
    }
  }

  void add(const float* from, float* to, long width) {
    if (share_.round == 0) {
      simd_.put(from, 1.0f, to, width);
    } else {
      simd_.blend(from, 1.0f, to, 1.0f, width);
    }
  }

  const Problem& problem_;
  const Gradients& gradients_;
  const Simd& simd_;
  const Share share_;
  const Circle circle_;
  const long columns_, query_row_, key_row_, value_row_;
  std::vector<Tile> tiles_;
  float *weights_, *slopes_;                // [chunk_len][key_row]
  float *dout_, *out_;                      // of the queries of one chunk
  float *offsets_, *largest_, *shares_;
};

}  // namespace

void attend_backward(const decoding::Fields& fields, const Simd& simd, int n_threads) {
  const Problem problem(fields);
  const Gradients gradients(fields);
  for_each_share(problem, n_threads,
                 [&](const Share& share) { Worker(problem, gradients, simd, share).run(); });
}

}  // namespace sequence
