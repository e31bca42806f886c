// Included by one source file for each instruction set, which defines kLanes, kTileInputs, Vec and
// load_bytes. Nothing of the standard library is used here: its inline functions would be compiled
// for that instruction set and then, merged by the linker, run on processors without it.
// No include guard: no file includes it twice.

namespace {

using decoding::kPanelRows;
using decoding::Operands;
using decoding::Panels;
using decoding::SimdTable;

constexpr int kParts = kPanelRows / kLanes;  // vectors of one column of a panel
constexpr long kAhead = 2048;                // bytes: beyond a page, where no hardware looks

typedef float LooseVec __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));
typedef std::int32_t IntVec __attribute__((vector_size(kLanes * 4)));

inline Vec load(const float* p) { return *reinterpret_cast<const LooseVec*>(p); }
inline Vec load(const std::int8_t* p) { return load_bytes(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<LooseVec*>(p) = v; }
inline Vec splat(float v) { return v - Vec{}; }

inline float sum(Vec v) {
  float quarters[4] = {v[0], v[1], v[2], v[3]};
#pragma GCC unroll 16
  for (int i = 4; i < kLanes; ++i) quarters[i % 4] += v[i];
  return (quarters[0] + quarters[1]) + (quarters[2] + quarters[3]);
}

// Multiplies one panel by a few inputs. Enough sums run side by side to hide the latency of adding.
template <int inputs, class Weight>
inline void multiply_tile(const Weight* panel, long depth, const float* x, long x_stride,
                          float (*out)[kPanelRows]) {
  constexpr int wanted = 8 / (inputs * kParts);
  constexpr int chains = wanted < 1 ? 1 : wanted > 4 ? 4 : wanted;
  Vec sums[chains][inputs][kParts] = {};
  long c = 0;
  for (; c + chains <= depth; c += chains) {
#pragma GCC unroll 4
    for (int chain = 0; chain < chains; ++chain) {
      const Weight* column = panel + (c + chain) * kPanelRows;
      __builtin_prefetch(reinterpret_cast<const char*>(column) + kAhead);
      Vec weights[kParts];
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) weights[part] = load(column + part * kLanes);
#pragma GCC unroll 12
      for (int s = 0; s < inputs; ++s) {
        const Vec value = splat(x[s * x_stride + c + chain]);
#pragma GCC unroll 4
        for (int part = 0; part < kParts; ++part) sums[chain][s][part] += value * weights[part];
      }
    }
  }
  for (; c < depth; ++c) {
#pragma GCC unroll 12
    for (int s = 0; s < inputs; ++s) {
      const Vec value = splat(x[s * x_stride + c]);
#pragma GCC unroll 4
      for (int part = 0; part < kParts; ++part) {
        sums[0][s][part] += value * load(panel + c * kPanelRows + part * kLanes);
      }
    }
  }
#pragma GCC unroll 12
  for (int s = 0; s < inputs; ++s) {
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      Vec total = sums[0][s][part];
      for (int chain = 1; chain < chains; ++chain) total += sums[chain][s][part];
      store(out[s] + part * kLanes, total);
    }
  }
}

// Adds what a tile made to the rows that there are.
inline void add_rows(const float (*made)[kPanelRows], int inputs, const float* scales, float* y,
                     long y_stride, long n_rows) {
  for (int s = 0; s < inputs; ++s) {
    float* target = y + s * y_stride;
    for (long r = 0; r < n_rows; ++r) target[r] += scales ? made[s][r] * scales[r] : made[s][r];
  }
}

// The first `inputs` inputs by tiles of at most that many.
template <int inputs, class Weight>
inline void multiply_panel(const Weight* panel, long depth, Operands o, const float* scales,
                           long n_rows) {
  while (o.n_inputs >= inputs) {
    float made[inputs][kPanelRows];
    multiply_tile<inputs>(panel, depth, o.x, o.x_stride, made);
    add_rows(made, inputs, scales, o.y, o.y_stride, n_rows);
    o.x += inputs * o.x_stride;
    o.y += inputs * o.y_stride;
    o.n_inputs -= inputs;
  }
  if constexpr (inputs > 1) {
    if (o.n_inputs > 0) multiply_panel<inputs - 1>(panel, depth, o, scales, n_rows);
  }
}

template <class Weight>
void add_product_of(const Panels& panels, long first, long last, long from, long to,
                    const Operands& operands) {
  const Weight* weights = static_cast<const Weight*>(panels.weights);
  for (long p = first; p < last; ++p) {
    const long row = p * kPanelRows;
    const long n_rows = panels.n_rows - row < kPanelRows ? panels.n_rows - row : kPanelRows;
    Operands rest = operands;
    rest.y += row;
    const Weight* panel = weights + (p * panels.depth + from) * kPanelRows;
    const float* scales = panels.scales ? panels.scales + row : nullptr;
    multiply_panel<kTileInputs>(panel, to - from, rest, scales, n_rows);
  }
}

void add_product(const Panels& panels, long first, long last, long from, long to,
                 const Operands& operands) {
  if (panels.scales) {
    add_product_of<std::int8_t>(panels, first, last, from, to, operands);
  } else {
    add_product_of<float>(panels, first, last, from, to, operands);
  }
}

