// The threads that all operations on whole sequences share.
#pragma once

#include "thread_pool.h"

namespace sequence {

class Team {
 public:
  // Calls body(part) for all parts, from up to `n_threads` threads; one caller at a time.
  template <class Body>
  static void run(int n_threads, long n_parts, const Body& body) {
    struct Call final : decoding::Work {
      const Body& body;
      long first = 0;
      explicit Call(const Body& given) : body(given) {}
      void run(long part) override { body(first + part); }
    } call(body);
    for (; call.first < n_parts; call.first += kMost) {
      run(n_threads, call, n_parts - call.first < kMost ? n_parts - call.first : kMost);
    }
  }

 private:
  static constexpr long kMost = 1 << 15;  // parts that a thread pool takes at once
  static void run(int n_threads, decoding::Work& work, long n_parts);
};

// Room for `count` numbers, aligned, for the calling thread until it asks again.
float* scratch(long count);

}  // namespace sequence
