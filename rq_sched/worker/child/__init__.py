"""A child: runs one task after another, and is made as it was before after each (``baseline.py``), or retired."""
