"""Load tests against the platforms and connectors, on Locust.

What lives here: load profiles as data, the requests of every write path, what Locust runs, and the judgement of a run.
What may not live here: anything of the other packages; a run meets them over HTTP and as programs it starts.
"""
