// The arithmetic of whole sequences that is written once and compiled for several instruction sets.
#pragma once

#include <cstdint>

namespace sequence {

// c[i][j] = (add ? c[i][j] : 0) + sum over k of a[i * a_row + k * a_column] * b[k * b_row + j].
struct Product {
  const float* a;
  long a_row;
  long a_column;
  const float* b;
  long b_row;
  float* c;
  long c_row;
  long n_rows;
  long n_columns;  // a multiple of the panel
  long depth;
  bool add;
};

// Vectors that others are compared with: entry k of direction i is at[i * row + k * column].
struct Directions {
  const float* at;
  long row;
  long column;
  const float* bias;  // added to the product with direction i, or null
  long count;
  long depth;
  bool opposites;  // whether -direction i is one as well, numbered count + i
};

struct Simd {
  const char* name;
  long panel;  // columns that are computed at once; a power of two, at least eight

  void (*multiply)(const Product&);
  // to[k * to_row + i] = from[i * from_row + k] * factors[i] (1 if null), i < n_rows, k < width.
  void (*transpose)(const float* from, long from_row, long n_rows, long width,
                    const float* factors, float* to, long to_row);
  // Rows of scores, of `n_columns` (a multiple of the panel), turn into exponentials of what they
  // are below the largest of their row; sums them up.
  void (*soften)(float* scores, long row, long n_rows, long n_columns, float* largest,
                 float* total);
  // weights = exp(scores - largest[i]) * factors[i] in rows of a multiple of the panel.
  void (*weigh)(float* scores, long row, long n_rows, long n_columns, const float* largest,
                const float* factors);
  // slopes = weights * (slopes - offsets[i]) * factors[j].
  void (*slope)(float* slopes, const float* weights, long row, long n_rows, long n_columns,
                const float* offsets, const float* factors);
  // x[i][j] *= by[i][j] in rows of any length.
  void (*scale)(float* x, long row, const float* by, long by_row, long n_rows, long n_columns);
  // Hides scores where the key is later than the query.
  void (*hide_later)(float* scores, long row, long n_rows, long n_columns,
                     const std::int32_t* query_times, const std::int32_t* key_times);
  // to = from * take.
  void (*put)(const float* from, float take, float* to, long width);
  // to = to * keep + from * take.
  void (*blend)(const float* from, float take, float* to, float keep, long width);
  float (*dot)(const float* x, const float* y, long width);
  // The number of the direction whose product with column j of b [depth][b_row] is largest, the
  // first one of equals, for a panel of columns.
  void (*nearest)(const Directions&, const float* b, long b_row, std::int32_t* found);
  // y = bias + sum over r of factors[r] * rows[r].
  void (*weigh_rows)(const float* const* rows, const float* factors, long n_rows, long width,
                     const float* bias, float* y);
};

// Null where they were not compiled; a processor may still lack them.
const Simd* avx512_simd();
const Simd* avx2_simd();
const Simd& portable_simd();

// The best one that this processor runs, or the named one; throws std::invalid_argument if it
// cannot run here.
const Simd& choose_simd(const char* name);
bool runs_here(const char* name);

constexpr float kHidden = -1e9f;  // the score of a key out of reach: its weight is exactly zero

}  // namespace sequence
