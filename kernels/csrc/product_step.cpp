// Linear layers: dense, multiplicative (gated inputs), convolutional, and those of an expert.
#include <algorithm>
#include <vector>

#include "step.h"

namespace decoding {
namespace {

constexpr long kGatedColumns = 256;     // of them, a panel and a few inputs stay in the first cache
constexpr long kApart = 16;             // so that inputs do not fall on the same places of it
constexpr long kLeastWork = 1 << 14;    // multiplications that are worth a thread

Panels panels_of(const Fields& fields) {
  return {fields.array<void>("weights"), fields.array<float>("scales"), fields.integer("rows"),
          fields.integer("depth")};
}

// y[s] (+)= bias + weights · x[s] for inputs x[s], which stand x_stride apart.
class Linear : public Step {
 public:
  explicit Linear(const Fields& fields)
      : panels_(panels_of(fields)),
        x_(fields.integer("x")),
        y_(fields.integer("y")),
        n_inputs_(fields.integer("inputs")),
        x_stride_(fields.integer("x_stride")),
        y_stride_(fields.integer("y_stride")),
        bias_(fields.array<float>("bias")),
        bias_stride_(fields.integer("bias_stride")),
        adds_(fields.integer("adds") != 0),
        relu_(fields.integer("relu") != 0) {}

  long n_parts(long wanted) const override {
    const long worth = n_panels() * kPanelRows * panels_.depth * n_inputs_ / kLeastWork;
    return std::clamp(std::min(n_panels(), worth), 1L, wanted);
  }

  void run(const Session& session, long part, long n_parts) override {
    const long first = begin_of(part, n_parts, n_panels());
    const long last = begin_of(part + 1, n_parts, n_panels());
    const long from = first * kPanelRows;
    const long to = std::min(last * kPanelRows, panels_.n_rows);
    start(session, from, to);
    multiply(session, first, last);
    if (relu_) clamp(session, from, to);
  }

 protected:
  long n_panels() const { return round_up(panels_.n_rows) / kPanelRows; }

  Operands operands(const Session& session, const float* x) const {
    return {x, n_inputs_, x_stride_, y_.in(session), y_stride_};
  }

  virtual const float* bias(const Session&) const { return bias_; }

  virtual void multiply(const Session& session, long first, long last) const {
    session.simd->add_product(panels_, first, last, 0, panels_.depth,
                              operands(session, x_.in(session)));
  }

  Panels panels_;
  Place x_, y_;
  long n_inputs_, x_stride_, y_stride_;
  const float* bias_;
  long bias_stride_;
  bool adds_, relu_;

 private:
  void start(const Session& session, long from, long to) const {
    const float* bias = this->bias(session);
    for (long s = 0; s < n_inputs_; ++s) {
      float* y = y_.in(session) + s * y_stride_;
      if (!adds_) std::fill(y + from, y + to, 0.0f);
      if (bias == nullptr) continue;
      for (long r = from; r < to; ++r) y[r] += bias[s * bias_stride_ + r];
    }
  }

  void clamp(const Session& session, long from, long to) const {
    for (long s = 0; s < n_inputs_; ++s) {
      float* y = y_.in(session) + s * y_stride_;
      for (long r = from; r < to; ++r) y[r] = std::max(y[r], 0.0f);
    }
  }
};

// One of several layers that stand one after another: the one that the router chose.
class ExpertLinear : public Linear {
 public:
  explicit ExpertLinear(const Fields& fields)
      : Linear(fields), expert_bias_(fields.integer("expert_bias")) {}

 protected:
  const float* bias(const Session& session) const override {
    return bias_ + session.expert * expert_bias_;
  }

  void multiply(const Session& session, long first, long last) const override {
    const long n_rows = n_panels() * kPanelRows, skipped = session.expert * n_rows * panels_.depth;
    Panels chosen = panels_;
    if (panels_.scales != nullptr) {
      chosen.weights = static_cast<const std::int8_t*>(panels_.weights) + skipped;
      chosen.scales += session.expert * n_rows;
    } else {
      chosen.weights = static_cast<const float*>(panels_.weights) + skipped;
    }
    session.simd->add_product(chosen, first, last, 0, chosen.depth,
                              operands(session, x_.in(session)));
  }

 private:
  long expert_bias_;
};

// One input x, gated for each module of the output: x[s] = x * gate[s].
class Multiplicative : public Linear {
 public:
  explicit Multiplicative(const Fields& fields)
      : Linear(fields), gate_(fields.array<float>("gate")) {}

 protected:
  void multiply(const Session& session, long first, long last) const override {
    static thread_local std::vector<float> gated;
    const long block = std::min(panels_.depth, kGatedColumns), stride = block + kApart;
    gated.resize(n_inputs_ * stride);
    const float* x = x_.in(session);
    for (long from = 0; from < panels_.depth; from += block) {
      const long width = std::min(block, panels_.depth - from);
      for (long s = 0; s < n_inputs_; ++s) {
        const float* gate = gate_ + s * panels_.depth + from;
        for (long c = 0; c < width; ++c) gated[s * stride + c] = x[from + c] * gate[c];
      }
      Operands product = operands(session, gated.data());
      product.x_stride = stride;
      session.simd->add_product(panels_, first, last, from, from + width, product);
    }
  }

 private:
  const float* gate_;
};

// Modules of the output see those of the input around them, at the last positions, which a ring
// holds: [positions][x_width]. There is a matrix for each position, the present one last.
class Convolution : public Linear {
 public:
  explicit Convolution(const Fields& fields)
      : Linear(fields),
        n_positions_(fields.integer("positions")),
        ring_stride_(fields.integer("ring_stride")) {}

 protected:
  void multiply(const Session& session, long first, long last) const override {
    const long n_rows = n_panels() * kPanelRows;
    Panels matrix = panels_;
    for (long l = 0; l < n_positions_; ++l) {
      const long row = (session.length + 1 + l) % n_positions_;
      session.simd->add_product(matrix, first, last, 0, matrix.depth,
                                operands(session, x_.in(session) + row * ring_stride_));
      if (matrix.scales != nullptr) {
        matrix.weights = static_cast<const std::int8_t*>(matrix.weights) + n_rows * matrix.depth;
        matrix.scales += n_rows;
      } else {
        matrix.weights = static_cast<const float*>(matrix.weights) + n_rows * matrix.depth;
      }
    }
  }

 private:
  long n_positions_, ring_stride_;
};

}  // namespace

NewStep product_step(const std::string& name) {
  if (name == "linear") return make_step<Linear>;
  if (name == "expert_linear") return make_step<ExpertLinear>;
  if (name == "multiplicative") return make_step<Multiplicative>;
  return name == "convolution" ? make_step<Convolution> : nullptr;
}

}  // namespace decoding
