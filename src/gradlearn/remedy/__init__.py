"""What do we do about it? One file is one kind of action, decided from a finding and the history; the loop carries it out."""
