"""What the notebooks use: figures, widgets, exercises, the paper's numbers. Needs the extra [course]."""