template <int columns, class Weight>
inline void add_dot(const Weight* row, const float* x, const Weight* next, Vec (&sums)[4]) {
#pragma GCC unroll 4
  for (int i = 0; i < columns; i += kPanelRows) __builtin_prefetch(next + i);
#pragma GCC unroll 16
  for (int part = 0; part < columns / kLanes; ++part) {
    sums[part % 4] += load(row + part * kLanes) * load(x + part * kLanes);
  }
}

template <class Weight>
float dot(const Weight* row, const float* x, long width, const Weight* next) {
  Vec sums[4] = {};
  long i = 0;
  for (; i + 64 <= width; i += 64) add_dot<64>(row + i, x + i, next + i, sums);
  for (; i < width; i += kPanelRows) add_dot<kPanelRows>(row + i, x + i, next + i, sums);
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

template <class Weight>
void add_two(const Weight* const rows[2], const float factors[2], float* y, long width,
             const Weight* const next[2]) {
  const Vec first = splat(factors[0]), second = splat(factors[1]);
  for (long i = 0; i < width; i += kPanelRows) {
    __builtin_prefetch(next[0] + i);
    __builtin_prefetch(next[1] + i);
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const long at = i + part * kLanes;
      store(y + at, load(y + at) + first * load(rows[0] + at) + second * load(rows[1] + at));
    }
  }
}

template <int parts>
inline void weigh_columns(const float* rows, const float* factors, long n_rows, float* y,
                          long width) {
  Vec sums[parts] = {};
  for (long r = 0; r < n_rows; ++r) {
    const Vec factor = splat(factors[r]);
#pragma GCC unroll 8
    for (int part = 0; part < parts; ++part) {
      sums[part] += factor * load(rows + r * width + part * kLanes);
    }
  }
  for (int part = 0; part < parts; ++part) store(y + part * kLanes, sums[part]);
}

void weigh_rows(const float* rows, const float* factors, long n_rows, float* y, long width) {
  constexpr int parts = kLanes == 16 ? 4 : 8;  // 64 columns, the usual head, where vectors allow
  long i = 0;
  for (; i + parts * kLanes <= width; i += parts * kLanes) {
    weigh_columns<parts>(rows + i, factors, n_rows, y + i, width);
  }
  for (; i < width; i += kPanelRows) {
    weigh_columns<kParts>(rows + i, factors, n_rows, y + i, width);
  }
}

// The rows after those in work that are fetched meanwhile: memory takes that long to answer.
constexpr long kRowsAhead = 4;

template <int n_rows>
inline void score_tile(const float* const (&rows)[n_rows], const float* x, long width,
                       float* scores) {
  Vec sums[n_rows] = {};
  for (long i = 0; i < width; i += kPanelRows) {
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      const Vec value = load(x + i + part * kLanes);
#pragma GCC unroll 4
      for (int r = 0; r < n_rows; ++r) sums[r] += value * load(rows[r] + i + part * kLanes);
    }
  }
  for (int r = 0; r < n_rows; ++r) scores[r] = sum(sums[r]);
}

void score_rows(const float* rows, long stride, const std::int32_t* places, long count,
                const float* x, long width, float* scores) {
  constexpr int n_rows = 4;
  long i = 0;
  for (; i + n_rows <= count; i += n_rows) {
    const float* tile[n_rows];
    for (int r = 0; r < n_rows; ++r) {
      tile[r] = rows + places[i + r] * stride;
      const long ahead = i + r + kRowsAhead < count ? i + r + kRowsAhead : count - 1;
      const float* next = rows + places[ahead] * stride;
      for (long c = 0; c < width; c += kPanelRows) __builtin_prefetch(next + c);
      for (long c = width; c < stride; c += kPanelRows) __builtin_prefetch(next + c, 0, 2);
    }
    score_tile<n_rows>(tile, x, width, scores + i);
  }
  for (; i < count; ++i) {
    const float* const tile[1] = {rows + places[i] * stride};
    score_tile<1>(tile, x, width, scores + i);
  }
}

template <int parts>
inline void mix_columns(const float* rows, long stride, const std::int32_t* places,
                        const float* factors, long count, float* y) {
  Vec sums[parts] = {};
  for (long i = 0; i < count; ++i) {
    const Vec factor = splat(factors[i]);
    const float* row = rows + places[i] * stride;
#pragma GCC unroll 8
    for (int part = 0; part < parts; ++part) sums[part] += factor * load(row + part * kLanes);
  }
  for (int part = 0; part < parts; ++part) store(y + part * kLanes, sums[part]);
}

void mix_rows(const float* rows, long stride, const std::int32_t* places, const float* factors,
              long count, float* y, long width) {
  constexpr int parts = kLanes == 16 ? 4 : 8;
  long i = 0;
  for (; i + parts * kLanes <= width; i += parts * kLanes) {
    mix_columns<parts>(rows + i, stride, places, factors, count, y + i);
  }
  for (; i < width; i += kPanelRows) {
    mix_columns<kParts>(rows + i, stride, places, factors, count, y + i);
  }
}

