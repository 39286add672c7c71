"""The vandal: somebody who can write to Redis changes whatever he finds there to something else.

Beside him innocents are submitted and run: tasks whose records he doesn't touch. Schedulers and agents are real, in the
stepped simulation (``sim``). At the first level (``records``) he changes what belongs to other tasks, and adds entries
that mean nothing to every index: then each innocent must end rightly, once and in time, without anybody's help. At the
second (``shared``) he changes what all share as well: indexes, nodes, ledgers, counters, settings; the innocents must
end once ``doctor --repair`` has run. At either no process may end, no command may say "internal error" or let anything
act on a terminal, and after a repair the audit must be clean, with nothing invented.

Things are changed (``changes.py``) in a cell whose network has no faults of its own (``rough.py``), while commands are
typed (``terminal.py``); ``scene.py`` is one seed, and what is looked at.

Everything is drawn from one seed, and a seed that fails says what was changed::

    python -m tests.faults.vandal --seed 17 --verbose
"""
