// The Python module: run(operation, fields, n_threads, simd), instruction_sets().
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <exception>
#include <map>
#include <new>
#include <stdexcept>

#include "sequence.h"

namespace {

using Operation = void (*)(const decoding::Fields&, const sequence::Simd&, int);

struct PythonError {};  // Python holds what went wrong

void require(bool fine) {
  if (!fine) throw PythonError();
}

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

decoding::Fields fields_of(PyObject* items) {
  decoding::Fields fields;
  PyObject *name, *value;
  Py_ssize_t at = 0;
  while (PyDict_Next(items, &at, &name, &value)) {
    const char* text = PyUnicode_AsUTF8(name);
    require(text != nullptr);
    const long long number = PyLong_AsLongLong(value);
    require(number != -1 || !PyErr_Occurred());
    fields.set(text, static_cast<long>(number));
  }
  return fields;
}

template <class Body>
PyObject* guarded(Body body) {
  try {
    return body();
  } catch (const PythonError&) {
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

PyObject* run(PyObject*, PyObject* arguments) {
  return guarded([&] {
    const char *name, *simd_name;
    PyObject* items;
    int n_threads;
    require(PyArg_ParseTuple(arguments, "sO!iz", &name, &PyDict_Type, &items, &n_threads,
                             &simd_name));
    const Operation operation = operation_of(name);
    const decoding::Fields fields = fields_of(items);
    const sequence::Simd& simd = sequence::choose_simd(simd_name);
    std::exception_ptr failed;
    PyThreadState* thread = PyEval_SaveThread();
    try {
      operation(fields, simd, n_threads);
    } catch (...) {
      failed = std::current_exception();
    }
    PyEval_RestoreThread(thread);
    if (failed) std::rethrow_exception(failed);
    return Py_NewRef(Py_None);
  });
}

PyObject* instruction_sets(PyObject*, PyObject*) {
  return guarded([] {
    PyObject* names = PyList_New(0);
    require(names != nullptr);
    for (const char* name : {"avx512", "avx2", "portable"}) {
      if (!sequence::runs_here(name)) continue;
      PyObject* item = PyUnicode_FromString(name);
      const bool added = item != nullptr && PyList_Append(names, item) == 0;
      Py_XDECREF(item);
      require(added);
    }
    return names;
  });
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
