// All steps of a token, in their order.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "step.h"
#include "thread_pool.h"

namespace decoding {

class Plan {
 public:
  Plan(int n_threads, const char* simd) : pool_(n_threads), simd_(choose_simd(simd)) {}

  // Throws std::invalid_argument if there is no such step or it lacks a field. A step that runs
  // beside the one before it reads nothing that that one writes.
  void add(const std::string& name, const Fields& fields, bool beside);
  // One call at a time works; others wait.
  void run(Session session);
  const char* simd() const { return simd_.name; }

 private:
  using Together = std::vector<std::unique_ptr<Step>>;

  void run_together(const Together& steps, Session& session);

  ThreadPool pool_;
  const SimdTable& simd_;
  std::vector<Together> rounds_;
  std::mutex mutex_;
};

}  // namespace decoding
