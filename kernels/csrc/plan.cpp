#include "plan.h"

#include <stdexcept>

namespace decoding {
namespace {

constexpr long kPartsOfAThread = 4;  // so that a thread that comes late does less

NewStep find_step(const std::string& name) {
  for (auto find : {product_step, attention_step, selected_attention_step, lsh_attention_step,
                    feed_forward_step, vector_step}) {
    if (NewStep found = find(name)) return found;
  }
  throw std::invalid_argument("there is no step " + name);
}

// The parts of several steps, one after another.
class Parts final : public Work {
 public:
  Parts(const std::vector<std::unique_ptr<Step>>& steps, const Session& session, long wanted)
      : steps_(steps), session_(session) {
    for (const auto& step : steps) counts_.push_back(step->n_parts(wanted));
  }

  long count_of(std::size_t step) const { return counts_[step]; }

  long count() const {
    long total = 0;
    for (long count : counts_) total += count;
    return total;
  }

  void run(long part) override {
    std::size_t step = 0;
    while (part >= counts_[step]) part -= counts_[step++];
    steps_[step]->run(session_, part, counts_[step]);
  }

 private:
  const std::vector<std::unique_ptr<Step>>& steps_;
  const Session& session_;
  std::vector<long> counts_;
};

}  // namespace

void Plan::add(const std::string& name, const Fields& fields, bool beside) {
  if (!beside || rounds_.empty()) rounds_.emplace_back();
  rounds_.back().push_back(find_step(name)(fields));
}

void Plan::run(Session session) {
  const std::lock_guard<std::mutex> lock(mutex_);
  session.simd = &simd_;
  for (const Together& steps : rounds_) run_together(steps, session);
}

void Plan::run_together(const Together& steps, Session& session) {
  const int n_threads = pool_.n_threads();
  Parts parts(steps, session, n_threads == 1 ? 1 : n_threads * kPartsOfAThread);
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i]->begin(session, parts.count_of(i));
  pool_.run(parts, parts.count());
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i]->end(session, parts.count_of(i));
}

}  // namespace decoding
