// The named numbers of a step, as they come from Python.
#pragma once

#include <stdexcept>
#include <string>
#include <unordered_map>

namespace decoding {

class Fields {
 public:
  void set(const std::string& name, long value) { integers_[name] = value; }
  void set(const std::string& name, double value) { reals_[name] = value; }

  long integer(const std::string& name) const { return get(integers_, name); }
  float real(const std::string& name) const { return static_cast<float>(get(reals_, name)); }
  template <class Item>
  const Item* array(const std::string& name) const {
    return reinterpret_cast<const Item*>(integer(name));
  }

 private:
  template <class Value>
  static Value get(const std::unordered_map<std::string, Value>& known, const std::string& name) {
    const auto found = known.find(name);
    if (found == known.end()) throw std::invalid_argument("a step lacks its field " + name);
    return found->second;
  }

  std::unordered_map<std::string, long> integers_;
  std::unordered_map<std::string, double> reals_;
};

}  // namespace decoding
