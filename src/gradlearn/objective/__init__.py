"""L: what is wrong, per example? One file is one loss, unreduced: called with (output, target) it gives `Losses`."""
