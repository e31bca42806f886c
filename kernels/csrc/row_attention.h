// Attention to positions that are listed one by one, whose keys and values stand in rows.
#pragma once

#include <vector>

#include "attention.h"
#include "row_cache.h"

namespace decoding {

// Attention of the present position to those before.
class RowAttentionStep : public SelfAttentionStep {
 public:
  explicit RowAttentionStep(const Fields& fields)
      : SelfAttentionStep(fields), rows_(fields.integer("rows")) {}

 protected:
  // Sets query and key, [width], to the present position's of a head, and returns the head's cache
  // with that position in it.
  RowCache append(const Session& session, long head, std::vector<float>& query,
                  std::vector<float>& key) const {
    query.resize(width());
    key.resize(width());
    read_query(session, head, query.data());
    read_key(session, head, key.data());
    const RowCache cache{rows_.in(session) + head * session.room * 2 * width(), width()};
    cache.put(session.length, key.data(), value(session, head), d_head_);
    return cache;
  }

 private:
  Place rows_;
};

}  // namespace decoding
