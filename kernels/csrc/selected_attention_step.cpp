// Softmax attention to the first positions, to the latest, and to those between them whose keys reach
// far where the query points: terraformer/selected_cache.py in C++.
#include "rotation.h"
#include "row_attention.h"

namespace decoding {
namespace {

// What is kept of the positions between the first and the recent ones. Of each head: for the buckets
// of each round positions and how far their keys reach its way, [rounds][buckets][2][n_per_bucket];
// sums of keys and of values, [2][width].
class Middle {
 public:
  explicit Middle(const Fields& fields)
      : rotations_(fields),
        buckets_(fields.integer("buckets")),
        sums_(fields.integer("sums")),
        n_buckets_(fields.integer("n_buckets")),
        n_per_bucket_(fields.integer("per_bucket")),
        n_probes_(fields.integer("probes")),
        mean_of_rest_(fields.integer("mean_of_rest") != 0),
        d_head_(fields.integer("d_head")),
        width_(round_up(d_head_)) {}

  // Whether positions count that are not read.
  bool counts_rest() const { return mean_of_rest_; }

  // Looks up the buckets of a query and, if there is a position that will enter after the `count` that
  // are there, its bucket in each round. Nothing is read of them yet.
  void look_up(const Session& session, long head, const float* query, const float* entering,
               long count) const {
    if (rotations_.n_rounds() == 0) return;
    static thread_local std::vector<float> centred, rotated;
    static thread_local std::vector<Met> met;
    centred.resize(width_);
    if (entering != nullptr) {
      const float* sums = this->sums(session, head);
      const float share = 1.0f / static_cast<float>(std::max(1L, count));
      for (long c = 0; c < width_; ++c) centred[c] = entering[c] - sums[c] * share;
    }
    const float* vectors[] = {query, centred.data()};
    const long n_vectors = entering == nullptr ? 1 : 2, n_rounds = rotations_.n_rounds();
    rotations_.rotate(*session.simd, vectors, n_vectors, rotated);
    for (long probe = 0; probe < n_probes_; ++probe) {
      rotations_.find(*session.simd, probe == 0 ? n_vectors : 1, rotated, met);
      for (long round = 0; round < n_rounds; ++round) {
        found().push_back(bucket(session, head, round, met[round].direction));
        if (probe > 0 || entering == nullptr) continue;
        const Met key = met[n_rounds + round];
        changing().push_back({bucket(session, head, round, key.direction), key.reach});
      }
    }
  }

  // Adds what the buckets of the query hold.
  void read(Reading& reading) const {
    for (const std::int32_t* positions : found()) {
      for (long i = 0; i < n_per_bucket_ && positions[i] >= 0; ++i) reading.add_once(positions[i]);
    }
    found().clear();
  }

  void mix(const Session& session, long head, const RowCache& cache, const float* query,
           long n_middle, long first_chosen, Reading& reading, float* out) const {
    if (!mean_of_rest_) return reading.mix(*session.simd, cache, out, d_head_);
    const float* sums = this->sums(session, head);
    reading.mix_with_rest(*session.simd, cache, query, {sums, sums + width_, n_middle},
                          first_chosen, out, d_head_);
  }

  // Takes in the position that was said to enter.
  void enter(const Session& session, long head, const RowCache& cache, long position) const {
    for (const Change& change : changing()) {
      float* reaches = reinterpret_cast<float*>(change.bucket + n_per_bucket_);
      const long least = std::min_element(reaches, reaches + n_per_bucket_) - reaches;
      if (change.reach <= reaches[least]) continue;
      reaches[least] = change.reach;
      change.bucket[least] = static_cast<std::int32_t>(position);
    }
    changing().clear();
    float* sums = this->sums(session, head);
    for (long c = 0; c < width_; ++c) sums[c] += cache.key(position)[c];
    for (long c = 0; c < width_; ++c) sums[width_ + c] += cache.value(position)[c];
  }

 private:
  struct Change {
    std::int32_t* bucket;
    float reach;
  };

