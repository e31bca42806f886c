// What the Python modules share: arguments that are read, and errors that become Python's.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <exception>
#include <new>
#include <stdexcept>

#include "fields.h"
#include "instruction_set.h"

namespace python {

struct Error {};  // Python holds what went wrong

inline void require(bool fine) {
  if (!fine) throw Error();
}

inline const char* text(PyObject* item) {
  const char* found = PyUnicode_AsUTF8(item);
  require(found != nullptr);
  return found;
}

inline long integer(PyObject* item) {
  const long long value = PyLong_AsLongLong(item);
  require(value != -1 || !PyErr_Occurred());
  return static_cast<long>(value);
}

inline decoding::Fields fields_of(PyObject* items) {
  decoding::Fields fields;
  PyObject *name, *value;
  Py_ssize_t at = 0;
  while (PyDict_Next(items, &at, &name, &value)) {
    if (PyFloat_Check(value)) {
      fields.set(text(name), PyFloat_AS_DOUBLE(value));
    } else {
      fields.set(text(name), integer(value));
    }
  }
  return fields;
}

// Returns what `body` returns, or null with Python's error set.
template <class Body>
PyObject* guarded(Body body) {
  try {
    return body();
  } catch (const Error&) {
  } catch (const std::invalid_argument& error) {
    PyErr_SetString(PyExc_ValueError, error.what());
  } catch (const std::bad_alloc&) {
    PyErr_NoMemory();
  } catch (const std::exception& error) {
    PyErr_SetString(PyExc_RuntimeError, error.what());
  }
  return nullptr;
}

// Runs `body` while other threads of Python may run; what it throws is thrown here.
template <class Body>
void unlocked(Body body) {
  std::exception_ptr failed;
  PyThreadState* thread = PyEval_SaveThread();
  try {
    body();
  } catch (...) {
    failed = std::current_exception();
  }
  PyEval_RestoreThread(thread);
  if (failed) std::rethrow_exception(failed);
}

// The names of the instruction sets that run here, a list.
inline PyObject* instruction_sets(bool (*runs_here)(const char*)) {
  return guarded([&] {
    PyObject* names = PyList_New(0);
    require(names != nullptr);
    for (const char* name : instruction_set::kNames) {
      if (!runs_here(name)) continue;
      PyObject* item = PyUnicode_FromString(name);
      const bool added = item != nullptr && PyList_Append(names, item) == 0;
      Py_XDECREF(item);
      require(added);
    }
    return names;
  });
}

}  // namespace python
