"""The scheduler: decides when and where pending tasks are placed, and gives back what dead nodes held.

``process.py`` runs the actors in one loop (``loop.py``): the *placer* finds nodes for pending tasks, the *promoter*
makes delayed tasks pending when they are due, the *timer* makes the tasks of schedules, the *reserver* keeps a node
for a task that has been blocked for long, the *reaper* declares nodes dead and gives back their tasks, the *janitor*
drops what has been ended for long. Each calls scripts; none keeps state. So any number of schedulers may run, and any
of them may be killed at any time.
"""
