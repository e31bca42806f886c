#include "instruction_set.h"
#include "sequence_simd.h"

namespace sequence {
namespace {

constexpr instruction_set::Compiled<Simd> kCompiled = {avx512_simd, avx2_simd, portable_simd};

}  // namespace

bool runs_here(const char* name) { return instruction_set::find(kCompiled, name) != nullptr; }

const Simd& choose_simd(const char* name) { return instruction_set::choose(kCompiled, name); }

}  // namespace sequence
