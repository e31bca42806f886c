"""The extension module that kernels/csrc is built into."""

def new_plan(
    steps: list[tuple[str, dict[str, int | float], bool]],
    n_threads: int,
    instruction_set: str | None,
) -> object: ...
def run(
    plan: object,
    slots: int,
    token: int,
    length: int,
    room: int,
    memory_length: int,
    memory_room: int,
    /,
) -> None: ...
def instruction_sets() -> list[str]: ...
