#include "instruction_set.h"
#include "simd_table.h"

namespace decoding {
namespace {

constexpr instruction_set::Compiled<SimdTable> kCompiled = {avx512_table, avx2_table, portable_table};

}  // namespace

bool runs_here(const char* name) { return instruction_set::find(kCompiled, name) != nullptr; }

const SimdTable& choose_simd(const char* name) { return instruction_set::choose(kCompiled, name); }

}  // namespace decoding
