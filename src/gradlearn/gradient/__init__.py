"""g: which way is up? One file is one estimator of grad L_B(theta); each leaves its estimate in `.grad`."""
