"""Above one descent: is there a better valley? One file is one strategy; evidence divides the budget (`minimum/share.py`)."""
