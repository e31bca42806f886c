"""The one part that pyproject.toml cannot describe: a C++ extension that may fail to build."""

from setuptools import Extension, setup

DECODING_STEP = Extension(
    "kernels._decoding_step",
    sources=[
        f"kernels/csrc/{name}.cpp"
        for name in (
            "attention_step",
            "feed_forward_step",
            "module",
            "plan",
            "product_step",
            "simd_avx2",
            "simd_avx512",
            "simd_choice",
            "simd_portable",
            "thread_pool",
            "vector_step",
        )
    ],
    depends=[
        f"kernels/csrc/{name}.h"
        for name in ("fields", "plan", "simd_body", "simd_table", "step", "thread_pool")
    ],
    language="c++",
    # No -march: simd_choice.cpp asks the processor what it has.
    extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=fast", "-pthread"],
    extra_link_args=["-pthread"],
    optional=True,
)

setup(ext_modules=[DECODING_STEP])
