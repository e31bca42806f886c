// The Python module: new_plan(steps, n_threads, simd), run(plan, ...), instruction_sets().
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <exception>
#include <memory>
#include <stdexcept>

#include "plan.h"

namespace {

using decoding::Fields;
using decoding::Plan;

constexpr const char* kPlanName = "decoding_plan";

struct PythonError {};  // Python holds what went wrong

void require(bool fine) {
  if (!fine) throw PythonError();
}

const char* text(PyObject* item) {
  const char* found = PyUnicode_AsUTF8(item);
  require(found != nullptr);
  return found;
}

long integer(PyObject* item) {
  const long long value = PyLong_AsLongLong(item);
  require(value != -1 || !PyErr_Occurred());
  return static_cast<long>(value);
}

Fields fields_of(PyObject* items) {
  require(PyDict_Check(items) || (PyErr_SetString(PyExc_TypeError, "fields must be a dict"), false));
  Fields fields;
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

void add_steps(Plan& plan, PyObject* steps) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(steps); ++i) {
    PyObject *name, *fields;
    int beside;
    require(PyArg_ParseTuple(PyList_GET_ITEM(steps, i), "O!O!p", &PyUnicode_Type, &name,
                             &PyDict_Type, &fields, &beside));
    plan.add(text(name), fields_of(fields), beside != 0);
  }
}

void free_plan(PyObject* capsule) {
  delete static_cast<Plan*>(PyCapsule_GetPointer(capsule, kPlanName));
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

PyObject* new_plan(PyObject*, PyObject* arguments) {
  return guarded([&] {
    PyObject* steps;
    int n_threads;
    const char* simd;
    require(PyArg_ParseTuple(arguments, "O!iz", &PyList_Type, &steps, &n_threads, &simd));
    auto plan = std::make_unique<Plan>(n_threads, simd);
    add_steps(*plan, steps);
    PyObject* capsule = PyCapsule_New(plan.get(), kPlanName, free_plan);
    require(capsule != nullptr);
    plan.release();
    return capsule;
  });
}

PyObject* run(PyObject*, PyObject* const* items, Py_ssize_t count) {
  return guarded([&] {
    require(count == 7 || (PyErr_SetString(PyExc_TypeError, "run takes seven arguments"), false));
    Plan* plan = static_cast<Plan*>(PyCapsule_GetPointer(items[0], kPlanName));
    require(plan != nullptr);
    decoding::Session session{};
    session.slots = reinterpret_cast<float* const*>(integer(items[1]));
    session.token = integer(items[2]);
    session.length = integer(items[3]);
    session.room = integer(items[4]);
    session.memory_length = integer(items[5]);
    session.memory_room = integer(items[6]);
    std::exception_ptr failed;
    PyThreadState* thread = PyEval_SaveThread();
    try {
      plan->run(session);
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
      if (!decoding::runs_here(name)) continue;
      PyObject* item = PyUnicode_FromString(name);
      const bool added = item != nullptr && PyList_Append(names, item) == 0;
      Py_XDECREF(item);
      require(added);
    }
    return names;
  });
}

PyMethodDef methods[] = {
    {"new_plan", new_plan, METH_VARARGS, "A plan of steps (name, fields, beside)."},
    {"run", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(run)), METH_FASTCALL,
     "Runs a plan on a session: plan, slots, token, length, room, memory length and room."},
    {"instruction_sets", instruction_sets, METH_NOARGS, "Those that run here, the best one first."},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef module = {PyModuleDef_HEAD_INIT, "_decoding_step", nullptr, -1, methods,
                      nullptr, nullptr, nullptr, nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__decoding_step() { return PyModule_Create(&module); }
