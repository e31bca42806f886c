// Small things done to single vectors.
#include <algorithm>
#include <cmath>

#include "step.h"

namespace decoding {
namespace {

// y = the token's row of a table + the encoding of the position.
class Embed : public SmallStep {
 public:
  explicit Embed(const Fields& fields)
      : table_(fields.array<float>("table")),
        encoding_(fields.integer("encoding")),
        y_(fields.integer("y")),
        d_model_(fields.integer("d_model")) {}

 protected:
  void run(Session& session) override {
    const float* row = table_ + session.token * d_model_;
    const float* encoding = encoding_.in(session);
    float* y = y_.in(session);
    for (long i = 0; i < d_model_; ++i) y[i] = row[i] + encoding[i];
  }

 private:
  const float* table_;
  Place encoding_, y_;
  long d_model_;
};

class Norm : public SmallStep {
 public:
  explicit Norm(const Fields& fields)
      : x_(fields.integer("x")),
        y_(fields.integer("y")),
        width_(fields.integer("width")),
        gain_(fields.array<float>("gain")),
        bias_(fields.array<float>("bias")),
        epsilon_(fields.real("epsilon")) {}

 protected:
  void run(Session& session) override {
    session.simd->layer_norm(x_.in(session), gain_, bias_, epsilon_, y_.in(session), width_);
  }

 private:
  Place x_, y_;
  long width_;
  const float *gain_, *bias_;
  float epsilon_;
};

// y (+)= x times a number, perhaps times the probability of the expert; rows of both stand apart.
class Copy : public SmallStep {
 public:
  explicit Copy(const Fields& fields)
      : x_(fields.integer("x")),
        y_(fields.integer("y")),
        n_rows_(fields.integer("rows")),
        width_(fields.integer("width")),
        x_stride_(fields.integer("x_stride")),
        y_stride_(fields.integer("y_stride")),
        factor_(fields.real("factor")),
        adds_(fields.integer("adds") != 0),
        by_probability_(fields.integer("by_probability") != 0) {}

 protected:
  void run(Session& session) override {
    const float factor = by_probability_ ? factor_ * session.probability : factor_;
    for (long row = 0; row < n_rows_; ++row) {
      const float* x = x_.in(session) + row * x_stride_;
      float* y = y_.in(session) + row * y_stride_;
      for (long i = 0; i < width_; ++i) y[i] = (adds_ ? y[i] : 0.0f) + factor * x[i];
    }
  }

 private:
  Place x_, y_;
  long n_rows_, width_, x_stride_, y_stride_;
  float factor_;
  bool adds_, by_probability_;
};

// Puts x into a ring of the last positions.
class Remember : public SmallStep {
 public:
  explicit Remember(const Fields& fields)
      : x_(fields.integer("x")),
        ring_(fields.integer("ring")),
        width_(fields.integer("width")),
        n_positions_(fields.integer("positions")),
        ring_stride_(fields.integer("ring_stride")) {}

 protected:
  void run(Session& session) override {
    const float* x = x_.in(session);
    const long row = session.length % n_positions_;
    std::copy(x, x + width_, ring_.in(session) + row * ring_stride_);
  }

 private:
  Place x_, ring_;
  long width_, n_positions_, ring_stride_;
};

// h = r * c + (1 - r) * x * sqrt(3), c = f * c + (1 - f) * candidate; gates hold r, f, candidate.
class RecurrentCell : public SmallStep {
 public:
  explicit RecurrentCell(const Fields& fields)
      : gates_(fields.integer("gates")),
        x_(fields.integer("x")),
        cell_(fields.integer("cell")),
        y_(fields.integer("y")),
        n_units_(fields.integer("units")) {}

 protected:
  void run(Session& session) override {
    const float* gates = gates_.in(session);
    const float* x = x_.in(session);
    float* cell = cell_.in(session);
    float* y = y_.in(session);
    const float highway = std::sqrt(3.0f);
    for (long i = 0; i < n_units_; ++i) {
      const float r = sigmoid(gates[i]), f = sigmoid(gates[n_units_ + i]);
      cell[i] = f * cell[i] + (1.0f - f) * gates[2 * n_units_ + i];
      y[i] = r * cell[i] + (1.0f - r) * x[i] * highway;
    }
  }

 private:
  static float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

  Place gates_, x_, cell_, y_;
  long n_units_;
};

}  // namespace

NewStep vector_step(const std::string& name) {
  if (name == "embed") return make_step<Embed>;
  if (name == "norm") return make_step<Norm>;
  if (name == "copy") return make_step<Copy>;
  if (name == "remember") return make_step<Remember>;
  return name == "recurrent_cell" ? make_step<RecurrentCell> : nullptr;
}

}  // namespace decoding
