// The Python module: run(operation, fields, n_threads, simd), instruction_sets().
#include "python_module.h"

#include <map>
#include <stdexcept>

#include "sequence.h"

namespace {

using python::require;
using Operation = void (*)(const decoding::Fields&, const sequence::Simd&, int);

Operation operation_of(const std::string& name) {
  static const std::map<std::string, Operation> known = {
      {"sort_by_bucket", sequence::sort_by_bucket},
      {"attend", sequence::attend},
      {"attend_backward", sequence::attend_backward},
      {"hash_buckets", sequence::hash_buckets},
      {"sparse_feed_forward", sequence::sparse_feed_forward},
      {"scan", sequence::scan},
      {"scan_backward", sequence::scan_backward},
  };
  const auto found = known.find(name);
  if (found == known.end()) throw std::invalid_argument("unknown operation " + name);
  return found->second;
}

PyObject* run(PyObject*, PyObject* arguments) {
  return python::guarded([&] {
    const char *name, *simd_name;
    PyObject* items;
    int n_threads;
    require(PyArg_ParseTuple(arguments, "sO!iz", &name, &PyDict_Type, &items, &n_threads,
                             &simd_name));
    const Operation operation = operation_of(name);
    const decoding::Fields fields = python::fields_of(items);
    const sequence::Simd& simd = sequence::choose_simd(simd_name);
    python::unlocked([&] { operation(fields, simd, n_threads); });
    return Py_NewRef(Py_None);
  });
}

PyObject* instruction_sets(PyObject*, PyObject*) {
  return python::instruction_sets(sequence::runs_here);
}

PyMethodDef methods[] = {
    {"run", run, METH_VARARGS, "Runs an operation: its name, fields, threads, instruction set."},
    {"instruction_sets", instruction_sets, METH_NOARGS, "Those that run here, the best one first."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "_sequence", nullptr, -1, methods,
                      nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__sequence() { return PyModule_Create(&module); }
