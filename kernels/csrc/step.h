// What a plan is made of: steps that read and write vectors of a session.
#pragma once

#include <memory>
#include <string>

#include "fields.h"
#include "simd_table.h"

namespace decoding {

// What one call works on. Vectors are addressed by slot and offset, so that a plan serves many
// sessions, and their caches may move when they grow.
struct Session {
  float* const* slots;
  long token;
  long length;         // positions in the caches before this one
  long room;           // positions that the caches have room for, a multiple of sixteen
  long memory_length;  // positions of an encoder
  long memory_room;
  const SimdTable* simd;
  long expert = 0;  // chosen by the last router
  float probability = 1.0f;
};

// A slot in the high bits, a number of floats in the low ones.
class Place {
 public:
  explicit Place(long packed) : slot_(packed >> 40), offset_(packed & ((1L << 40) - 1)) {}
  float* in(const Session& session) const { return session.slots[slot_] + offset_; }

 private:
  long slot_;
  long offset_;
};

class Step {
 public:
  virtual ~Step() = default;
  // Into how many parts the work is cut so that several threads can share it, at most `wanted`.
  virtual long n_parts(long wanted) const = 0;
  virtual void begin(Session&, long n_parts) { static_cast<void>(n_parts); }
  virtual void run(const Session&, long part, long n_parts) = 0;
  virtual void end(Session&, long n_parts) { static_cast<void>(n_parts); }
};

// A step too small to be shared.
class SmallStep : public Step {
 public:
  long n_parts(long) const final { return 1; }
  void begin(Session& session, long) final { run(session); }
  void run(const Session&, long, long) final {}

 protected:
  virtual void run(Session& session) = 0;
};

inline long round_up(long count) { return (count + kPanelRows - 1) / kPanelRows * kPanelRows; }

// Where part `part` of `n_parts` begins among `count` things; it ends where the next begins.
inline long begin_of(long part, long n_parts, long count) { return count * part / n_parts; }

using NewStep = std::unique_ptr<Step> (*)(const Fields&);

// Each knows the steps of its own file; null where it does not know the name.
NewStep product_step(const std::string& name);
NewStep attention_step(const std::string& name);
NewStep selected_attention_step(const std::string& name);
NewStep lsh_attention_step(const std::string& name);
NewStep feed_forward_step(const std::string& name);
NewStep vector_step(const std::string& name);

template <class Kind>
std::unique_ptr<Step> make_step(const Fields& fields) {
  return std::make_unique<Kind>(fields);
}

}  // namespace decoding
