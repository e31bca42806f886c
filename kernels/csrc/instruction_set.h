// Which of the instruction sets that something is compiled for run on this processor.
#pragma once

#include <stdexcept>
#include <string>

namespace instruction_set {

constexpr const char* kNames[] = {"avx512", "avx2", "portable"};  // the best one first

// What returns the table of each, null where the compiler could not make it. They are compiled for
// their instruction set themselves, so none may be called where the processor lacks it.
template <class Table>
struct Compiled {
  const Table* (*avx512)();
  const Table* (*avx2)();
  const Table& (*portable)();
};

inline bool processor_has(const std::string& name) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (name == "avx512") return __builtin_cpu_supports("avx512f");
  if (name == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return name == "portable";
}

// Null if the set does not run here.
template <class Table>
const Table* find(const Compiled<Table>& compiled, const std::string& name) {
  if (!processor_has(name)) return nullptr;
  if (name == "avx512") return compiled.avx512();
  return name == "avx2" ? compiled.avx2() : &compiled.portable();
}

// The set of this name, the best one if it is null; throws std::invalid_argument.
template <class Table>
const Table& choose(const Compiled<Table>& compiled, const char* name) {
  for (const char* candidate : kNames) {
    if (name != nullptr && std::string(name) != candidate) continue;
    if (const Table* found = find(compiled, candidate)) return *found;
  }
  throw std::invalid_argument(std::string("instruction set ") + name + " does not run here");
}

}  // namespace instruction_set
