// LSH attention of one position: to those whose query, which is their key, was hashed to the same
// bucket in some round, and to the latest ones.
#include "row_attention.h"

namespace decoding {
namespace {

// The direction that a vector meets best, the first of equals, from its products with half of them;
// from `half` on they are those opposite to the first ones.
long best_met(const float* products, long half) {
  long best = 0;
  float largest = -1.0f;
  for (long i = 0; i < half; ++i) {
    const float reach = std::fabs(products[i]);
    best = reach > largest ? i : best;
    largest = std::max(largest, reach);
  }
  return products[best] < 0.0f ? half + best : best;
}

// A bucket has two digits, each the best met of its own directions; the high one may have one value.
struct Digits {
  long low, high;

  long n_buckets() const { return low * high; }
  long n_directions() const { return low / 2 + high / 2; }

  long bucket_of(const float* products) const {
    const long first = best_met(products, low / 2);
    return high == 1 ? first : first + low * best_met(products + low / 2, high / 2);
  }
};

// Positions of each bucket, from the last one back. Of each head: the last position of a bucket,
// [rounds][buckets]; the one before a position in its bucket, [room][rounds]; -1 where there is none.
// The directions of each head, in panels, and the digits change when all is hashed anew.
class BucketChains {
 public:
  explicit BucketChains(const Fields& fields)
      : directions_(fields.integer("directions")),
        digits_(fields.integer("digits")),
        last_(fields.integer("last")),
        before_(fields.integer("before")),
        n_hashes_(fields.integer("hashes")),
        d_head_(fields.integer("d_head")) {}

  // Appends a position to the buckets of its key.
  void append(const Session& session, long head, const float* key) const {
    static thread_local std::vector<float> products;
    const auto* values = reinterpret_cast<const std::int64_t*>(digits_.in(session));
    const Digits digits{static_cast<long>(values[0]), static_cast<long>(values[1])};
    const long n_directions = n_hashes_ * digits.n_directions();
    const float* panels = directions_.in(session) + head * round_up(n_directions) * d_head_;
    products.assign(round_up(n_directions), 0.0f);
    session.simd->add_product({panels, nullptr, n_directions, d_head_}, 0,
                              round_up(n_directions) / kPanelRows, 0, d_head_,
                              {key, 1, 0, products.data(), 0});
    std::int32_t* before = this->before(session, head) + session.length * n_hashes_;
    std::int32_t* last = reinterpret_cast<std::int32_t*>(last_.in(session)) +
                         head * n_hashes_ * digits.n_buckets();
    for (long round = 0; round < n_hashes_; ++round, last += digits.n_buckets()) {
      const long bucket = digits.bucket_of(products.data() + round * digits.n_directions());
      before[round] = last[bucket];
      last[bucket] = static_cast<std::int32_t>(session.length);
    }
  }

  // Adds what shares a bucket with the last position and is earlier than `end`. The chains of all
  // rounds are followed at the same time, for each step along one of them waits for memory.
  void read(const Session& session, long head, long end, Reading& reading) const {
    static thread_local std::vector<std::int32_t> at;
    const std::int32_t* before = this->before(session, head);
    at.assign(before + session.length * n_hashes_, before + (session.length + 1) * n_hashes_);
    for (bool goes_on = true; goes_on;) {
      goes_on = false;
      for (long round = 0; round < n_hashes_; ++round) {
        const std::int32_t position = at[round];
        if (position < 0) continue;
        if (position < end) reading.add_once(position);
        at[round] = before[position * n_hashes_ + round];
        if (at[round] >= 0) __builtin_prefetch(before + at[round] * n_hashes_);
        goes_on = true;
      }
    }
  }

 private:
  std::int32_t* before(const Session& session, long head) const {
    return reinterpret_cast<std::int32_t*>(before_.in(session)) +
           head * session.room * n_hashes_;
  }

  Place directions_, digits_, last_, before_;
  long n_hashes_, d_head_;
};

class LSHAttention : public RowAttentionStep {
 public:
  explicit LSHAttention(const Fields& fields)
      : RowAttentionStep(fields),
        chains_(fields),
        chunk_len_(fields.integer("chunk_len")),
        n_chunks_(fields.integer("chunks")) {}

 protected:
  void run(const Session& session, long head) override {
    static thread_local std::vector<float> query, key;
    static thread_local Reading reading;
    const RowCache cache = append(session, head, query, key);
    chains_.append(session, head, key.data());
    const long length = session.length + 1;
    const long latest = length <= n_chunks_ * chunk_len_ ? 0 : length - chunk_len_;
    reading.begin(session.room);
    if (latest > 0) chains_.read(session, head, latest, reading);
    const bool others = latest < session.length || reading.count() > 0;
    reading.add_range(latest, end_of(session, others));
    reading.score(*session.simd, cache, query.data());
    reading.mix(*session.simd, cache, out(session, head), d_head_);
  }

 private:
  BucketChains chains_;
  long chunk_len_, n_chunks_;
};

}  // namespace

NewStep lsh_attention_step(const std::string& name) {
  return name == "lsh_attention" ? make_step<LSHAttention> : nullptr;
}

}  // namespace decoding
