"""Networks only: tensors in, tensors out. Nothing here knows of noise schedules or files."""