// Rows at i, i + step, i + 2 step and i + 3 step become their products with Hadamard's matrix of four.
inline void butterfly(float* x, long i, long step) {
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
    float* at = x + i * kPanelRows + part * kLanes;
    const long apart = step * kPanelRows;
    const Vec a = load(at), b = load(at + apart), c = load(at + 2 * apart), d = load(at + 3 * apart);
    const Vec sum_low = a + b, less_low = a - b, sum_high = c + d, less_high = c - d;
    store(at, sum_low + sum_high);
    store(at + apart, less_low + less_high);
    store(at + 2 * apart, sum_low - sum_high);
    store(at + 3 * apart, less_low - less_high);
  }
}

inline void multiply_hadamard(float* x, long width) {
  long step = 1;
  for (; 4 * step <= width; step *= 4) {
    for (long block = 0; block < width; block += 4 * step) {
      for (long i = block; i < block + step; ++i) butterfly(x, i, step);
    }
  }
  if (step == width) return;
  for (long i = 0; i < step * kPanelRows; i += kLanes) {
    const Vec a = load(x + i), b = load(x + i + step * kPanelRows);
    store(x + i, a + b);
    store(x + i + step * kPanelRows, a - b);
  }
}

void spread(const float* const* vectors, long n_vectors, long d_head, const float* signs,
            long width, float* x) {
  for (long c = 0; c < width; ++c) {
#pragma GCC unroll 4
    for (int part = 0; part < kParts; ++part) {
      Vec row{};
      for (long i = 0; c < d_head && i < n_vectors; ++i) {
        row += splat(vectors[i][c]) * load(signs + (i * width + c) * kPanelRows + part * kLanes);
      }
      store(x + c * kPanelRows + part * kLanes, row);
    }
  }
  multiply_hadamard(x, width);
}

void turn(float* x, const float* signs, long width) {
  for (long i = 0; i < width * kPanelRows; i += kLanes) store(x + i, load(x + i) * load(signs + i));
  multiply_hadamard(x, width);
}

void farthest(const float* x, long count, std::int32_t* rows) {
#pragma GCC unroll 4
  for (int part = 0; part < kParts; ++part) {
    Vec largest = splat(-1.0f), row{};
    for (long r = 0; r < count; ++r) {
      const Vec value = load(x + r * kPanelRows + part * kLanes);
      const Vec magnitude = value < 0.0f ? -value : value;
      row = magnitude > largest ? splat(static_cast<float>(r)) : row;
      largest = magnitude > largest ? magnitude : largest;
    }
    for (int i = 0; i < kLanes; ++i) rows[part * kLanes + i] = static_cast<std::int32_t>(row[i]);
  }
}

// e to the power x for x <= 0: 2^n * e^r with |r| <= ln 2 / 2, and a polynomial for e^r.
inline Vec exponential(Vec x) {
  constexpr float least = -87.0f, log2e = 1.44269504f;
  constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  constexpr float round = 12582912.0f;  // 1.5 * 2^23: adding it leaves the integer in the low bits
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
  return (Vec)((IntVec)p + ((IntVec)shifted << 23));
}

void softmax(float* scores, long count) {
  float largest = scores[0];
  for (long i = 1; i < count; ++i) largest = scores[i] > largest ? scores[i] : largest;
  const long rounded = (count + kLanes - 1) / kLanes * kLanes;
  for (long i = count; i < rounded; ++i) scores[i] = largest;
  Vec total{};
  for (long i = 0; i < rounded; i += kLanes) {
    const Vec weights = exponential(load(scores + i) - largest);
    store(scores + i, weights);
    total += weights;
  }
  const float share = 1.0f / (sum(total) - static_cast<float>(rounded - count));
  for (long i = 0; i < count; ++i) scores[i] *= share;
}

void layer_norm(const float* x, const float* gain, const float* bias, float epsilon, float* y,
                long width) {
  const long whole = width / kLanes * kLanes;
  Vec total{};
  for (long i = 0; i < whole; i += kLanes) total += load(x + i);
  float mean = sum(total);
  for (long i = whole; i < width; ++i) mean += x[i];
  mean /= static_cast<float>(width);
  Vec squares{};
  for (long i = 0; i < whole; i += kLanes) {
    const Vec apart = load(x + i) - mean;
    squares += apart * apart;
  }
  float variance = sum(squares);
  for (long i = whole; i < width; ++i) variance += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0f / __builtin_sqrtf(variance / static_cast<float>(width) + epsilon);
  for (long i = 0; i < whole; i += kLanes) {
    store(y + i, (load(x + i) - mean) * scale * load(gain + i) + load(bias + i));
  }
  for (long i = whole; i < width; ++i) y[i] = (x[i] - mean) * scale * gain[i] + bias[i];
}

SimdTable new_table(const char* name) {
  return {name,
          add_product,
          {dot<float>, add_two<float>},
          {dot<std::int8_t>, add_two<std::int8_t>},
          weigh_rows,
          score_rows,
          mix_rows,
          spread,
          turn,
          farthest,
          softmax,
          layer_norm};
}

}  // namespace
