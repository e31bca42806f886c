// What chooses: the controller of a sparse feed-forward layer, and the router to an expert.
#include <algorithm>
#include <cmath>
#include <vector>

#include "step.h"

namespace decoding {
namespace {

// Weight of the chosen one in a softmax of logits.
float share_of(const float* logits, long count, long chosen) {
  float total = 0.0f;
  for (long i = 0; i < count; ++i) total += std::exp(logits[i] - logits[chosen]);
  return 1.0f / total;
}

struct Unit {
  long row;
  float factor;
};

// Adds to y what the chosen unit of each block makes of x. Rows of both weights stand together:
// [units][2][width]. Only rows of chosen units are read, and the second only where ReLU lets pass.
class SparseFeedForward : public Step {
 public:
  explicit SparseFeedForward(const Fields& fields)
      : controller_{fields.array<void>("controller"), fields.array<float>("controller_scales"),
                    fields.integer("units"), fields.integer("d_lowrank")},
        controller_bias_(fields.array<float>("controller_bias")),
        rows_(fields.array<void>("rows")),
        row_scales_(fields.array<float>("row_scales")),
        bias_(fields.array<float>("bias")),
        x_(fields.integer("x")),
        low_(fields.integer("low")),
        y_(fields.integer("y")),
        block_size_(fields.integer("block_size")),
        n_blocks_(controller_.n_rows / block_size_),
        d_model_(fields.integer("d_model")),
        width_(round_up(d_model_)),
        multiplies_(fields.integer("multiplies") != 0) {}

  long n_parts(long wanted) const override { return std::min(n_blocks_, wanted); }

  void begin(Session&, long n_parts) override { sums_.assign(n_parts * width_, 0.0f); }

  void run(const Session& session, long part, long n_parts) override {
    static thread_local std::vector<Unit> chosen;
    choose(session, begin_of(part, n_parts, n_blocks_), begin_of(part + 1, n_parts, n_blocks_),
           chosen);
    float* sums = sums_.data() + part * width_;
    if (row_scales_ != nullptr) {
      apply(session, session.simd->int8_rows, chosen, sums);
    } else {
      apply(session, session.simd->float_rows, chosen, sums);
    }
  }

  void end(Session& session, long n_parts) override {
    float* y = y_.in(session);
    for (long i = 0; i < d_model_; ++i) y[i] += bias_[i];
    for (long part = 0; part < n_parts; ++part) {
      for (long i = 0; i < d_model_; ++i) y[i] += sums_[part * width_ + i];
    }
  }

 private:
  // The unit of highest logit in each block, the first of equals.
  void choose(const Session& session, long from, long to, std::vector<Unit>& chosen) const {
    static thread_local std::vector<float> room;
    const long first = from * block_size_ / kPanelRows;
    const long last = round_up(to * block_size_) / kPanelRows;
    room.resize((last - first) * kPanelRows);
    float* logits = room.data() - first * kPanelRows;
    const long end = std::min(last * kPanelRows, controller_.n_rows);
    std::copy(controller_bias_ + first * kPanelRows, controller_bias_ + end, room.data());
    session.simd->add_product(controller_, first, last, 0, controller_.depth,
                              {low_.in(session), 1, 0, logits, 0});
    chosen.clear();
    for (long block = from; block < to; ++block) {
      const float* begin = logits + block * block_size_;
      const long best = std::max_element(begin, begin + block_size_) - begin;
      const float factor = multiplies_ ? share_of(begin, block_size_, best) : 1.0f;
      chosen.push_back({block * block_size_ + best, factor});
    }
  }

  template <class Weight>
  void apply(const Session& session, const RowFunctions<Weight>& functions,
             std::vector<Unit>& units, float* sums) const {
    const Weight* rows = static_cast<const Weight*>(rows_);
    const float* x = x_.in(session);
    std::size_t n_active = 0;
    for (std::size_t i = 0; i < units.size(); ++i) {
      const Unit unit = units[i];
      const Weight* row = rows + 2 * unit.row * width_;
      const Weight* next = rows + 2 * units[std::min(i + 1, units.size() - 1)].row * width_;
      float value = functions.dot(row, x, width_, next) * unit.factor;
      if (row_scales_ != nullptr) value *= row_scales_[2 * unit.row];
      if (value > 0.0f) units[n_active++] = {unit.row, value};
    }
    units.resize(n_active);
    if (n_active % 2 != 0) units.push_back({units.back().row, 0.0f});
    for (std::size_t i = 0; i < units.size(); i += 2) {
      const Weight* pair[2];
      const Weight* next[2];
      float factors[2];
      for (int j = 0; j < 2; ++j) {
        const Unit unit = units[i + j];
        pair[j] = rows + (2 * unit.row + 1) * width_;
        next[j] = rows + (2 * units[std::min(i + 2 + j, units.size() - 1)].row + 1) * width_;
        factors[j] = row_scales_ ? unit.factor * row_scales_[2 * unit.row + 1] : unit.factor;
      }
      functions.add_two(pair, factors, sums, width_, next);
    }
  }

  Panels controller_;
  const float* controller_bias_;
  const void* rows_;
  const float* row_scales_;
  const float* bias_;
  Place x_, low_, y_;
  long block_size_, n_blocks_, d_model_, width_;
  bool multiplies_;
  std::vector<float> sums_;
};

// Chooses the expert of highest logit, the first of equals.
class Route : public SmallStep {
 public:
  explicit Route(const Fields& fields)
      : logits_(fields.integer("logits")), n_experts_(fields.integer("experts")) {}

 protected:
  void run(Session& session) override {
    const float* logits = logits_.in(session);
    session.expert = std::max_element(logits, logits + n_experts_) - logits;
    session.probability = share_of(logits, n_experts_, session.expert);
  }

 private:
  Place logits_;
  long n_experts_;
};

}  // namespace

NewStep feed_forward_step(const std::string& name) {
  if (name == "sparse_feed_forward") return make_step<SparseFeedForward>;
  return name == "route" ? make_step<Route> : nullptr;
}

}  // namespace decoding
