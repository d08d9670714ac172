"""What `minimize` is made of: any callable as a counted function of one flat vector, descents on it, and the search above them.

structure, callables, bounds, function     anything and where to start, as f(x (n,)) or f(rows (k, n)), every evaluation counted
linesearch, quasinewton, flock, noisy      one descent; many at once; one on a noisy function
terrain, share, strategies                 what is known so far; the budget divided by evidence; names and options of `search/`
verdict, result                            the certificate of the point that was found; what is handed back, in words
problems, picture, command                 functions with a name; contours and path; the command line
"""
