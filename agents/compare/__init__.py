"""Methods of the search compared at equal budgets."""
