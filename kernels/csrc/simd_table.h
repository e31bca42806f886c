// The arithmetic that is written once and compiled for several instruction sets.
#pragma once

#include <cstdint>

namespace decoding {

constexpr long kPanelRows = 16;

// A matrix cut into panels of sixteen rows: [n_panels][depth][16], the last panel filled with zeros.
struct Panels {
  const void* weights;  // float; int8_t where there are scales
  const float* scales;  // of each row, or null
  long n_rows;
  long depth;
};

// What a matrix is multiplied by, and where that is added.
struct Operands {
  const float* x;
  long n_inputs;
  long x_stride;
  float* y;
  long y_stride;
};

// A row of weights is read with its scale; int8 rows have one, float rows need none.
template <class Weight>
struct RowFunctions {
  // Sum of row[i] * x[i]; meanwhile `next`, a row that will soon be read, is fetched.
  float (*dot)(const Weight* row, const float* x, long width, const Weight* next);
  // y[i] += factors[0] * rows[0][i] + factors[1] * rows[1][i]; fetches both of `next`.
  void (*add_two)(const Weight* const rows[2], const float factors[2], float* y, long width,
                  const Weight* const next[2]);
};

// Widths of rows are multiples of sixteen; what fills them up is zero.
struct SimdTable {
  const char* name;
  // y[s][r] += sum over c in [from, to) of x[s][c] * weight[r][c], for the rows of panels
  // [first, last); x points to column `from`.
  void (*add_product)(const Panels&, long first, long last, long from, long to, const Operands&);
  RowFunctions<float> float_rows;
  RowFunctions<std::int8_t> int8_rows;
  // y[i] = sum over r of factors[r] * rows[r * width + i].
  void (*weigh_rows)(const float* rows, const float* factors, long n_rows, float* y, long width);
  // scores[i] = sum over c of rows[places[i] * stride + c] * x[c], c < width; the whole of the next
  // rows, `stride` numbers, is fetched meanwhile.
  void (*score_rows)(const float* rows, long stride, const std::int32_t* places, long count,
                     const float* x, long width, float* scores);
  // y[c] = sum over i of factors[i] * rows[places[i] * stride + c], c < width.
  void (*mix_rows)(const float* rows, long stride, const std::int32_t* places,
                   const float* factors, long count, float* y, long width);
  // Writes [width][16], the products of Hadamard's matrix of `width`, a power of two, with a matrix
  // whose row c is the sum over i of vectors[i][c] * signs[i][c], signs [n_vectors][width][16]; from
  // row d_head on it is zero.
  void (*spread)(const float* const* vectors, long n_vectors, long d_head, const float* signs,
                 long width, float* x);
  // Multiplies x [width][16] by signs, [width][16], and then by Hadamard's matrix.
  void (*turn)(float* x, const float* signs, long width);
  // Of each column of x [count][16] the row of largest magnitude, the first of equals.
  void (*farthest)(const float* x, long count, std::int32_t* rows);
  // Turns scores into weights that add up to one. There is room up to a multiple of sixteen.
  void (*softmax)(float* scores, long count);
  void (*layer_norm)(const float* x, const float* gain, const float* bias, float epsilon, float* y,
                     long width);
};

// Null where they were not compiled; a processor may still lack them.
const SimdTable* avx512_table();
const SimdTable* avx2_table();
const SimdTable& portable_table();

// The best table that this processor runs, or the named one; throws std::invalid_argument if it
// cannot run here.
const SimdTable& choose_simd(const char* name);
// Whether the processor, and this build, have the named instruction set.
bool runs_here(const char* name);

}  // namespace decoding
