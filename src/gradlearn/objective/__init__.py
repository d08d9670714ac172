"""L: what is wrong, per example, and what else do we want of theta?

One file is one loss, called with (output, target), unreduced; or one penalty, called with what its `wants` names.
"""
