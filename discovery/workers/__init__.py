"""The processes that do the work: Celery application, tasks, pool, limits, child processes."""
