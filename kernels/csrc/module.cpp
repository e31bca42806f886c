// The Python module: new_plan(steps, n_threads, simd), run(plan, ...), instruction_sets().
#include "python_module.h"

#include <memory>

#include "plan.h"

namespace {

using decoding::Plan;
using python::guarded;
using python::integer;
using python::require;

constexpr const char* kPlanName = "decoding_plan";

void add_steps(Plan& plan, PyObject* steps) {
  for (Py_ssize_t i = 0; i < PyList_GET_SIZE(steps); ++i) {
    PyObject *name, *fields;
    int beside;
    require(PyArg_ParseTuple(PyList_GET_ITEM(steps, i), "O!O!p", &PyUnicode_Type, &name,
                             &PyDict_Type, &fields, &beside));
    plan.add(python::text(name), python::fields_of(fields), beside != 0);
  }
}

void free_plan(PyObject* capsule) {
  delete static_cast<Plan*>(PyCapsule_GetPointer(capsule, kPlanName));
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
    python::unlocked([&] { plan->run(session); });
    return Py_NewRef(Py_None);
  });
}

PyObject* instruction_sets(PyObject*, PyObject*) {
  return python::instruction_sets(decoding::runs_here);
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
