// Included by one source file for each instruction set, which defines kLanes, kTileRows and Vec.
// Nothing of the standard library is used here: its inline functions would be compiled for that
// instruction set and then, merged by the linker, run on processors without it.
// No include guard: no file includes it twice.

namespace {

using sequence::Directions;
using sequence::Product;
using sequence::Simd;

constexpr int kParts = 2;  // vectors of a panel
constexpr long kPanel = kParts * kLanes;

typedef float LooseVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef std::int32_t IntVec __attribute__((vector_size(kLanes * 4)));
typedef std::int32_t LooseIntVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

inline Vec load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
inline IntVec load(const std::int32_t* p) { return *reinterpret_cast<const LooseIntVec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }
inline void store(std::int32_t* p, IntVec v) { *reinterpret_cast<LooseIntVec*>(p) = v; }
inline Vec splat(float v) { return v - Vec{}; }
inline IntVec splat(std::int32_t v) { return v - IntVec{}; }
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

inline float sum(Vec v) {
  float total = 0.0f;
  for (int i = 0; i < kLanes; ++i) total += v[i];
  return total;
}

// e to the power x for x <= 0, zero below -87: 2^n * e^r with |r| <= ln 2 / 2, a polynomial for e^r.
inline Vec exponential(Vec x) {
  constexpr float least = -87.0f, log2e = 1.44269504f;
  constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
  const IntVec there = x > least;
  x = x > least ? x : splat(least);
  const Vec shifted = x * log2e + round;
  const Vec n = shifted - round;
  const Vec r = x - n * ln2_high - n * ln2_low;
  Vec p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  return (Vec)(((IntVec)p + ((IntVec)shifted << 23)) & there);
}

// sums[i][part] += sum over k of a[i][k] * b[k][part of the panel].
template <int rows>
inline void accumulate(Vec (&sums)[rows][kParts], const float* a, long a_row, long a_column,
                       const float* b, long b_row, long depth) {
  for (long k = 0; k < depth; ++k) {
    Vec right[kParts];
#pragma GCC unroll 2
    for (int part = 0; part < kParts; ++part) right[part] = load(b + k * b_row + part * kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
      const Vec left = splat(a[i * a_row + k * a_column]);
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) sums[i][part] += left * right[part];
    }
  }
}

// One panel of the product, by tiles of at most `rows` rows.
template <int rows>
inline void multiply_panel(const Product& p, long column, long first) {
  for (; first + rows <= p.n_rows; first += rows) {
    float* c = p.c + first * p.c_row + column;
    Vec sums[rows][kParts] = {};
    accumulate<rows>(sums, p.a + first * p.a_row, p.a_row, p.a_column, p.b + column, p.b_row,
                     p.depth);
#pragma GCC unroll 12
    for (int i = 0; i < rows; ++i) {
#pragma GCC unroll 2
      for (int part = 0; part < kParts; ++part) {
        float* to = c + i * p.c_row + part * kLanes;
        store(to, p.add ? load(to) + sums[i][part] : sums[i][part]);
      }
    }
  }
  if constexpr (rows > 1) {
    if (first < p.n_rows) multiply_panel<rows - 1>(p, column, first);
  }
}

void multiply(const Product& p) {
  for (long column = 0; column < p.n_columns; column += kPanel) {
    multiply_panel<kTileRows>(p, column, 0);
  }
}

void transpose(const float* from, long from_row, long n_rows, long width, const float* factors,
               float* to, long to_row) {
  long i = 0;
  for (; i + kBlock <= n_rows; i += kBlock) {
    long k = 0;
    for (; k + kBlock <= width; k += kBlock) {
      transpose_block(from + i * from_row + k, from_row, factors ? factors + i : nullptr,
                      to + k * to_row + i, to_row);
    }
    for (; k < width; ++k) {
      for (long j = i; j < i + kBlock; ++j) {
        to[k * to_row + j] = from[j * from_row + k] * (factors ? factors[j] : 1.0f);
      }
    }
  }
  for (; i < n_rows; ++i) {
    const float factor = factors ? factors[i] : 1.0f;
    for (long k = 0; k < width; ++k) to[k * to_row + i] = from[i * from_row + k] * factor;
  }
}

void soften(float* scores, long row, long n_rows, long n_columns, float* largest, float* total) {
  for (long i = 0; i < n_rows; ++i) {
    float* at = scores + i * row;
    Vec most[kParts] = {load(at), load(at + kLanes)};
    for (long j = kPanel; j < n_columns; j += kPanel) {
      for (int part = 0; part < kParts; ++part) {
        most[part] = larger(most[part], load(at + j + part * kLanes));
      }
    }
    most[0] = larger(most[0], most[1]);
    float top = most[0][0];
    for (int lane = 1; lane < kLanes; ++lane) top = most[0][lane] > top ? most[0][lane] : top;
    Vec sums[kParts] = {};
    for (long j = 0; j < n_columns; j += kPanel) {
      for (int part = 0; part < kParts; ++part) {
        const Vec weight = exponential(load(at + j + part * kLanes) - top);
        store(at + j + part * kLanes, weight);
        sums[part] += weight;
      }
    }
    largest[i] = top;
    total[i] = sum(sums[0] + sums[1]);
  }
}

void weigh(float* scores, long row, long n_rows, long n_columns, const float* largest,
           const float* factors) {
  for (long i = 0; i < n_rows; ++i) {
    float* at = scores + i * row;
    for (long j = 0; j < n_columns; j += kLanes) {
      store(at + j, exponential(load(at + j) - largest[i]) * factors[i]);
    }
  }
}

