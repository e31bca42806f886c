// Threads that stay, and share out the parts of one piece of work after another.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace decoding {

class Work {
 public:
  virtual void run(long part) = 0;

 protected:
  ~Work() = default;
};

// Parts are claimed one by one, by whoever is awake: a thread that the system has put aside holds up
// no part but the one it has begun. Waiting threads look for work for a few microseconds, then sleep.
class ThreadPool {
 public:
  explicit ThreadPool(int n_threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }
  // Runs all parts, the calling thread among others, and returns when they are done.
  void run(Work& work, long n_parts);

 private:
  void serve();
  bool claim_and_run();
  bool wait_for_round(std::uint32_t seen);

  // The round, how many parts it has, and the next of them: in one number, so that a claim that was
  // begun in one round cannot succeed in another.
  std::atomic<std::uint64_t> ticket_{0};
  std::atomic<Work*> work_{nullptr};
  std::atomic<long> n_unfinished_{0};
  std::atomic<int> n_asleep_{0};
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<std::thread> workers_;
};

}  // namespace decoding
