"""Deterministic simulation: the real schedulers and the real agents, in one process, on a clock that only moves here.

A *process* (``clockwork.py``) is an event loop of its own that is stepped by hand: killing it is never stepping it
again, freezing it is not stepping it for a while. Its line to Redis (``network.py``) goes to a real server, through a
network that is slow, cuts, drops replies, loses what was published. *Machines* (``machines.py``) run the real agent
over children that are played; *people* (``people.py``) submit, cancel, hold, requeue, drain, make schedules
(``schedules.py``); *trouble* (``trouble.py``) decides who dies or freezes, and what happens to Redis. The *judge*
(``judge.py``) knows from outside Redis what was acknowledged and what really ran, and looks at the invariants (I1 to
I11) all the time.

Everything is drawn from one seed (``play.py``): a run that fails says which, and how to see it again::

    python -m tests.faults.sim --seed 17 --verbose
"""
