"""Errors that a user can mend: their message is one sentence that says the way out."""


class TerraformerError(Exception):
    """Base of all errors shown to users as a message rather than a traceback."""


class DocumentError(TerraformerError):
    """The document cannot be read, or holds nothing to summarize."""


class CheckpointError(TerraformerError):
    """A checkpoint folder is missing, incomplete or of another format."""


class DataError(TerraformerError):
    """A data set cannot be found or has other columns than expected."""


class MemoryBudgetError(TerraformerError):
    """The memory budget is below the least with which the work can be done."""


class DeviceError(TerraformerError):
    """The device that was asked for is not there."""
