"""Where other people's programs meet ours: the watch and the remedies in a loop that somebody else wrote."""
