#include <stdexcept>
#include <string>

#include "sequence_simd.h"

namespace sequence {
namespace {

bool processor_has(const std::string& name) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (name == "avx512") return __builtin_cpu_supports("avx512f");
  if (name == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return name == "portable";
}

const Simd* compiled(const std::string& name) {
  if (name == "avx512") return avx512_simd();
  if (name == "avx2") return avx2_simd();
  return name == "portable" ? &portable_simd() : nullptr;
}

}  // namespace

bool runs_here(const char* name) { return processor_has(name) && compiled(name) != nullptr; }

const Simd& choose_simd(const char* name) {
  if (name != nullptr) {
    if (runs_here(name)) return *compiled(name);
    throw std::invalid_argument(std::string("instruction set ") + name + " does not run here");
  }
  for (const char* candidate : {"avx512", "avx2"}) {
    if (runs_here(candidate)) return *compiled(candidate);
  }
  return portable_simd();
}

}  // namespace sequence
