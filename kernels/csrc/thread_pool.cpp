#include "thread_pool.h"

namespace decoding {
namespace {

constexpr int kLooks = 256;  // before sleeping: a few microseconds

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

std::uint32_t round_of(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket >> 32); }

}  // namespace

ThreadPool::ThreadPool(int n_threads) {
  for (int i = 1; i < n_threads; ++i) workers_.emplace_back([this] { serve(); });
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::run(Work& work, long n_parts) {
  if (workers_.empty() || n_parts == 1) {
    for (long part = 0; part < n_parts; ++part) work.run(part);
    return;
  }
  work_ = &work;
  n_parts_ = static_cast<std::uint32_t>(n_parts);
  n_unfinished_ = n_parts;
  const std::uint64_t round = round_of(ticket_.load()) + 1u;
  ticket_ = round << 32;
  if (n_asleep_ > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    wake_.notify_all();
  }
  while (claim_and_run()) {
  }
  for (int looks = 0; n_unfinished_ > 0; ++looks) {
    if (looks < kLooks) {
      pause();
    } else {
      std::this_thread::yield();  // whoever runs the last part may need this very core
    }
  }
}

// A claim succeeds only in the round whose work was read: until its parts are done, no other begins.
bool ThreadPool::claim_and_run() {
  std::uint64_t ticket = ticket_.load();
  for (;;) {
    Work* work = work_;
    const std::uint32_t part = static_cast<std::uint32_t>(ticket);
    if (part >= n_parts_) return false;
    if (ticket_.compare_exchange_weak(ticket, ticket + 1)) {
      work->run(part);
      --n_unfinished_;
      return true;
    }
  }
}

bool ThreadPool::wait_for_round(std::uint32_t seen) {
  for (int looks = 0; looks < kLooks; ++looks) {
    if (stopping_) return false;
    if (round_of(ticket_) != seen) return true;
    pause();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  ++n_asleep_;
  wake_.wait(lock, [&] { return stopping_ || round_of(ticket_) != seen; });
  --n_asleep_;
  return !stopping_;
}

void ThreadPool::serve() {
  std::uint32_t seen = 0;
  while (wait_for_round(seen)) {
    seen = round_of(ticket_);
    while (claim_and_run()) {
    }
  }
}

}  // namespace decoding
