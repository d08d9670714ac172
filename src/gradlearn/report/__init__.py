"""A run folder becomes one offline HTML file: story first, then scores, curves, mistakes, data, settings.

Read in this order: `folder` (what is on disk) -> `facts` (what can be said of it) -> `story` (in words), `curves` (in
lines), `confusion` and `mistakes` (in pictures), `tables` -> `page` (one file). `compare` puts runs side by side.
No torch, no network, nothing but the standard library: a report can be rebuilt anywhere from the folder alone.
"""
