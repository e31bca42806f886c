"""The one part that pyproject.toml cannot describe: C++ extensions that may fail to build."""

from setuptools import Extension, setup

DECODING_STEP = Extension(
    "kernels._decoding_step",
    sources=[
        f"kernels/csrc/{name}.cpp"
        for name in (
            "attention_step",
            "feed_forward_step",
            "lsh_attention_step",
            "module",
            "plan",
            "product_step",
            "rotation",
            "row_cache",
            "selected_attention_step",
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
        for name in (
            "attention",
            "fields",
            "instruction_set",
            "plan",
            "python_module",
            "rotation",
            "row_attention",
            "row_cache",
            "simd_body",
            "simd_table",
            "step",
            "thread_pool",
        )
    ],
    language="c++",
    # No -march: instruction_set.h asks the processor what it has.
    extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=fast", "-pthread"],
    extra_link_args=["-pthread"],
    optional=True,
)

SEQUENCE = Extension(
    "kernels._sequence",
    sources=[
        f"kernels/csrc/{name}.cpp"
        for name in (
            "lsh_backward",
            "lsh_circle",
            "lsh_forward",
            "lsh_hash",
            "lsh_sort",
            "sequence_avx2",
            "sequence_avx512",
            "sequence_choice",
            "sequence_feed_forward",
            "sequence_module",
            "sequence_portable",
            "sequence_scan",
            "sequence_team",
            "thread_pool",
        )
    ],
    depends=[
        f"kernels/csrc/{name}.h"
        for name in (
            "fields",
            "instruction_set",
            "lsh",
            "python_module",
            "sequence",
            "sequence_body",
            "sequence_simd",
            "sequence_team",
            "sequence_transpose",
            "thread_pool",
        )
    ],
    language="c++",
    extra_compile_args=["-std=c++17", "-O3", "-ffp-contract=fast", "-pthread"],
    extra_link_args=["-pthread"],
    optional=True,
)

setup(ext_modules=[DECODING_STEP, SEQUENCE])
