#include "sequence_team.h"

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#if defined(_WIN32)
#include <process.h>
#else
#include <unistd.h>
#endif

namespace sequence {
namespace {

int process_id() {
#if defined(_WIN32)
  return _getpid();
#else
  return static_cast<int>(getpid());
#endif
}

struct Shared {
  int process;
  std::mutex mutex;
  std::unique_ptr<decoding::ThreadPool> pool;
};

// Never destroyed: a forked process has none of the threads, and no use for the lock that another
// thread may have held; it begins anew.
Shared& shared() {
  static std::atomic<Shared*> current{nullptr};
  Shared* known = current;
  while (known == nullptr || known->process != process_id()) {
    Shared* fresh = new Shared{process_id(), {}, nullptr};
    if (current.compare_exchange_strong(known, fresh)) return *fresh;
    delete fresh;
  }
  return *known;
}

}  // namespace

void Team::run(int n_threads, decoding::Work& work, long n_parts) {
  if (n_threads == 1 || n_parts == 1) {
    for (long part = 0; part < n_parts; ++part) work.run(part);
    return;
  }
  Shared& team = shared();
  std::lock_guard<std::mutex> lock(team.mutex);
  if (team.pool == nullptr || team.pool->n_threads() != n_threads) {
    team.pool = nullptr;
    team.pool = std::make_unique<decoding::ThreadPool>(n_threads);
  }
  team.pool->run(work, n_parts);
}

float* scratch(long count) {
  constexpr std::uintptr_t alignment = 64;
  thread_local std::vector<float> room;
  const std::size_t needed = static_cast<std::size_t>(count) + alignment / sizeof(float);
  if (room.size() < needed) room.assign(needed, 0.0f);
  const auto at = reinterpret_cast<std::uintptr_t>(room.data());
  return reinterpret_cast<float*>((at + alignment - 1) / alignment * alignment);
}

}  // namespace sequence