  // Buckets of the query that is at work in this thread, and those that a position will enter.
  static std::vector<const std::int32_t*>& found() {
    static thread_local std::vector<const std::int32_t*> buckets;
    return buckets;
  }
  static std::vector<Change>& changing() {
    static thread_local std::vector<Change> changes;
    return changes;
  }

  float* sums(const Session& session, long head) const {
    return sums_.in(session) + head * 2 * width_;
  }

  // Where a bucket begins, which is fetched.
  std::int32_t* bucket(const Session& session, long head, long round, long number) const {
    const long before = ((head * rotations_.n_rounds() + round) * n_buckets_ + number) * 2 * n_per_bucket_;
    auto* begin = reinterpret_cast<std::int32_t*>(buckets_.in(session)) + before;
    for (long i = 0; i < 2 * n_per_bucket_; i += kPanelRows) __builtin_prefetch(begin + i);
    return begin;
  }

  Rotations rotations_;
  Place buckets_, sums_;
  long n_buckets_, n_per_bucket_, n_probes_;
  bool mean_of_rest_;
  long d_head_, width_;
};

// Attention to the positions so far.
class SelectedAttention : public RowAttentionStep {
 public:
  explicit SelectedAttention(const Fields& fields)
      : RowAttentionStep(fields),
        middle_(fields),
        n_first_(fields.integer("first")),
        n_recent_(fields.integer("recent")) {}

 protected:
  void run(const Session& session, long head) override {
    static thread_local std::vector<float> query, key;
    static thread_local Reading reading;
    const RowCache cache = append(session, head, query, key);
    const long recent = std::max(0L, session.length + 1 - n_recent_);
    const long n_middle = std::max(0L, recent - n_first_);
    const bool enters = session.length + 1 >= n_first_ + n_recent_;
    const float* entering = enters ? cache.key(recent) : nullptr;
    if (enters) middle_.look_up(session, head, query.data(), entering, n_middle);
    reading.begin(session.room);
    reading.add_range(0, std::min(n_first_, recent));
    reading.add_range(recent, end_of(session, session.length > 0));
    reading.score(*session.simd, cache, query.data());
    const long first_chosen = reading.count();
    middle_.read(reading);
    if (reading.count() == 0 && !middle_.counts_rest()) reading.add_range(recent, recent + 1);
    reading.score(*session.simd, cache, query.data());
    middle_.mix(session, head, cache, query.data(), n_middle, first_chosen, reading,
                out(session, head));
    if (enters) middle_.enter(session, head, cache, recent);
  }

 private:
  Middle middle_;
  long n_first_, n_recent_;
};

// Attention to the positions of an encoder, to all of them where they are not many.
class SelectedMemory : public HeadStep {
 public:
  explicit SelectedMemory(const Fields& fields)
      : HeadStep(fields),
        rows_(fields.integer("rows")),
        middle_(fields),
        n_first_(fields.integer("first")),
        n_few_(n_first_ + fields.integer("recent")) {}

 protected:
  void run(const Session& session, long head) override {
    static thread_local std::vector<float> query;
    static thread_local Reading reading;
    query.resize(width());
    read_query(session, head, query.data());
    const long length = session.memory_length;
    const long n_read = length <= n_few_ ? length : n_first_;
    const RowCache cache{rows_.in(session) + head * session.memory_room * 2 * width(), width()};
    if (n_read < length) {
      middle_.look_up(session, head, query.data(), nullptr, 0);
    }
    reading.begin(session.memory_room);
    reading.add_range(0, n_read);
    reading.score(*session.simd, cache, query.data());
    middle_.read(reading);
    reading.score(*session.simd, cache, query.data());
    middle_.mix(session, head, cache, query.data(), length - n_read, n_read, reading,
                out(session, head));
  }

 private:
  Place rows_;
  Middle middle_;
  long n_first_, n_few_;
};

}  // namespace

NewStep selected_attention_step(const std::string& name) {
  if (name == "selected_attention") return make_step<SelectedAttention>;
  return name == "selected_memory" ? make_step<SelectedMemory> : nullptr;
}

}  // namespace decoding
