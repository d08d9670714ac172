"""Above one descent: is there a better valley? One file is one strategy; `share.py` divides the budget between them by evidence."""

from gradlearn import find

if "search" not in find.KINDS:  # until find.py has it
    find.KINDS = (*find.KINDS, "search")
