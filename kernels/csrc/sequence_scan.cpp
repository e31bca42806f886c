#include <algorithm>

#include "sequence.h"
#include "sequence_team.h"

namespace sequence {
namespace {

constexpr long kWidth = 64;  // cells that one thread carries on

}  // namespace

// c_t = f_t * c_{t-1} + (1 - f_t) * x_t.
void scan(const decoding::Fields& fields, const Simd&, int n_threads) {
  const Rows<const float> x(fields, "x"), f(fields, "f");
  const long length = fields.integer("length"), width = fields.integer("width");
  const auto* start = array<const float>(fields, "start");  // [B, D]
  auto* cells = array<float>(fields, "cells");              // [B, L, D]
  const long n_strips = (width + kWidth - 1) / kWidth;
  Team::run(n_threads, fields.integer("n_batch") * n_strips, [&](long part) {
    const long b = part / n_strips, from = part % n_strips * kWidth;
    const long to = std::min(from + kWidth, width);
    const float* before = start + b * width;
    for (long t = 0; t < length; ++t) {
      const float *candidate = x.row(b, 0, t), *forget = f.row(b, 0, t);
      float* cell = cells + (b * length + t) * width;
      for (long i = from; i < to; ++i) {
        cell[i] = forget[i] * before[i] + (1.0f - forget[i]) * candidate[i];
      }
      before = cell;
    }
  });
}

// The same recurrence backwards: the gradient of c_t is dcells_t + f_{t+1} * that of c_{t+1}.
void scan_backward(const decoding::Fields& fields, const Simd&, int n_threads) {
  const Rows<const float> x(fields, "x"), f(fields, "f"), dcells(fields, "dcells");
  const long length = fields.integer("length"), width = fields.integer("width");
  const auto* start = array<const float>(fields, "start");  // [B, D]
  const auto* cells = array<const float>(fields, "cells");  // [B, L, D]
  auto* dx = array<float>(fields, "dx");                    // [B, L, D]
  auto* df = array<float>(fields, "df");                    // [B, L, D]
  auto* dstart = array<float>(fields, "dstart");            // [B, D], zero
  const long n_strips = (width + kWidth - 1) / kWidth;
  Team::run(n_threads, fields.integer("n_batch") * n_strips, [&](long part) {
    const long b = part / n_strips, from = part % n_strips * kWidth;
    const long to = std::min(from + kWidth, width);
    float* carried = dstart + b * width;
    for (long t = length - 1; t >= 0; --t) {
      const long at = (b * length + t) * width;
      const float *candidate = x.row(b, 0, t), *forget = f.row(b, 0, t);
      const float *given = dcells.row(b, 0, t), *before = t ? cells + at - width : start + b * width;
      for (long i = from; i < to; ++i) {
        const float slope = given[i] + carried[i];
        dx[at + i] = slope * (1.0f - forget[i]);
        df[at + i] = slope * (before[i] - candidate[i]);
        carried[i] = slope * forget[i];
      }
    }
  });
}

}  // namespace sequence
