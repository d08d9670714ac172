"""The run folder: log lines, checkpoints, the model, and coming back after a crash. Torch only where tensors are.

record      what a training loop holds
folder      make, find, lock, discard a run folder
settings    run.toml
log         steps, scores, findings, actions: a line each
checkpoint  the whole state at step t, there completely or not at all
weights     the model that a run leaves behind
stop        SIGINT and SIGTERM as a flag
disk, strict, tensors   system calls, JSON, safetensors
"""