void slope(float* slopes, const float* weights, long row, long n_rows, long n_columns,
           const float* offsets, const float* factors) {
  for (long i = 0; i < n_rows; ++i) {
    float* at = slopes + i * row;
    for (long j = 0; j < n_columns; j += kLanes) {
      store(at + j, load(weights + i * row + j) * (load(at + j) - offsets[i]) * load(factors + j));
    }
  }
}

void scale(float* x, long row, const float* by, long by_row, long n_rows, long n_columns) {
  for (long i = 0; i < n_rows; ++i) {
    float* at = x + i * row;
    const float* factors = by + i * by_row;
    long j = 0;
    for (; j + kLanes <= n_columns; j += kLanes) store(at + j, load(at + j) * load(factors + j));
    for (; j < n_columns; ++j) at[j] *= factors[j];
  }
}

void hide_later(float* scores, long row, long n_rows, long n_columns,
                const std::int32_t* query_times, const std::int32_t* key_times) {
  const Vec hidden = splat(sequence::kHidden);
  for (long i = 0; i < n_rows; ++i) {
    float* at = scores + i * row;
    const IntVec now = splat(query_times[i]);
    for (long j = 0; j < n_columns; j += kLanes) {
      store(at + j, load(key_times + j) > now ? hidden : load(at + j));
    }
  }
}

void put(const float* from, float take, float* to, long width) {
  long i = 0;
  for (; i + kLanes <= width; i += kLanes) store(to + i, load(from + i) * take);
  for (; i < width; ++i) to[i] = from[i] * take;
}

void blend(const float* from, float take, float* to, float keep, long width) {
  long i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    store(to + i, load(to + i) * keep + load(from + i) * take);
  }
  for (; i < width; ++i) to[i] = to[i] * keep + from[i] * take;
}

float dot(const float* x, const float* y, long width) {
  constexpr int chains = 4;
  Vec sums[chains] = {};
  long i = 0;
  for (; i + chains * kLanes <= width; i += chains * kLanes) {
#pragma GCC unroll 4
    for (int chain = 0; chain < chains; ++chain) {
      sums[chain] += load(x + i + chain * kLanes) * load(y + i + chain * kLanes);
    }
  }
  float total = sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < width; ++i) total += x[i] * y[i];
  return total;
}

struct Nearest {
  Vec most, least;
  IntVec most_at, least_at;
};

// Goes on with `rows` directions at a time.
template <int rows>
inline void compare(const Directions& d, const float* b, long b_row, long first,
                    Nearest (&best)[kParts]) {
  for (; first + rows <= d.count; first += rows) {
    Vec products[rows][kParts] = {};
    accumulate<rows>(products, d.at + first * d.row, d.row, d.column, b, b_row, d.depth);
    for (int i = 0; i < rows; ++i) {
      const IntVec number = splat(static_cast<std::int32_t>(first + i));
      for (int part = 0; part < kParts; ++part) {
        Nearest& n = best[part];
        Vec product = products[i][part];
        if (d.bias) product += d.bias[first + i];
        n.most_at = product > n.most ? number : n.most_at;
        n.most = larger(product, n.most);
        if (d.opposites) {
          n.least_at = product < n.least ? number : n.least_at;
          n.least = product < n.least ? product : n.least;
        }
      }
    }
  }
  if constexpr (rows > 1) {
    if (first < d.count) compare<rows - 1>(d, b, b_row, first, best);
  }
}

void nearest(const Directions& d, const float* b, long b_row, std::int32_t* found) {
  Nearest best[kParts];
  for (Nearest& n : best) n = {splat(-3e38f), splat(3e38f), IntVec{}, IntVec{}};
  compare<kTileRows>(d, b, b_row, 0, best);
  const IntVec count = splat(static_cast<std::int32_t>(d.count));
  for (int part = 0; part < kParts; ++part) {
    const Nearest& n = best[part];
    IntVec at = n.most_at;
    if (d.opposites) at = -n.least > n.most ? n.least_at + count : at;
    store(found + part * kLanes, at);
  }
}

template <int parts>
inline void weigh_columns(const float* const* rows, const float* factors, long n_rows, long column,
                          const float* bias, float* y) {
  Vec sums[parts];
#pragma GCC unroll 8
  for (int part = 0; part < parts; ++part) sums[part] = load(bias + column + part * kLanes);
  for (long r = 0; r < n_rows; ++r) {
    const Vec factor = splat(factors[r]);
#pragma GCC unroll 8
    for (int part = 0; part < parts; ++part) {
      sums[part] += factor * load(rows[r] + column + part * kLanes);
    }
  }
#pragma GCC unroll 8
  for (int part = 0; part < parts; ++part) store(y + column + part * kLanes, sums[part]);
}

void weigh_rows(const float* const* rows, const float* factors, long n_rows, long width,
                const float* bias, float* y) {
  constexpr int parts = 8;
  long column = 0;
  for (; column + parts * kLanes <= width; column += parts * kLanes) {
    weigh_columns<parts>(rows, factors, n_rows, column, bias, y);
  }
  for (; column + kLanes <= width; column += kLanes) {
    weigh_columns<1>(rows, factors, n_rows, column, bias, y);
  }
  for (; column < width; ++column) {
    y[column] = bias[column];
    for (long r = 0; r < n_rows; ++r) y[column] += factors[r] * rows[r][column];
  }
}

Simd new_simd(const char* name) {
  return {name,  kPanel,     multiply, transpose, soften, weigh,   slope,
          scale, hide_later, put,      blend,     dot,    nearest, weigh_rows};
}

}  // namespace
