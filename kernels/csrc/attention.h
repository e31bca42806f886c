// What the kinds of attention have in common: heads, and how queries and keys are made ready.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "step.h"

namespace decoding {

// A step whose heads work each by itself.
class HeadStep : public Step {
 public:
  explicit HeadStep(const Fields& fields)
      : q_(fields.integer("q")),
        out_(fields.integer("out")),
        n_heads_(fields.integer("heads")),
        d_head_(fields.integer("d_head")),
        scale_(fields.real("scale")) {}

  long n_parts(long wanted) const final { return std::min(n_heads_, wanted); }

  void run(const Session& session, long part, long n_parts) final {
    const long last = begin_of(part + 1, n_parts, n_heads_);
    for (long head = begin_of(part, n_parts, n_heads_); head < last; ++head) run(session, head);
  }

 protected:
  virtual void run(const Session& session, long head) = 0;

  // Width of a head, filled up to sixteens.
  long width() const { return round_up(d_head_); }
  float* out(const Session& session, long head) const { return out_.in(session) + head * d_head_; }

  // Sets query, [width], to that of a head times the scale.
  virtual void read_query(const Session& session, long head, float* query) const {
    const float* q = q_.in(session) + head * d_head_;
    for (long c = 0; c < d_head_; ++c) query[c] = q[c] * scale_;
    std::fill(query + d_head_, query + width(), 0.0f);
  }

  Place q_, out_;
  long n_heads_, d_head_;
  float scale_;
};

// Attention to positions of which the present one is the last. Queries that serve as keys meet their
// own only where there is no other.
class SelfAttentionStep : public HeadStep {
 public:
  explicit SelfAttentionStep(const Fields& fields)
      : HeadStep(fields),
        k_(fields.integer("k")),
        v_(fields.integer("v")),
        shares_qk_(fields.integer("shares_qk") != 0),
        epsilon_(fields.real("epsilon")),
        frequencies_(fields.array<float>("frequencies")) {}

  void begin(Session& session, long) final {
    if (frequencies_ == nullptr) return;
    cosines_.resize(d_head_ / 2);
    sines_.resize(d_head_ / 2);
    for (long i = 0; i < d_head_ / 2; ++i) {
      const float angle = static_cast<float>(session.length) * frequencies_[i];
      cosines_[i] = std::cos(angle);
      sines_[i] = std::sin(angle);
    }
  }

 protected:
  void read_query(const Session& session, long head, float* query) const final {
    turn(q_.in(session) + head * d_head_, query);
    for (long c = 0; c < d_head_; ++c) query[c] *= scale_;
  }

  // Sets key, [width], to that of a head, of unit length where it is a query too.
  void read_key(const Session& session, long head, float* key) const {
    turn(k_.in(session) + head * d_head_, key);
    if (!shares_qk_) return;
    const float width = static_cast<float>(d_head_);
    float squares = 0.0f;
    for (long c = 0; c < d_head_; ++c) squares += key[c] * key[c];
    const float factor = 1.0f / (std::sqrt(squares / width + epsilon_) * std::sqrt(width));
    for (long c = 0; c < d_head_; ++c) key[c] *= factor;
  }

  const float* value(const Session& session, long head) const {
    return v_.in(session) + head * d_head_;
  }

  // Where the positions end that are attended to, if there are others than the present one or not.
  long end_of(const Session& session, bool others) const {
    return session.length + (shares_qk_ && others ? 0 : 1);
  }

 private:
  // Rotary positions, where there are any.
  void turn(const float* x, float* y) const {
    std::fill(y + d_head_, y + width(), 0.0f);
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

  Place k_, v_;
  bool shares_qk_;
  float epsilon_;
  const float* frequencies_;  // of rotary positions, or null
  std::vector<float> cosines_, sines_;
};

}  // namespace decoding
