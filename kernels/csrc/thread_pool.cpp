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

std::uint64_t new_ticket(std::uint32_t round, long n_parts) {
  return static_cast<std::uint64_t>(round) << 32 | static_cast<std::uint64_t>(n_parts) << 16;
}

std::uint32_t round_of(std::uint64_t ticket) { return static_cast<std::uint32_t>(ticket >> 32); }
long n_parts_of(std::uint64_t ticket) { return static_cast<long>(ticket >> 16 & 0xffff); }
long next_of(std::uint64_t ticket) { return static_cast<long>(ticket & 0xffff); }

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
  n_unfinished_ = n_parts;
  ticket_ = new_ticket(round_of(ticket_) + 1, n_parts);
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
  std::uint64_t ticket = ticket_;
  while (next_of(ticket) < n_parts_of(ticket)) {
    Work* work = work_;
    if (ticket_.compare_exchange_weak(ticket, ticket + 1)) {
      work->run(next_of(ticket));
      --n_unfinished_;
      return true;
    }
  }
  return false;
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
