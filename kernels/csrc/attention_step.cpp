// Softmax attention of one position to all positions of a cache, or to the last ones.
#include "attention.h"

namespace decoding {
namespace {

// Keys of a head stand in panels of sixteen positions, [room / 16][d_head][16], so that scores are a
// product with a matrix of keys; values in rows, [room][width].
class PanelCache {
 public:
  explicit PanelCache(const Fields& fields)
      : keys_(fields.integer("keys")),
        values_(fields.integer("values")),
        d_head_(fields.integer("d_head")),
        width_(round_up(d_head_)) {}

  void append(const Session& session, long head, const float* key, const float* value) const {
    const long at = session.length;
    float* column = keys(session, head, session.room) + at % kPanelRows;
    column += at / kPanelRows * kPanelRows * d_head_;
    for (long c = 0; c < d_head_; ++c) column[c * kPanelRows] = key[c];
    float* row = values_.in(session) + (head * session.room + at) * width_;
    std::copy(value, value + d_head_, row);
  }

  // Attends to positions [from, to) of a head; zeros if there are none.
  void attend(const Session& session, long head, long room, const float* query, long from, long to,
              float* out) const {
    static thread_local std::vector<float> scores, mixed;
    const long start = from / kPanelRows * kPanelRows;
    scores.assign(round_up(to - start) + kPanelRows, 0.0f);
    mixed.assign(width_, 0.0f);
    const Panels panels{keys(session, head, room) + start * d_head_, nullptr, to - start, d_head_};
    if (from < to) {
      const long n_panels = round_up(to - start) / kPanelRows;
      session.simd->add_product(panels, 0, n_panels, 0, d_head_, {query, 1, 0, scores.data(), 0});
      session.simd->softmax(scores.data() + (from - start), to - from);
      session.simd->weigh_rows(values_.in(session) + (head * room + from) * width_,
                               scores.data() + (from - start), to - from, mixed.data(), width_);
    }
    std::copy(mixed.begin(), mixed.begin() + d_head_, out);
  }

 private:
  float* keys(const Session& session, long head, long room) const {
    return keys_.in(session) + head * room * d_head_;
  }

  Place keys_, values_;
  long d_head_, width_;
};

// Attention to the positions so far, or to those of some last chunks.
class SelfAttention : public SelfAttentionStep {
 public:
  explicit SelfAttention(const Fields& fields)
      : SelfAttentionStep(fields),
        cache_(fields),
        chunk_len_(fields.integer("chunk_len")),
        n_chunks_before_(fields.integer("chunks_before")) {}

 protected:
  void run(const Session& session, long head) override {
    static thread_local std::vector<float> query, key;
    query.resize(width());
    key.resize(width());
    read_query(session, head, query.data());
    read_key(session, head, key.data());
    cache_.append(session, head, key.data(), value(session, head));
    const long chunk = session.length / std::max(1L, chunk_len_);
    const long from = std::max(0L, (chunk - n_chunks_before_) * chunk_len_);
    cache_.attend(session, head, session.room, query.data(), from,
                  end_of(session, session.length > from), out(session, head));
  }

 private:
  PanelCache cache_;
  long chunk_len_, n_chunks_before_;  // 0 where all positions are in reach
};

// Attention to the positions of an encoder.
class CrossAttention : public HeadStep {
 public:
  explicit CrossAttention(const Fields& fields) : HeadStep(fields), cache_(fields) {}

 protected:
  void run(const Session& session, long head) override {
    static thread_local std::vector<float> query;
    query.resize(width());
    read_query(session, head, query.data());
    cache_.attend(session, head, session.memory_room, query.data(), 0, session.memory_length,
                  out(session, head));
  }

 private:
  PanelCache cache_;
};

}  // namespace

NewStep attention_step(const std::string& name) {
  if (name == "self_attention") return make_step<SelfAttention>;
  return name == "cross_attention" ? make_step<CrossAttention> : nullptr;
}

}  // namespace decoding
