"""An evaluation app for municipal development plans, small enough to be released in front of you.

It reads a plan in Spanish, runs eleven named components over it and answers with a score for
each of the thirty questions of a decalogue of rights and with the evidence behind every score.
Three versions of it exist, so that a rollout has something to complete and something to undo.
"""
