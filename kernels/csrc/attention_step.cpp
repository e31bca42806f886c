// Softmax attention of one position, each head by itself.
#include <algorithm>
#include <cmath>
#include <vector>

#include "step.h"

namespace decoding {
namespace {

// Keys of a head stand in panels of sixteen positions, [room / 16][d_head][16], so that scores are a
// product with a matrix of keys; values in rows, [room][d_value], filled up to sixteens.
struct HeadCache {
  float* keys;
  float* values;
};

class Attention : public Step {
 public:
  explicit Attention(const Fields& fields)
      : q_(fields.integer("q")),
        out_(fields.integer("out")),
        keys_(fields.integer("keys")),
        values_(fields.integer("values")),
        n_heads_(fields.integer("heads")),
        d_head_(fields.integer("d_head")),
        scale_(fields.real("scale")) {}

  long n_parts(long wanted) const override { return std::min(n_heads_, wanted); }

 protected:
  long d_value() const { return round_up(d_head_); }

  HeadCache cache(const Session& session, long head, long room) const {
    return {keys_.in(session) + head * room * d_head_, values_.in(session) + head * room * d_value()};
  }

  // Attends to positions [from, to) of a head; zeros if there are none.
  void attend(const Session& session, const HeadCache& cache, const float* query, long from,
              long to, float* out) const {
    static thread_local std::vector<float> scores, mixed;
    const long start = from / kPanelRows * kPanelRows;
    scores.assign(round_up(to - start) + kPanelRows, 0.0f);
    mixed.assign(d_value(), 0.0f);
    const Panels panels{cache.keys + start * d_head_, nullptr, to - start, d_head_};
    if (from < to) {
      const long n_panels = round_up(to - start) / kPanelRows;
      session.simd->add_product(panels, 0, n_panels, 0, d_head_, {query, 1, 0, scores.data(), 0});
      session.simd->softmax(scores.data() + (from - start), to - from);
      session.simd->weigh_rows(cache.values + from * d_value(), scores.data() + (from - start),
                               to - from, mixed.data(), d_value());
    }
    std::copy(mixed.begin(), mixed.begin() + d_head_, out);
  }

  Place q_, out_, keys_, values_;
  long n_heads_, d_head_;
  float scale_;
};

// Attention to the positions so far, the present one among them, or to those of some last chunks.
// Queries that serve as keys meet their own only where there is no other.
class SelfAttention : public Attention {
 public:
  explicit SelfAttention(const Fields& fields)
      : Attention(fields),
        k_(fields.integer("k")),
        v_(fields.integer("v")),
        shares_qk_(fields.integer("shares_qk") != 0),
        epsilon_(fields.real("epsilon")),
        frequencies_(fields.array<float>("frequencies")),
        chunk_len_(fields.integer("chunk_len")),
        n_chunks_before_(fields.integer("chunks_before")) {}

  void begin(Session& session, long) override {
    if (frequencies_ == nullptr) return;
    cosines_.resize(d_head_ / 2);
    sines_.resize(d_head_ / 2);
    for (long i = 0; i < d_head_ / 2; ++i) {
      const float angle = static_cast<float>(session.length) * frequencies_[i];
      cosines_[i] = std::cos(angle);
      sines_[i] = std::sin(angle);
    }
  }

  void run(const Session& session, long part, long n_parts) override {
    static thread_local std::vector<float> query, key;
    query.resize(d_head_);
    key.resize(d_head_);
    const long last = session.length;
    const long reach = (last / std::max(1L, chunk_len_) - n_chunks_before_) * chunk_len_;
    const long from = std::max(0L, reach);
    const long to = shares_qk_ && last > from ? last : last + 1;
    for (long head = begin_of(part, n_parts, n_heads_);
         head < begin_of(part + 1, n_parts, n_heads_); ++head) {
      turn(q_.in(session) + head * d_head_, query.data());
      turn(k_.in(session) + head * d_head_, key.data());
      if (shares_qk_) scale_to_unit_length(key);
      for (float& item : query) item *= scale_;
      const HeadCache cache = this->cache(session, head, session.room);
      append(cache, last, key.data(), v_.in(session) + head * d_head_);
      attend(session, cache, query.data(), from, to, out_.in(session) + head * d_head_);
    }
  }

 private:
  void turn(const float* x, float* y) const {
    if (frequencies_ == nullptr) {
      std::copy(x, x + d_head_, y);
      return;
    }
    const long half = d_head_ / 2;
    for (long i = 0; i < half; ++i) {
      y[i] = x[i] * cosines_[i] - x[i + half] * sines_[i];
      y[i + half] = x[i + half] * cosines_[i] + x[i] * sines_[i];
    }
  }

  void scale_to_unit_length(std::vector<float>& key) const {
    const float width = static_cast<float>(d_head_);
    float squares = 0.0f;
    for (float item : key) squares += item * item;
    const float factor = 1.0f / (std::sqrt(squares / width + epsilon_) * std::sqrt(width));
    for (float& item : key) item *= factor;
  }

  void append(const HeadCache& cache, long at, const float* key, const float* value) const {
    float* column = cache.keys + at / kPanelRows * kPanelRows * d_head_ + at % kPanelRows;
    for (long c = 0; c < d_head_; ++c) column[c * kPanelRows] = key[c];
    std::copy(value, value + d_head_, cache.values + at * d_value());
  }

  Place k_, v_;
  bool shares_qk_;
  float epsilon_;
  const float* frequencies_;  // of rotary positions, or null
  long chunk_len_, n_chunks_before_;  // 0 where all positions are in reach
  std::vector<float> cosines_, sines_;
};

// Attention to the positions of an encoder.
class CrossAttention : public Attention {
 public:
  explicit CrossAttention(const Fields& fields) : Attention(fields) {}

  void run(const Session& session, long part, long n_parts) override {
    static thread_local std::vector<float> query;
    query.resize(d_head_);
    for (long head = begin_of(part, n_parts, n_heads_);
         head < begin_of(part + 1, n_parts, n_heads_); ++head) {
      const float* q = q_.in(session) + head * d_head_;
      for (long c = 0; c < d_head_; ++c) query[c] = q[c] * scale_;
      attend(session, cache(session, head, session.memory_room), query.data(), 0,
             session.memory_length, out_.in(session) + head * d_head_);
    }
  }
};

}  // namespace

NewStep attention_step(const std::string& name) {
  if (name == "self_attention") return make_step<SelfAttention>;
  return name == "cross_attention" ? make_step<CrossAttention> : nullptr;
}

}  // namespace decoding
