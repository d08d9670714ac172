"""eta: how far? One file is one factor of the learning rate, a function of when; a run multiplies those it names."""
