#include <stdexcept>
#include <string>

#include "simd_table.h"

namespace decoding {
namespace {

bool processor_has(const std::string& name) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (name == "avx512") return __builtin_cpu_supports("avx512f");
  if (name == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return name == "portable";
}

const SimdTable* compiled(const std::string& name) {
  if (name == "avx512") return avx512_table();
  if (name == "avx2") return avx2_table();
  return name == "portable" ? &portable_table() : nullptr;
}

}  // namespace

bool runs_here(const char* name) { return processor_has(name) && compiled(name) != nullptr; }

const SimdTable& choose_simd(const char* name) {
  if (name != nullptr) {
    if (runs_here(name)) return *compiled(name);
    throw std::invalid_argument(std::string("instruction set ") + name + " does not run here");
  }
  for (const char* candidate : {"avx512", "avx2"}) {
    if (runs_here(candidate)) return *compiled(candidate);
  }
  return portable_table();
}

}  // namespace decoding
