"""The parts of `benchmarks.matched_compute`, in the order in which it uses them.

`plan` says what is trained; `material` and `groups` make text, tokens and streams; `models` says
which kernels there are, `train` and `score` run them, two at a time; `routes` decides where
documents go; `rules` and `apply` turn routes and scores into nats; `experiment` puts a table
together; `bootstrap` and `tables` make the figures. `full` and `ablations` add the slower tables.
"""
